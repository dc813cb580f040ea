"""Augmentations that move pixels: flips, shifts, crops, rotations and elastic distortions.

Each is `(key, image, *, numbers) -> image` for one image of values in [0, 1]; shape and dtype stay.
vmap it over a batch with one key per example. The numbers may be traced. Everything but the flips
and shifts of whole pixels reads between pixels, by one bilinear interpolation; what comes in from
outside the image is black.
"""

from typing import Annotated

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax.ops.hyperparameters import Interval, Number, OneOf

Probability = Annotated[Number, Interval("[0, 1]")]
Strength = Annotated[Number, Interval("[0, inf)")]
# No image is larger.
Pixels = Annotated[Number, Interval("[0, 65536]")]

PADDINGS = ("zero", "reflect")


def horizontal_flip(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, p: Probability = 0.5
) -> Float[Array, "h w c"]:
    """Mirrors the image, left to right, with probability p in [0, 1]."""
    return jnp.where(random.uniform(key, (), image.dtype) < p, image[:, ::-1], image)


def alternating_flip(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, epoch: Number = 0
) -> Float[Array, "h w c"]:
    """Mirrors the image every other epoch; chance decides only in which one it starts.

    Two epochs in a row see both views of every image, where independent flips show the same view
    twice to half of them.

    Args:
        key: the image's own, the same in every epoch: fold the image's index in the training set
            into a key that stays fixed over the run.
        image: height, width, channels.
        epoch: epochs done, a whole number >= 0.

    References:
        Jordan 2024, arXiv:2404.00498, section 3.6.
    """
    starts_mirrored = random.bernoulli(key).astype(jnp.int32)
    return jnp.where((starts_mirrored + epoch) % 2 == 1, image[:, ::-1], image)


