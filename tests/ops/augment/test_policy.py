from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from cnn_jax.ops.augment import (
    autocontrast,
    equalize,
    posterize,
    rand_augment,
    solarize,
    trivial_augment,
)
from cnn_jax.ops.augment.policy import OPERATIONS, Extremes, operate

H, W = 14, 22
_rng = np.random.default_rng(0)
BYTES = np.uint8(np.clip(_rng.normal([90, 120, 160], [20, 40, 30], (H, W, 3)), 10, 245))
BYTES[..., 2] = np.maximum(BYTES[..., 2], 140)
IMAGE = np.float32(BYTES / 255)
PICTURE = Image.fromarray(BYTES)
EXTREMES = Extremes(degrees=30, shear=0.3, shift=(5, 6), enhance=0.9, bits=4)
STRENGTHS = np.float32([-1, -0.45, 0, 0.3, 1])


ROWS = 900


@jax.jit
def _run(images, operations, strengths, extremes):
    return jax.vmap(operate, (0, 0, 0, None))(images, operations, strengths, extremes)


def _every(images, strengths, extremes):
    """Every operation at every strength on each of the images: an array images first."""
    count = len(images), len(OPERATIONS), len(strengths)
    which, operation, level = np.indices(count).reshape(3, -1)
    # All of one shape, so that the operations are compiled once.
    which, operation, level = (np.resize(index, ROWS) for index in (which, operation, level))
    result = _run(images[which], operation, np.float32(strengths)[level], extremes)
    return np.asarray(result)[: np.prod(count)].reshape(*count, H, W, 3)


@pytest.fixture(scope="module")
def operated():
    return dict(zip(OPERATIONS, _every(IMAGE[None], STRENGTHS, EXTREMES)[0], strict=True))


def _moved(matrix, offset=(0, 0)):
    center = (np.array([H, W]) - 1) / 2
    start = center - matrix @ center + offset
    channels = [
        ndimage.affine_transform(channel, matrix, start, order=1, mode="grid-constant")
        for channel in np.moveaxis(np.float64(IMAGE), -1, 0)
    ]
    return 255 * np.stack(channels, axis=-1)


REFERENCES = {
    "autocontrast": lambda s: ImageOps.autocontrast(PICTURE),
    "equalize": lambda s: ImageOps.equalize(PICTURE),
    "posterize": lambda s: ImageOps.posterize(PICTURE, 8 - round(4 * abs(s))),
    "solarize": lambda s: ImageOps.solarize(PICTURE, 256 * (1 - abs(s))),
    "brightness": lambda s: ImageEnhance.Brightness(PICTURE).enhance(1 + 0.9 * s),
    "contrast": lambda s: ImageEnhance.Contrast(PICTURE).enhance(1 + 0.9 * s),
    "saturation": lambda s: ImageEnhance.Color(PICTURE).enhance(1 + 0.9 * s),
    "sharpness": lambda s: ImageEnhance.Sharpness(PICTURE).enhance(1 + 0.9 * s),
    "identity": lambda s: BYTES,
    "rotate": lambda s: (
        255 * ndimage.rotate(IMAGE, 30 * s, reshape=False, order=1, mode="grid-constant")
    ),
    "shear_x": lambda s: _moved(np.array([[1, 0], [0.3 * s, 1]])),
    "shear_y": lambda s: _moved(np.array([[1, 0.3 * s], [0, 1]])),
    "translate_x": lambda s: _moved(np.eye(2), (0, np.round(6 * s))),
    "translate_y": lambda s: _moved(np.eye(2), (np.round(5 * s), 0)),
}
EXACT_BYTES = ("equalize", "posterize", "solarize", "identity")


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_agree_with_pillow_and_scipy(operated, name):
    for strength, image in zip(STRENGTHS, operated[name], strict=True):
        expected = np.asarray(REFERENCES[name](float(strength)), np.float64)
        # Elsewhere Pillow rounds, on the way as well as at the end.
        tolerance = 1e-3 if name in EXACT_BYTES else 2
        np.testing.assert_allclose(image * 255, expected, atol=tolerance)


def test_moves_agree_closely(operated):
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        for strength, image in zip(STRENGTHS, operated[name], strict=True):
            np.testing.assert_allclose(image * 255, REFERENCES[name](float(strength)), atol=1e-2)


def test_strength_zero_is_the_image(operated):
    for name in set(OPERATIONS) - {"autocontrast", "equalize"}:
        np.testing.assert_array_equal(operated[name][2], IMAGE)


def test_of_one_value():
    flat = jnp.full((H, W, 3), jnp.float32(100 / 255))
    for function in (autocontrast, equalize):
        np.testing.assert_array_equal(jax.jit(function)(flat), flat)
    white = jnp.ones((2, 2, 1))
    np.testing.assert_array_equal(solarize(white, 0.0), white)
    np.testing.assert_array_equal(posterize(white, 8.0), 0 * white)


def _nearest(images, possible):
    """Which of the possible images each image is."""
    images, possible = (np.float64(stack).reshape(len(stack), -1) for stack in (images, possible))
    squares = np.sum(possible**2, axis=1)
    nearest = np.argmin(squares - 2 * images @ possible.T, axis=1)
    np.testing.assert_allclose(images, possible[nearest], atol=1e-3)
    return nearest


def _draw(policy, count):
    keys = random.split(random.key(0), count)
    return jax.jit(jax.vmap(lambda key: policy(key, jnp.asarray(IMAGE))))(keys)


def _rand_extremes():
    return Extremes(30, 0.3, (150 / 331 * H, 150 / 331 * W), 0.9, 4)


def test_rand_augment_draws_operations_and_signs_uniformly():
    images = _draw(partial(rand_augment, n=1, magnitude=24.0), 1400)
    possible = _every(IMAGE[None], [-0.8, 0.8], _rand_extremes())[0]
    found = np.bincount(_nearest(images, possible.reshape(-1, H, W, 3)), minlength=28)
    np.testing.assert_allclose(found.reshape(-1, 2).sum(axis=1), 100, atol=40)
    signed = [OPERATIONS.index(name) for name in ("brightness", "rotate", "translate_x")]
    np.testing.assert_allclose(found.reshape(-1, 2)[signed], 50, atol=30)


def test_rand_augment_composes_operations():
    images = _draw(partial(rand_augment, n=2, magnitude=24.0), 50)
    once = _every(IMAGE[None], [-0.8, 0.8], _rand_extremes()).reshape(-1, H, W, 3)
    twice = _every(once, [-0.8, 0.8], _rand_extremes()).reshape(-1, H, W, 3)
    assert len(np.unique(_nearest(images, twice))) > 35


def test_trivial_augment_draws_operations_and_strengths_uniformly():
    images = _draw(trivial_augment, 1400)
    levels = np.arange(-30, 31) / 30
    possible = _every(IMAGE[None], levels, Extremes(135, 0.99, (32, 32), 0.99, 6))[0]
    nearest = _nearest(images, possible.reshape(-1, H, W, 3))
    operation, level = np.divmod(nearest, len(levels))
    # Without strength most operations are the identity.
    same = np.all(np.asarray(images) == IMAGE, axis=(1, 2, 3))
    found = np.bincount(operation[~same], minlength=len(OPERATIONS))
    found[OPERATIONS.index("identity")] += same.sum()
    np.testing.assert_allclose(found, 100, atol=60)
    strengths = np.abs(levels[level[operation == OPERATIONS.index("rotate")]])
    assert stats.kstest(strengths, stats.uniform(0, 1).cdf).pvalue > 1e-3
