"""Squares of a chosen side."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Dataset, Split


def resize(
    image: UInt8[np.ndarray, "h w c"], size: int | None
) -> UInt8[np.ndarray, "height width c"]:
    """Cuts the largest centred square out of an image and scales it.

    The aspect ratio is kept, so what lies outside the square is lost. The filter is bilinear, with
    a support that grows as the image shrinks (no aliasing) and no overshoot.

    Args:
        image: grey or RGB.
        size: the side in pixels of the result; None: leave the image as it is.

    Returns:
        The image, `size size c`.
    """
    if size is None or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    height, width, channels = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    picture = Image.fromarray(square[..., 0] if channels == 1 else square)
    scaled = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(scaled).reshape(size, size, channels)


def resize_dataset(dataset: Dataset, size: int | None) -> Dataset:
    """`resize` on every image of both splits; `dataset` itself if nothing changes."""
    if size is None or dataset.image_shape[:2] == (size, size):
        return dataset
    return dataclasses.replace(
        dataset, train=_resize_split(dataset.train, size), test=_resize_split(dataset.test, size)
    )


def _resize_split(split: Split, size: int) -> Split:
    count, _, _, channels = split.images.shape
    images = np.empty((count, size, size, channels), np.uint8)
    for index, image in enumerate(split.images):
        images[index] = resize(image, size)
    return Split(images, split.labels)
