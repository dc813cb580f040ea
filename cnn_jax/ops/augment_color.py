"""Augmentations that change values where they are: brightness, colour, noise, blur.

Each is `(key, image, *, numbers) -> image` for one image of values in [0, 1]; shape and dtype stay.
vmap it over a batch with one key per example. The numbers may be traced. Beside the random ones
stand what they draw for, `adjust_...(image, amount)`. Results beyond [0, 1] are cut to it.
"""

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops.augment_geometry import Number, gaussian_matrix, smooth_axes

# How bright red, green and blue look (ITU-R BT.601), as in Pillow and OpenCV.
LUMA = (0.299, 0.587, 0.114)


def brightness(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, strength: Number = 0.2
) -> Float[Array, "h w c"]:
    """Multiplies the image by a uniform factor in [1 - strength, 1 + strength], at least 0."""
    return adjust_brightness(image, _factor(key, strength, image))


def contrast(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, strength: Number = 0.2
) -> Float[Array, "h w c"]:
    """Stretches the image about its mean by a factor in [1 - strength, 1 + strength]."""
    return adjust_contrast(image, _factor(key, strength, image))


def saturation(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], *, strength: Number = 0.2
) -> Float[Array, "h w 3"]:
    """Stretches colours about gray by a factor in [1 - strength, 1 + strength]."""
    _require_color(image, "saturation")
    return adjust_saturation(image, _factor(key, strength, image))


def hue(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], *, turns: Number = 0.05
) -> Float[Array, "h w 3"]:
    """Turns the colour wheel by at most `turns` either way, in [0, 0.5]; 1/3 is red to green."""
    return adjust_hue(image, random.uniform(key, (), image.dtype, -turns, turns))


def grayscale(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], *, p: Number = 0.1
) -> Float[Array, "h w 3"]:
    """Takes the colour away with probability p in [0, 1]."""
    _require_color(image, "grayscale")
    return jnp.where(random.uniform(key, (), image.dtype) < p, luminance(image), image)


def invert(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, p: Number = 0.1
) -> Float[Array, "h w c"]:
    """The negative, 1 - image, with probability p in [0, 1]."""
    return jnp.where(random.uniform(key, (), image.dtype) < p, 1 - image, image)


def gaussian_noise(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, std: Number = 0.05
) -> Float[Array, "h w c"]:
    """Adds to every value its own normal number of standard deviation std >= 0."""
    return _cut(image + std * random.normal(key, image.shape, image.dtype))


def blur(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, sigma: Number = 1.0
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
        ValueError: if the image has no colours.
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
