"""Pooling: summarise the region under a window, channel by channel. It has no parameters.

Both poolings are separable: first along the width, then along the height, each a few shifted
slices combined elementwise. XLA fuses that into one pass on every platform, which its own
reduce-window (and above all that operation's gradient) is far from on CPU.
"""

from collections.abc import Callable
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops.convolution import Padding, _padding, _pair


def max_pool(
    images: Float[Array, "n h w c"],
    window: int | tuple[int, int] = 2,
    *,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "n oh ow c"]:
    """The largest value under each window.

    Padding counts as minus infinity. The gradient goes to the first largest value in reading
    order, as in `lax.reduce_window`; NaN in a window makes the result NaN.

    Args:
      images: feature maps, channels last.
      window: height and width of the window in pixels.
      strides: step of the window; the window itself if not given (no overlap).
      padding: as in `conv2d`.

    Raises:
      ValueError: if the window does not fit the padded image.
    """

    def larger(a: Array, b: Array) -> Array:
        return jnp.where((a >= b) | jnp.isnan(a), a, b)

    return _pool(images, window, strides, padding, larger, -jnp.inf)


def avg_pool(
    images: Float[Array, "n h w c"],
    window: int | tuple[int, int] = 2,
    *,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "n oh ow c"]:
    """The mean under each window; padding counts as zero. Arguments as in `max_pool`."""
    height, width = _pair(window)
    return _pool(images, window, strides, padding, jnp.add, 0.0) / (height * width)


def global_avg_pool(images: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """The mean of every feature map (Lin et al. 2013, Network in Network)."""
    return jnp.mean(images, axis=(1, 2))


def _pool(
    images: Array,
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None,
    padding: Padding,
    combine: Callable[[Array, Array], Array],
    empty: float,
) -> Array:
    if images.ndim != 4:
        raise ValueError(f"images must be n h w c, got {images.shape}")
    window = _pair(window)
    steps = _pair(window if strides is None else strides)
    if min(*window, *steps) < 1:
        raise ValueError(f"window and strides must be at least 1, got {window} and {steps}")
    pads = _padding(padding, (images.shape[1], images.shape[2]), window, steps)
    for axis, size, step, (low, high) in (
        (2, window[1], steps[1], pads[1]),
        (1, window[0], steps[0], pads[0]),
    ):
        if low or high:
            config = [(0, 0, 0)] * 4
            config[axis] = (low, high, 0)
            images = lax.pad(images, jnp.asarray(empty, images.dtype), config)
        length = images.shape[axis]
        if length < size:
            raise ValueError(f"a window of {size} pixels does not fit an image of {length}")
        last = (length - size) // step * step + 1
        images = reduce(
            combine,
            (lax.slice_in_dim(images, i, i + last, step, axis) for i in range(size)),
        )
    return images


POOLINGS = {"max": max_pool, "average": avg_pool}
