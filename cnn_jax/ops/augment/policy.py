"""Augmentation policies: operations drawn at random from a fixed list, with one strength for all.

A policy is `(key, image, *, numbers) -> image` for one image of values in [0, 1], as the other
augmentations are. Its operations are those of Pillow on bytes, with two differences that keep a
policy fast when vmapped, where every operation is computed for every image: all moves of pixels
are one bilinear interpolation, with black outside, and shifts are by whole pixels.

On images without color the operation "saturation" changes nothing.
"""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax.ops.augment.geometry import affine
from cnn_jax.ops.augment.pixels import adjust_brightness, adjust_contrast, adjust_saturation, blend
from cnn_jax.ops.hyperparameters import Interval, Number, Whole

RECOLORINGS = (
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "identity",
)
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = RECOLORINGS + MOVES


class Extremes(NamedTuple):
    """What each operation does at full strength.

    Attributes:
        degrees: of the rotation.
        shear: pixels sideways for each pixel up.
        shift: largest shifts (down, right) in pixels.
        enhance: how far from 1 the factors of brightness, contrast, saturation and sharpness go.
        bits: that posterize takes away.
    """

    degrees: float
    shear: float
    shift: tuple[float, float]
    enhance: float
    bits: float


def rand_augment(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    n: Annotated[int, Whole(1, 16)] = 2,
    magnitude: Annotated[Number, Interval("[0, 30]")] = 9.0,
) -> Float[Array, "h w c"]:
    """RandAugment: n operations, each drawn uniformly, all of one magnitude.

    autocontrast and equalize know no strength: magnitude 0 is not yet the image as it was.

    Args:
        key: draws the operations, and the sign of those that go both ways.
        image: height, width, channels.
        n: number of operations, >= 1; static.
        magnitude: strength of all of them, in [0, 30].

    References:
        Cubuk et al. 2020, arXiv:1909.13719, figure 2.
    """
    height, width, _ = image.shape
    extremes = Extremes(30, 0.3, (150 / 331 * height, 150 / 331 * width), 0.9, 4)

    def one(image: Array, key: PRNGKeyArray) -> tuple[Array, None]:
        return operate(image, *_draw(key, jnp.asarray(magnitude) / 30), extremes), None

    return lax.scan(one, image, random.split(key, n))[0]


def trivial_augment(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """TrivialAugment: one operation drawn uniformly, at a strength drawn uniformly. No numbers.

    The strengths are 0, 1, ... 30 thirtieths of the paper's "wide" ranges.

    References:
        Müller and Hutter 2021, arXiv:2103.10158, section 3 and table 6.
    """
    key_strength, key = random.split(key)
    strength = random.randint(key_strength, (), 0, 31) / 30
    return operate(image, *_draw(key, strength), Extremes(135, 0.99, (32, 32), 0.99, 6))


def operate(
    image: Float[Array, "h w c"],
    operation: Int[Array, ""],
    strength: Float[Array, ""],
    extremes: Extremes,
) -> Float[Array, "h w c"]:
    """One operation.

    Args:
        image: height, width, channels.
        operation: index into OPERATIONS.
        strength: in [-1, 1], a share of the extremes; the sign chooses a direction where there
            are two.
        extremes: of all operations.
    """
    recolored = _recolor(image, operation, strength, extremes)
    return _move(recolored, operation, strength, extremes)


def autocontrast(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Stretches each channel so that it reaches from 0 to 1, unless it is all one value."""
    low = jnp.min(image, axis=(0, 1))
    spread = jnp.max(image, axis=(0, 1)) - low
    return jnp.where(spread > 0, (image - low) / jnp.where(spread > 0, spread, 1), image)


def equalize(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Changes the byte values of each channel so that all become about as frequent."""
    height, width, channels = image.shape
    levels = jnp.round(image * 255).astype(jnp.int32)
    counts = jnp.zeros((256, channels), jnp.int32).at[levels, jnp.arange(channels)].add(1)
    brightest = jnp.sum(levels == jnp.max(levels, axis=(0, 1)), axis=(0, 1))
    step = (height * width - brightest) // 255
    below = jnp.cumsum(counts, axis=0) - counts
    table = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    equalized = table[levels, jnp.arange(channels)].astype(image.dtype) / 255
    return jnp.where(step > 0, equalized, image)


def posterize(image: Float[Array, "h w c"], bits: Number) -> Float[Array, "h w c"]:
    """Byte values without their `bits` lowest bits, a number in [0, 8] that is rounded."""
    coarse = jnp.round(jnp.asarray(bits, image.dtype))
    step = 2**coarse
    return jnp.where(coarse > 0, jnp.floor(jnp.round(image * 255) / step) * step / 255, image)


def solarize(image: Float[Array, "h w c"], strength: Number) -> Float[Array, "h w c"]:
    """The negative of the pixels whose byte value is at least 256 (1 - strength)."""
    threshold = 256 * (1 - jnp.asarray(strength, image.dtype))
    return jnp.where(image * 255 < threshold, image, 1 - image)


def adjust_sharpness(image: Float[Array, "h w c"], factor: Number) -> Float[Array, "h w c"]:
    """0 is the image smoothed over 3 by 3 pixels, 1 the image. The outermost pixels stay."""
    height, width, _ = image.shape
    around = sum(
        image[row : row + height - 2, column : column + width - 2]
        for row in range(3)
        for column in range(3)
    )
    smooth = jnp.asarray(image).at[1:-1, 1:-1].set((around + 4 * image[1:-1, 1:-1]) / 13)
    return blend(smooth, image, factor)


def _draw(key: PRNGKeyArray, strength: Array) -> tuple[Int[Array, ""], Float[Array, ""]]:
    key_operation, key_sign = random.split(key)
    operation = random.randint(key_operation, (), 0, len(OPERATIONS))
    return operation, jnp.where(random.bernoulli(key_sign), strength, -strength)


def _recolor(image: Array, operation: Array, strength: Array, extremes: Extremes) -> Array:
    size, factor = jnp.abs(strength), 1 + strength * extremes.enhance
    branches = {
        "autocontrast": autocontrast,
        "equalize": equalize,
        "posterize": lambda image: posterize(image, size * extremes.bits),
        "solarize": lambda image: solarize(image, size),
        "brightness": lambda image: adjust_brightness(image, factor),
        "contrast": lambda image: adjust_contrast(image, factor),
        "saturation": lambda image: adjust_saturation(image, factor),
        "sharpness": lambda image: adjust_sharpness(image, factor),
        "identity": lambda image: image,
    }
    index = jnp.minimum(operation, RECOLORINGS.index("identity"))
    return lax.switch(index, [branches[name] for name in RECOLORINGS], image)


def _move(image: Array, operation: Array, strength: Array, extremes: Extremes) -> Array:
    def amount(name: str, most: float) -> Array:
        return jnp.where(operation == OPERATIONS.index(name), strength * most, 0)

    angle = jnp.radians(amount("rotate", extremes.degrees))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    down, right = extremes.shift
    return affine(
        image,
        (
            (cos, sin + amount("shear_y", extremes.shear)),
            (amount("shear_x", extremes.shear) - sin, cos),
        ),
        (jnp.round(amount("translate_y", down)), jnp.round(amount("translate_x", right))),
    )
