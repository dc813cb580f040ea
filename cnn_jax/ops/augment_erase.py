"""Augmentations that hide a box of the image, so that no single part can be relied on.

Each is `(key, image, *, numbers) -> image` for one image of values in [0, 1]; shape and dtype stay.
vmap it over a batch with one key per example. The numbers may be traced.
"""

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from cnn_jax.ops.augment_geometry import Number

FILLS = ("zero", "mean", "noise")


def cutout(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, size: Number = 8, fill: str = "zero"
) -> Float[Array, "h w c"]:
    """Hides a square whose centre is any pixel, each as likely; at the border part of it is lost.

    Args:
        key: draws the centre.
        image: height, width, channels.
        size: side of the square in pixels, >= 0, rounded to a whole number.
        fill: as in `random_erasing`. The paper's zero comes after the mean is subtracted, and so
            is nearer to "mean" here than to "zero", black.

    Raises:
        ValueError: if the fill is unknown.

    References:
        DeVries and Taylor 2017, arXiv:1708.04552.
    """
    key_place, key_fill = random.split(key)
    side = jnp.round(jnp.asarray(size, image.dtype))
    extent = jnp.asarray(image.shape[:2], image.dtype)
    centre = jnp.floor(random.uniform(key_place, (2,), image.dtype) * extent)
    start = centre - jnp.floor(side / 2)
    hidden = box(image.shape[0], image.shape[1], start, jnp.stack([side, side]))
    return jnp.where(hidden, _filling(key_fill, image, fill), image)


def random_erasing(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    p: Number = 0.5,
    area: Number = 0.4,
    ratio: Number = 10 / 3,
    fill: str = "noise",
) -> Float[Array, "h w c"]:
    """Hides a random rectangle inside the image, with probability p.

    Args:
        key: draws whether, what and where.
        image: height, width, channels.
        p: in [0, 1].
        area: largest share of the image, in [0, 1]; the share is uniform between 0.02 (or the
            largest, if that is less) and it.
        ratio: largest height to width, >= 1; the ratio is log-uniform between its inverse and it.
            A rectangle wider or higher than the image is cut to fit.
        fill: "zero" (black), "mean" (of the image, by channel) or "noise" (uniform, by value).

    Raises:
        ValueError: if the fill is unknown.

    References:
        Zhong et al. 2017, arXiv:1708.04896, algorithm 1.
    """
    key_p, key_area, key_ratio, key_place, key_fill = random.split(key, 5)
    extent = jnp.asarray(image.shape[:2], image.dtype)
    largest = jnp.log(jnp.asarray(ratio, image.dtype))
    share = random.uniform(key_area, (), image.dtype, jnp.minimum(area, 0.02), area)
    aspect = jnp.exp(random.uniform(key_ratio, (), image.dtype, -largest, largest))
    total = share * extent[0] * extent[1]
    sides = jnp.minimum(jnp.round(jnp.sqrt(jnp.stack([total * aspect, total / aspect]))), extent)
    free = extent - sides
    drawn = random.uniform(key_place, (2,), image.dtype)
    start = jnp.minimum(jnp.floor(drawn * (free + 1)), free)
    erased = random.uniform(key_p, (), image.dtype) < p
    hidden = box(image.shape[0], image.shape[1], start, sides) & erased
    return jnp.where(hidden, _filling(key_fill, image, fill), image)


def box(
    height: int, width: int, start: Float[Array, "2"], sides: Float[Array, "2"]
) -> Bool[Array, "h w 1"]:
    """Which pixels lie in a box.

    Args:
        height: of the image.
        width: of the image.
        start: first row and column in it, whole numbers, perhaps outside the image.
        sides: its height and width in pixels.
    """
    rows, columns = jnp.arange(height), jnp.arange(width)
    in_rows = (rows >= start[0]) & (rows < start[0] + sides[0])
    in_columns = (columns >= start[1]) & (columns < start[1] + sides[1])
    return (in_rows[:, None] & in_columns)[..., None]


def _filling(key: PRNGKeyArray, image: Float[Array, "h w c"], fill: str) -> Array:
    if fill == "zero":
        return jnp.zeros((), image.dtype)
    if fill == "mean":
        return jnp.mean(image, axis=(0, 1))
    if fill == "noise":
        return random.uniform(key, image.shape, image.dtype)
    raise ValueError(f"fill must be one of {', '.join(FILLS)}, got {fill!r}")
