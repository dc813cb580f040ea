import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from PIL import Image
from scipy import ndimage

from cnn_jax.ops.augment import (
    affine,
    elastic,
    horizontal_flip,
    random_resized_crop,
    rotate,
    scale,
    shear,
    translate,
)
from cnn_jax.ops.augment.geometry import gaussian_matrix

H, W, N = 12, 9, 48
_rng = np.random.default_rng(0)
IMAGE = np.float32(_rng.random((H, W, 3)))
# Reading this between its pixels tells where one is.
PLACES = np.float32(np.stack(np.meshgrid(np.arange(H), np.arange(W), indexing="ij"), axis=-1))
KEYS = random.split(random.key(0), N)


def _mapped(function):
    return jax.jit(jax.vmap(function))


def _draw(function, keys=KEYS, **numbers):
    """The image and the map of places under the same draws."""
    both = jnp.concatenate([IMAGE, PLACES], axis=-1)
    drawn = np.asarray(_mapped(lambda key: function(key, both, **numbers))(keys))
    return drawn[..., :3], drawn[..., 3:]


def _matrices(places):
    """By differences in the middle: where the steps down and right of the result lead."""
    middle = places[:, H // 2, W // 2]
    down, right = places[:, H // 2 + 1, W // 2] - middle, places[:, H // 2, W // 2 + 1] - middle
    return np.stack([down, right], axis=-1)


def _scipy_affine(matrix, offset=(0, 0)):
    """The affine map of IMAGE about its center."""
    center = (np.array([H, W]) - 1) / 2
    start = center - matrix @ center + offset
    channels = [
        ndimage.affine_transform(channel, matrix, start, order=1, mode="grid-constant")
        for channel in np.moveaxis(np.float64(IMAGE), -1, 0)
    ]
    return np.stack(channels, axis=-1)


def test_flips_with_the_probability_asked_for():
    keys = random.split(random.key(1), 4000)
    flipped = _mapped(lambda key: horizontal_flip(key, IMAGE, p=0.3))(keys)
    mirrored = np.all(flipped == np.flip(IMAGE, axis=1), axis=(1, 2, 3))
    assert np.all(mirrored | np.all(flipped == IMAGE, axis=(1, 2, 3)))
    np.testing.assert_allclose(mirrored.mean(), 0.3, atol=0.03)


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_translate_is_a_window_of_the_padded_image(padding, mode):
    keys = random.split(random.key(2), 2000)
    shifted = _mapped(lambda key: translate(key, IMAGE, pixels=2, padding=padding))(keys)
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode=mode)
    windows = [padded[top : top + H, left : left + W] for top in range(5) for left in range(5)]
    counts = [np.all(shifted == window, axis=(1, 2, 3)).sum() for window in windows]
    assert sum(counts) == len(keys)
    assert min(counts) > 40
    assert max(counts) < 130


def test_translate_beyond_the_image():
    images = _mapped(lambda key: translate(key, IMAGE, pixels=40, padding="reflect"))(KEYS)
    padded = np.pad(IMAGE, ((40, 40), (40, 40), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (H, W, 3)).reshape(-1, H * W * 3)
    known = {window.tobytes() for window in windows}
    assert all(np.asarray(image).tobytes() in known for image in images)


def test_affine_agrees_with_scipy():
    matrices = np.eye(2) + _rng.normal(scale=0.4, size=(6, 2, 2))
    offsets = _rng.normal(scale=2, size=(6, 2))
    images = _mapped(lambda m, o: affine(IMAGE, ((m[0, 0], m[0, 1]), (m[1, 0], m[1, 1])), o))(
        jnp.float32(matrices), jnp.float32(offsets)
    )
    expected = [_scipy_affine(m, o) for m, o in zip(matrices, offsets, strict=True)]
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_rotate_agrees_with_scipy():
    images, places = _draw(rotate, degrees=30.0)
    matrices = _matrices(places)
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert np.max(np.abs(angles)) <= 30.001
    assert np.min(angles) < -20
    assert np.max(angles) > 20
    expected = [
        ndimage.rotate(IMAGE, angle, reshape=False, order=1, mode="grid-constant")
        for angle in np.float64(angles)
    ]
    np.testing.assert_allclose(images, expected, atol=1e-4)


def test_shear_keeps_the_diagonal():
    images, places = _draw(shear, degrees=20.0)
    matrices = _matrices(places)
    np.testing.assert_allclose(matrices[:, [0, 1], [0, 1]], 1, atol=1e-4)
    angles = np.degrees(np.arctan(matrices[:, [0, 1], [1, 0]]))
    assert np.max(np.abs(angles)) <= 20.001
    assert np.all(angles.max(axis=0) > 15)
    assert np.all(angles.min(axis=0) < -15)
    assert abs(np.corrcoef(angles.T)[0, 1]) < 0.5
    expected = [_scipy_affine(matrix) for matrix in np.float64(matrices)]
    np.testing.assert_allclose(images, expected, atol=1e-4)


def test_scale_zooms_in_as_often_as_out():
    images, places = _draw(scale, factor=1.5)
    matrices = _matrices(places)
    np.testing.assert_allclose(matrices[:, [0, 1], [1, 0]], 0, atol=1e-4)
    logs = np.log(matrices[:, 0, 0])
    np.testing.assert_allclose(logs, np.log(matrices[:, 1, 1]), atol=1e-4)
    assert np.max(np.abs(logs)) <= np.log(1.5) + 1e-4
    assert 0.3 < np.mean(logs > 0) < 0.7
    expected = [_scipy_affine(matrix) for matrix in np.float64(matrices)]
    np.testing.assert_allclose(images, expected, atol=1e-4)


def test_random_resized_crop_agrees_with_pillow():
    images, places = _draw(random_resized_crop, area=0.2, ratio=1.5)
    middle, step = places[:, H // 2, W // 2], _matrices(places)[:, [0, 1], [0, 1]]
    center = middle + 0.5 - step * (np.array([H // 2, W // 2]) + 0.5)
    extent = step * np.array([H, W])
    low, high = center, center + extent
    assert np.all(low > -1e-3)
    assert np.all(high < np.array([H, W]) + 1e-3)
    share, aspect = np.prod(step, axis=-1), step[:, 1] / step[:, 0]
    assert share.min() > 0.199
    assert share.min() < 0.3
    assert share.max() > 0.8
    assert np.all(np.abs(np.log(aspect)) < np.log(1.5) + 1e-3)
    for image, (top, left), (bottom, right) in zip(images, low, high, strict=True):
        box = (max(left, 0), max(top, 0), min(right, W), min(bottom, H))
        expected = [
            Image.fromarray(channel).resize((W, H), Image.Resampling.BILINEAR, box)
            for channel in np.moveaxis(IMAGE, -1, 0)
        ]
        np.testing.assert_allclose(image, np.stack(expected, axis=-1), atol=1e-3)


def test_elastic_agrees_with_scipy():
    alpha, sigma = 1.5, 2.0
    images, _ = _draw(elastic, KEYS[:4], alpha=alpha, sigma=sigma)
    smoothing = [
        ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="constant", truncate=9)
        for size in (H, W)
    ]
    spread = np.sqrt(np.outer(*[np.sum(matrix**2, axis=1) for matrix in smoothing]))
    for key, image in zip(KEYS[:4], images, strict=True):
        noise = np.float64(random.normal(key, (2, H, W)))
        smooth = [
            ndimage.gaussian_filter(field, sigma, mode="constant", truncate=9) for field in noise
        ]
        places = np.moveaxis(PLACES, -1, 0) + alpha * np.stack(smooth) / spread
        expected = [
            ndimage.map_coordinates(channel, places, order=1, mode="grid-constant")
            for channel in np.moveaxis(IMAGE, -1, 0)
        ]
        np.testing.assert_allclose(image, np.stack(expected, axis=-1), atol=1e-4)


def test_elastic_moves_pixels_as_far_as_asked():
    _, places = _draw(elastic, random.split(random.key(3), 400), alpha=1.5, sigma=3.0)
    moves = (places - PLACES)[:, 5:-5, 4:-4]
    np.testing.assert_allclose(np.sqrt(np.mean(moves**2, axis=0)), 1.5, rtol=0.15)


def test_smoothing_by_nothing_is_the_identity():
    np.testing.assert_array_equal(gaussian_matrix(H, 0.0), np.eye(H))