def translate(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    pixels: Pixels = 4,
    padding: Annotated[str, OneOf(PADDINGS)] = "zero",
) -> Float[Array, "h w c"]:
    """Shifts the image by whole pixels: a random crop of the padded image.

    Args:
        key: draws the two shifts.
        image: height, width, channels.
        pixels: largest shift each way, >= 0, rounded to a whole number; every shift from -pixels
            to pixels is as likely.
        padding: "zero" (black) or "reflect" (mirrored at the outermost pixel, which is not
            repeated).

    Raises:
        ValueError: if the padding is another.

    References:
        He et al. 2015, arXiv:1512.03385, section 4.2.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
    most = jnp.round(jnp.asarray(pixels, image.dtype))
    drawn = jnp.floor(random.uniform(key, (2,), image.dtype) * (2 * most + 1)) - most
    dy, dx = jnp.minimum(drawn, most).astype(jnp.int32)
    return shift(image, dy, dx, padding)


def shift(
    image: Float[Array, "h w c"], dy: Int[Array, ""], dx: Int[Array, ""], padding: str = "zero"
) -> Float[Array, "h w c"]:
    """The window of the padded image that starts dy rows down and dx columns to the right."""
    height, width, _ = image.shape
    rows, columns = jnp.arange(height) + dy, jnp.arange(width) + dx
    if padding == "reflect":
        return _pick(image, _reflect(rows, height), _reflect(columns, width))
    inside = _inside(rows, height)[:, None, None] & _inside(columns, width)[:, None]
    return jnp.where(inside, _pick(image, rows, columns), 0)


def random_resized_crop(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    area: Annotated[Number, Interval("[0.01, 1]")] = 0.08,
    ratio: Annotated[Number, Interval("[1, 10]")] = 4 / 3,
) -> Float[Array, "h w c"]:
    """Stretches a random window of the image to the image's size.

    Args:
        key: draws the window.
        image: height, width, channels.
        area: smallest share of the image, in (0, 1]; the share is uniform between it and 1.
        ratio: largest width to height of the window, relative to the image's, >= 1; the ratio is
            log-uniform between its inverse and it. A window wider or higher than the image is cut
            to fit.

    References:
        Szegedy et al. 2014, arXiv:1409.4842, section 6.
    """
    key_area, key_ratio, key_place = random.split(key, 3)
    share = random.uniform(key_area, (), image.dtype, area, 1)
    aspect = _log_uniform(key_ratio, ratio, image.dtype)
    extents = jnp.minimum(jnp.sqrt(jnp.stack([share / aspect, share * aspect])), 1)
    starts = random.uniform(key_place, (2,), image.dtype) * (1 - extents)
    axes = [
        # Between the centers of pixels, so that the whole image is read as it is.
        jnp.clip(size * start + (jnp.arange(size) + 0.5) * extent - 0.5, 0, size - 1)
        for size, start, extent in zip(image.shape[:2], starts, extents, strict=True)
    ]
    return interpolate(image, axes[0][:, None], axes[1][None, :])


def rotate(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    degrees: Annotated[Number, Interval("[0, 180]")] = 15.0,
) -> Float[Array, "h w c"]:
    """Turns the image about its center by a uniform angle of at most `degrees` either way."""
    angle = jnp.radians(random.uniform(key, (), image.dtype, -degrees, degrees))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return affine(image, ((cos, sin), (-sin, cos)))


def shear(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    degrees: Annotated[Number, Interval("[0, 44]")] = 10.0,
) -> Float[Array, "h w c"]:
    """Slants the image sideways and upright, each by its own uniform angle.

    Args:
        key: draws the two angles.
        image: height, width, channels.
        degrees: largest angle either way, in [0, 45).
    """
    angles = jnp.radians(random.uniform(key, (2,), image.dtype, -degrees, degrees))
    upright, sideways = jnp.tan(angles)
    return affine(image, ((1, upright), (sideways, 1)))


def scale(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    factor: Annotated[Number, Interval("[1, 10]")] = 1.2,
) -> Float[Array, "h w c"]:
    """Zooms about the center, log-uniformly between 1 / factor and factor (>= 1)."""
    step = _log_uniform(key, factor, image.dtype)
    return affine(image, ((step, 0), (0, step)))


def elastic(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, alpha: Pixels = 1.0, sigma: Pixels = 4.0
) -> Float[Array, "h w c"]:
    """Moves every pixel by a smooth random field, as an unsteady hand does.

    Args:
        key: draws the field.
        image: height, width, channels.
        alpha: root mean square of the displacement along each axis in pixels, >= 0. The paper's
            34, which multiplies the smoothed field before it is scaled, is 1.4 here.
        sigma: width in pixels of the Gaussian that smooths the field, >= 0: a large one moves
            all pixels alike, a small one scrambles them.

    References:
        Simard et al. 2003, "Best practices for convolutional neural networks applied to visual
        document analysis".
    """
    height, width, _ = image.shape
    down, across = gaussian_matrix(height, sigma), gaussian_matrix(width, sigma)
    noise = random.normal(key, (2, height, width), image.dtype)
    smooth = smooth_axes(noise, down, across)
    spread = jnp.sqrt(jnp.outer(jnp.sum(down**2, axis=1), jnp.sum(across**2, axis=1)))
    moves = alpha * smooth / spread
    return interpolate(image, jnp.arange(height)[:, None] + moves[0], jnp.arange(width) + moves[1])


def affine(
    image: Float[Array, "h w c"],
    matrix: tuple[tuple[Number, Number], tuple[Number, Number]],
    offset: tuple[Number, Number] = (0, 0),
) -> Float[Array, "h w c"]:
    """The image as seen through an affine map.

    Args:
        image: height, width, channels.
        matrix: what is at p, counted from the center as (down, right) in pixels, is read at
            matrix @ p + offset.
        offset: (down, right) in pixels.
    """
    (down_down, down_right), (right_down, right_right) = matrix
    middle_row, middle_column = ((size - 1) / 2 for size in image.shape[:2])
    down = jnp.arange(image.shape[0], dtype=image.dtype)[:, None] - middle_row
    right = jnp.arange(image.shape[1], dtype=image.dtype) - middle_column
    return interpolate(
        image,
        down_down * down + down_right * right + offset[0] + middle_row,
        right_down * down + right_right * right + offset[1] + middle_column,
    )


def interpolate(
    image: Float[Array, "h w c"], rows: Float[Array, "#oh #ow"], columns: Float[Array, "#oh #ow"]
) -> Float[Array, "oh ow c"]:
    """The image between its pixels, bilinearly; black outside.

    Args:
        image: height, width, channels.
        rows: where to read, 0 the center of the first row and h - 1 that of the last.
        columns: likewise.
    """
    height, width, channels = image.shape
    rows, columns = jnp.clip(rows, -1, height), jnp.clip(columns, -1, width)
    top, left = jnp.floor(rows), jnp.floor(columns)
    below, beside = (rows - top)[..., None], (columns - left)[..., None]
    padded = jnp.pad(image, ((1, 2), (1, 2), (0, 0)))
    corner = (top.astype(jnp.int32) + 1) * (width + 3) + left.astype(jnp.int32) + 1
    pixels = padded.reshape(-1, channels)

    def row(start: Int[Array, "oh ow"]) -> Float[Array, "oh ow c"]:
        return (1 - beside) * pixels[start] + beside * pixels[start + 1]

    return (1 - below) * row(corner) + below * row(corner + width + 3)


def gaussian_matrix(size: int, sigma: Number) -> Float[Array, "size size"]:
    """Smoothing along an axis as a matrix: row i averages around i, with weights of sum 1.

    The weights are a Gaussian of standard deviation sigma pixels, cut at the border; none is
    smoothed away where sigma is 0.
    """
    distance = jnp.arange(size)[:, None] - jnp.arange(size)
    # At a hundredth of a pixel every other weight underflows to exactly zero.
    weights = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 0.01)) ** 2)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def smooth_axes(
    fields: Float[Array, "n h w"], down: Float[Array, "h h"], across: Float[Array, "w w"]
) -> Float[Array, "n h w"]:
    """Smooths each field along its height and its width."""
    exact = lax.Precision.HIGHEST
    return jnp.matmul(jnp.matmul(down, fields, precision=exact), across.T, precision=exact)


def _log_uniform(key: PRNGKeyArray, most: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """Between 1 / most and most."""
    largest = jnp.log(jnp.asarray(most, dtype))
    return jnp.exp(random.uniform(key, (), dtype, -largest, largest))


def _pick(
    image: Float[Array, "h w c"], rows: Int[Array, " oh"], columns: Int[Array, " ow"]
) -> Float[Array, "oh ow c"]:
    """These rows and columns; for one outside the image, the nearest."""
    return jnp.take(jnp.take(image, rows, 0, mode="clip"), columns, 1, mode="clip")


def _inside(positions: Int[Array, " n"], size: int) -> Array:
    return (positions >= 0) & (positions < size)


def _reflect(positions: Int[Array, " n"], size: int) -> Int[Array, " n"]:
    period = max(2 * (size - 1), 1)
    return size - 1 - jnp.abs(positions % period - (size - 1))
