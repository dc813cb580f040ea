"""Squares of a chosen side."""

import numpy as np
import pytest

from cnn_jax.data import Dataset, Split
from cnn_jax.data.folders import resize, resize_dataset


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_content(channels: int):
    """A ramp along the long side: its middle survives, its ends are cut."""
    ramp = np.arange(0, 240, 4, dtype=np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (20, 60, channels)).copy()
    scaled = resize(image, 10)
    assert scaled.shape == (10, 10, channels)
    assert scaled.dtype == np.uint8
    # Halving averages neighboring columns of the square that begins at column 20.
    expected = image[0, 20:40, 0].reshape(10, 2).mean(axis=1)
    np.testing.assert_allclose(scaled[5, 1:-1, 0], expected[1:-1], atol=1)


def test_tall_images_lose_top_and_bottom():
    image = np.zeros((30, 10, 1), np.uint8)
    image[10:20] = 9
    assert np.all(resize(image, 4) == 9)


def test_nothing_to_do_returns_the_same_object():
    image = np.zeros((4, 4, 3), np.uint8)
    split = Split(image[None], np.zeros(1, np.int32))
    dataset = Dataset("toy", split, split, ("a", "b"))
    assert resize(image, 4) is image
    assert resize(image, None) is image
    assert resize_dataset(dataset, None) is dataset
    assert resize_dataset(dataset, 4) is dataset
    assert resize_dataset(dataset, 7).image_shape == (7, 7, 3)
