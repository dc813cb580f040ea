"""Normalization statistics against numpy in double precision."""

import numpy as np
import pytest

from cnn_jax.data import channel_statistics
from cnn_jax.errors import UsageError


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 4, 3), (2500, 4, 3, 1), (1025, 2, 2, 3)])
def test_agrees_with_numpy(rng: np.random.Generator, shape: tuple[int, ...]):
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    assert mean.shape == std.shape == shape[-1:]
    scaled = images / 255.0
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    expected = scaled.std(axis=(0, 1, 2))
    np.testing.assert_allclose(std, np.where(expected == 0, 1, expected), rtol=1e-6)


def test_a_constant_channel_can_be_divided_by(rng: np.random.Generator):
    images = rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    images[..., 1] = 77
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean[1], 77 / 255, rtol=1e-6)
    assert std[1] == 1


def test_no_images_are_refused():
    with pytest.raises(UsageError, match="expected at least one pixel"):
        channel_statistics(np.zeros((0, 4, 4, 3), np.uint8))
