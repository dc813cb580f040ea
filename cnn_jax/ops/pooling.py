"""Pooling: summarize the region under a window, channel by channel. It has no parameters.

Both poolings are separable: first along the width, then along the height, each a few shifted
slices combined elementwise. XLA fuses that into one pass on every platform, which its own
reduce-window (and above all that operation's gradient) is far from on CPU. As for `conv2d`,
gradients are in reverse mode, of any order.
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
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
    window = _pair(window)
    if padding == "VALID" and strides in (None, window) and _covered(images, window):
        return _tile_means(images, window)
    return _pool(images, window, strides, padding, jnp.add, 0.0) / math.prod(window)


def _covered(images: Array, tile: tuple[int, int]) -> bool:
    """Whether tiles of this size cover the images exactly."""
    if images.ndim != 4 or min(*tile, *images.shape[1:3]) < 1:
        return False
    return images.shape[1] % tile[0] == 0 and images.shape[2] % tile[1] == 0


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _tile_means(images: Float[Array, "n h w c"], tile: tuple[int, int]) -> Array:
    """The means of tiles that cover the images; the gradient is spread over each tile at once."""
    return _pool(images, tile, None, "VALID", jnp.add, 0.0) / math.prod(tile)


def _spread(tile: tuple[int, int], _: None, dmeans: Float[Array, "n oh ow c"]) -> tuple[Array]:
    height, width = tile
    n, rows, columns, channels = dmeans.shape
    shared = (dmeans / (height * width))[:, :, None, :, None, :]
    shape = n, rows, height, columns, width, channels
    return (jnp.broadcast_to(shared, shape).reshape(n, rows * height, columns * width, channels),)


_tile_means.defvjp(lambda images, tile: (_tile_means(images, tile), None), _spread)


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
    for axis in (2, 1):
        size, step, (low, high) = window[axis - 1], steps[axis - 1], pads[axis - 1]
        if low or high:
            config = [(0, 0, 0)] * 4
            config[axis] = (low, high, 0)
            images = lax.pad(images, jnp.asarray(empty, images.dtype), config)
        length = images.shape[axis]
        if length < size:
            raise ValueError(f"a window of {size} pixels does not fit an image of {length}")
        last = (length - size) // step * step + 1
        images = reduce(
            combine, (lax.slice_in_dim(images, i, i + last, step, axis) for i in range(size))
        )
    return images


POOLINGS = {"max": max_pool, "average": avg_pool}
