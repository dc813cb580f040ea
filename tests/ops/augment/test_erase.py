import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from cnn_jax.ops.augment import cutout, random_erasing

H, W = 8, 7
_rng = np.random.default_rng(0)
IMAGE = np.float32(0.1 + 0.9 * _rng.random((H, W, 3)))


def _mapped(function):
    return jax.jit(jax.vmap(function))


def _hidden(images):
    """Which pixels changed; a pixel does in all of its channels or in none."""
    changed = np.asarray(images) != IMAGE
    assert np.array_equal(changed.all(axis=-1), changed.any(axis=-1))
    return changed.any(axis=-1)


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_hides_the_square_about_every_pixel_as_often(size):
    keys = random.split(random.key(size), 4000)
    draw = jax.jit(jax.vmap(lambda key, size: cutout(key, IMAGE, size=size), (0, None)))
    images = draw(keys, float(size))
    masks = _hidden(images)
    np.testing.assert_array_equal(images, np.where(masks[..., None], 0, IMAGE))
    expected = {}
    for row in range(H):
        for column in range(W):
            mask = np.zeros((H, W), bool)
            top, left = row - size // 2, column - size // 2
            mask[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = True
            expected[mask.tobytes()] = expected.get(mask.tobytes(), 0) + 1
    seen, counts = np.unique(masks.reshape(len(keys), -1), axis=0, return_counts=True)
    assert {mask.tobytes() for mask in seen} == set(expected)
    mean = len(keys) / (H * W)
    for mask, count in zip(seen, counts, strict=True):
        assert 0.4 * mean < count / expected[mask.tobytes()] < 1.6 * mean


def test_cutout_fills_with_the_mean_or_noise():
    keys = random.split(random.key(0), 20)
    mean = _mapped(lambda key: cutout(key, IMAGE, size=4, fill="mean"))(keys)
    filling = np.broadcast_to(IMAGE.mean(axis=(0, 1)), mean.shape)
    np.testing.assert_allclose(mean[_hidden(mean)], filling[_hidden(mean)], rtol=1e-6)
    noise = np.asarray(_mapped(lambda key: cutout(key, IMAGE, size=4, fill="noise"))(keys))
    values = noise[_hidden(noise)]
    assert len(np.unique(values)) > 0.99 * values.size
    np.testing.assert_allclose([values.mean(), values.std()], [1 / 2, 12**-0.5], atol=0.05)


def test_random_erasing_hides_rectangles_inside():
    height, width = 24, 20
    image = jnp.ones((height, width, 1))
    keys = random.split(random.key(0), 1000)
    images = _mapped(
        lambda key: random_erasing(key, image, p=0.6, area=0.25, ratio=2.0, fill="zero")
    )(keys)
    masks = np.asarray(images)[..., 0] == 0
    erased = masks.any(axis=(1, 2))
    np.testing.assert_allclose(erased.mean(), 0.6, atol=0.05)
    masks = masks[erased]
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None, :])
    # Rounding moves a side by half a pixel at most.
    exact = (heights - 0.5) * (widths - 0.5) / (height * width)
    assert exact.max() <= 0.25
    assert exact.max() > 0.2
    assert ((heights + 0.5) * (widths + 0.5) / (height * width)).min() >= 0.02
    assert np.all((heights - 0.5) / (widths + 0.5) <= 2)
    assert np.all((widths - 0.5) / (heights + 0.5) <= 2)
    # Contiguous, and at both borders at times.
    assert np.all(np.abs(np.diff(np.int32(rows), axis=1, prepend=0, append=0)).sum(axis=1) == 2)
    assert rows[:, 0].any()
    assert rows[:, -1].any()
    assert columns[:, 0].any()
    assert columns[:, -1].any()
