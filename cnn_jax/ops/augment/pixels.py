"""Augmentations of pixel values: color, and parts that are erased."""

from typing import Annotated

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from cnn_jax.ops.augment.geometry import Pixels, Probability, Strength, gaussian_matrix, smooth_axes
from cnn_jax.ops.hyperparameters import Interval, Number, OneOf

# How bright red, green and blue look (ITU-R BT.601), as in Pillow and OpenCV.
LUMA = (0.299, 0.587, 0.114)


def brightness(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, strength: Strength = 0.2
) -> Float[Array, "h w c"]:
    """Multiplies the image by a uniform factor in [1 - strength, 1 + strength], at least 0."""
    return adjust_brightness(image, _factor(key, strength, image))


def contrast(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, strength: Strength = 0.2
) -> Float[Array, "h w c"]:
    """Stretches the image about its mean by a factor in [1 - strength, 1 + strength]."""
    return adjust_contrast(image, _factor(key, strength, image))


def saturation(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], *, strength: Strength = 0.2
) -> Float[Array, "h w 3"]:
    """Stretches colors about gray by a factor in [1 - strength, 1 + strength]."""
    _require_color(image, "saturation")
    return adjust_saturation(image, _factor(key, strength, image))


def hue(
    key: PRNGKeyArray,
    image: Float[Array, "h w 3"],
    *,
    turns: Annotated[Number, Interval("[0, 0.5]")] = 0.05,
) -> Float[Array, "h w 3"]:
    """Turns the color wheel by at most `turns` either way, in [0, 0.5]; 1/3 is red to green."""
    return adjust_hue(image, random.uniform(key, (), image.dtype, -turns, turns))


def grayscale(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], *, p: Probability = 0.1
) -> Float[Array, "h w 3"]:
    """Takes the color away with probability p in [0, 1]."""
    _require_color(image, "grayscale")
    return jnp.where(random.uniform(key, (), image.dtype) < p, luminance(image), image)


def invert(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, p: Probability = 0.1
) -> Float[Array, "h w c"]:
    """The negative, 1 - image, with probability p in [0, 1]."""
    return jnp.where(random.uniform(key, (), image.dtype) < p, 1 - image, image)


def gaussian_noise(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, std: Strength = 0.05
) -> Float[Array, "h w c"]:
    """Adds to every value its own normal number of standard deviation std >= 0."""
    return _cut(image + std * random.normal(key, image.shape, image.dtype))


def blur(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, sigma: Pixels = 1.0
) -> Float[Array, "h w c"]:
    """Blurs by a Gaussian whose width is uniform between 0 and sigma pixels."""
    return adjust_blur(image, random.uniform(key, (), image.dtype, 0, sigma))


def adjust_brightness(image: Float[Array, "h w c"], factor: Number) -> Float[Array, "h w c"]:
    """0 is black, 1 the image."""
    return _cut(image * factor)


def adjust_contrast(image: Float[Array, "h w c"], factor: Number) -> Float[Array, "h w c"]:
    """0 is the mean luminance everywhere, 1 the image."""
    return blend(jnp.mean(luminance(image)), image, factor)


def adjust_saturation(image: Float[Array, "h w c"], factor: Number) -> Float[Array, "h w c"]:
    """0 is the image in gray, 1 the image."""
    return blend(luminance(image), image, factor)


def adjust_hue(image: Float[Array, "h w 3"], turns: Number) -> Float[Array, "h w 3"]:
    """Adds `turns` to the hue of hue, saturation and value (HSV); a whole turn changes nothing.

    Raises:
        ValueError: if the image has no colors.
    """
    _require_color(image, "hue")
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.max(image, axis=-1)
    chroma = value - jnp.min(image, axis=-1)
    divisor = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    # Each channel is a trapezoid over the wheel, a third of a turn from the next.
    place = (jnp.asarray([5, 3, 1]) + (sixths + 6 * turns)[..., None]) % 6
    dip = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
    turned = value[..., None] - chroma[..., None] * dip
    return jnp.where(jnp.asarray(turns) == 0, image, _cut(turned))


def adjust_blur(image: Float[Array, "h w c"], sigma: Number) -> Float[Array, "h w c"]:
    """A Gaussian blur of sigma pixels; at the border it averages over what there is."""
    height, width, _ = image.shape
    down, across = gaussian_matrix(height, sigma), gaussian_matrix(width, sigma)
    channels = smooth_axes(jnp.moveaxis(image, -1, 0), down, across)
    return _cut(jnp.moveaxis(channels, 0, -1))


def luminance(image: Float[Array, "h w c"]) -> Float[Array, "h w 1"]:
    """The image in shades of gray; one that is gray already as it is."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = LUMA
    return red * image[..., :1] + green * image[..., 1:2] + blue * image[..., 2:]


def blend(
    other: Float[Array, "..."], image: Float[Array, "h w c"], factor: Number
) -> Float[Array, "h w c"]:
    """From the other (factor 0) to the image (1) and as far beyond it as the factor goes."""
    return _cut(factor * image + (1 - factor) * other)


def _factor(key: PRNGKeyArray, strength: Number, image: Float[Array, "h w c"]) -> Float[Array, ""]:
    drawn = random.uniform(key, (), image.dtype, -strength, strength)
    return jnp.maximum(1 + drawn, 0)


def _cut(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    return jnp.clip(image, 0, 1)


def _require_color(image: Float[Array, "h w c"], name: str) -> None:
    if image.shape[-1] != 3:
        raise ValueError(f"{name} needs color images, got {image.shape[-1]} channel(s)")


FILLS = ("zero", "mean", "noise")
Filling = Annotated[str, OneOf(FILLS)]


def cutout(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, size: Pixels = 8, fill: Filling = "zero"
) -> Float[Array, "h w c"]:
    """Hides a square whose center is any pixel, each as likely; at the border part of it is lost.

    Args:
        key: draws the center.
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
    center = jnp.floor(random.uniform(key_place, (2,), image.dtype) * extent)
    start = center - jnp.floor(side / 2)
    hidden = box(image.shape[0], image.shape[1], start, jnp.stack([side, side]))
    return jnp.where(hidden, _filling(key_fill, image, fill), image)


def random_erasing(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    p: Probability = 0.5,
    area: Annotated[Number, Interval("[0, 1]")] = 0.4,
    ratio: Annotated[Number, Interval("[1, 10]")] = 10 / 3,
    fill: Filling = "noise",
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
