import colorsys

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from cnn_jax.ops.augment import (
    adjust_blur,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur,
    brightness,
    contrast,
    gaussian_noise,
    grayscale,
    hue,
    invert,
    luminance,
    saturation,
)

H, W = 12, 10
_rng = np.random.default_rng(0)
BYTES = _rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
BYTES[0, :4] = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [255, 0, 0]]
IMAGE = np.float32(BYTES / 255)
PICTURE = Image.fromarray(BYTES)
KEYS = random.split(random.key(0), 300)
FACTORS = np.float32([0, 0.3, 1, 1.4, 1.9])


def _mapped(function):
    return jax.jit(jax.vmap(function))


@pytest.mark.parametrize(
    ("adjust", "enhancer"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_enhancements_agree_with_pillow(adjust, enhancer):
    adjusted = _mapped(lambda factor: adjust(IMAGE, factor))(FACTORS)
    expected = [np.asarray(enhancer(PICTURE).enhance(factor)) for factor in FACTORS]
    # Pillow rounds gray to a byte before it blends, and the result again.
    np.testing.assert_allclose(adjusted * 255, np.stack(expected), atol=2)


def test_luminance_agrees_with_pillow():
    gray = np.asarray(PICTURE.convert("L"))
    np.testing.assert_allclose(luminance(jnp.asarray(IMAGE))[..., 0] * 255, gray, atol=0.51)


def test_hue_agrees_with_dm_pix():
    turns = np.float32([-0.5, -0.1, 0, 0.02, 1 / 3, 1])
    adjusted = _mapped(lambda turn: adjust_hue(jnp.asarray(IMAGE), turn))(turns)
    expected = _mapped(lambda turn: dm_pix.adjust_hue(IMAGE, turn))(turns)
    np.testing.assert_allclose(adjusted, expected, atol=1e-5)
    np.testing.assert_array_equal(adjusted[2], IMAGE)


def test_blur_agrees_with_scipy():
    sigmas = [0.5, 1.0, 2.5]
    blurred = _mapped(lambda sigma: adjust_blur(jnp.asarray(IMAGE), sigma))(jnp.float32(sigmas))
    ones = np.ones((H, W))
    for sigma, image in zip(sigmas, blurred, strict=True):
        weights = ndimage.gaussian_filter(ones, sigma, mode="constant", truncate=10)
        expected = [
            ndimage.gaussian_filter(channel, sigma, mode="constant", truncate=10) / weights
            for channel in np.moveaxis(np.float64(IMAGE), -1, 0)
        ]
        np.testing.assert_allclose(image, np.stack(expected, axis=-1), atol=1e-5)


def test_factors_are_uniform():
    """On values low enough not to be cut, the factor is what a value's distance grows by."""
    image = jnp.asarray(0.3 + 0.2 * IMAGE)
    gray = luminance(image)
    for function, still in ((brightness, 0.0), (contrast, jnp.mean(gray)), (saturation, gray)):

        def factor(key, function=function, still=still):
            return (function(key, image, strength=0.5) - still) / (image - still)

        drawn = np.asarray(_mapped(factor)(KEYS))[:, 1, 1, 0]
        assert stats.kstest(drawn, stats.uniform(0.5, 1.0).cdf).pvalue > 1e-3


def test_a_factor_is_never_negative():
    images = _mapped(lambda key: contrast(key, IMAGE, strength=9.0))(KEYS)
    mean = np.mean(np.asarray(luminance(jnp.asarray(IMAGE))))
    assert np.all((images - mean) * (IMAGE - mean) >= -1e-6)


def test_hue_turns_both_ways():
    images = np.asarray(_mapped(lambda key: hue(key, IMAGE, turns=0.2))(KEYS))
    before, after = (
        np.array([colorsys.rgb_to_hsv(*rgb)[0] for rgb in colors])
        for colors in (np.tile(IMAGE[2, 2], (len(KEYS), 1)), images[:, 2, 2])
    )
    turned = (after - before + 0.5) % 1 - 0.5
    assert stats.kstest(turned, stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-3


def test_grayscale_and_invert_come_with_their_probability():
    gray = np.asarray(_mapped(lambda key: grayscale(key, IMAGE, p=0.3))(KEYS))
    taken = np.all(gray[..., :1] == gray, axis=(1, 2, 3))
    np.testing.assert_allclose(
        gray[taken] * 255,
        np.broadcast_to(PICTURE.convert("L"), (taken.sum(), H, W))[..., None] + np.zeros(3),
        atol=0.51,
    )
    np.testing.assert_array_equal(gray[~taken], np.broadcast_to(IMAGE, gray.shape)[~taken])
    negative = np.asarray(_mapped(lambda key: invert(key, IMAGE, p=0.3))(KEYS))
    inverted = np.round(negative * 255) == np.asarray(ImageOps.invert(PICTURE))
    assert np.all(inverted.all(axis=(1, 2, 3)) | np.all(negative == IMAGE, axis=(1, 2, 3)))
    rates = [taken.mean(), inverted.all(axis=(1, 2, 3)).mean()]
    np.testing.assert_allclose(rates, 0.3, atol=0.1)


def test_gaussian_noise_is_normal():
    noisy = _mapped(lambda key: gaussian_noise(key, jnp.full((H, W, 3), 0.5), std=0.1))(KEYS[:20])
    noise = (np.asarray(noisy).ravel() - 0.5) / 0.1
    assert stats.kstest(noise, stats.norm.cdf).pvalue > 1e-3


def test_blur_is_at_most_as_wide_as_asked():
    point = jnp.zeros((21, 21, 1)).at[10, 10].set(1.0)
    images = np.asarray(_mapped(lambda key: blur(key, point, sigma=2.0))(KEYS))[..., 0]
    widths = np.sqrt(np.sum(images * (np.arange(21)[:, None] - 10) ** 2, axis=(1, 2)))
    assert widths.max() <= 2.01
    assert widths.max() > 1.8
    assert widths.min() < 0.2
