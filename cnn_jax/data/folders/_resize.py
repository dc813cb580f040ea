"""Images of a chosen side: cut, filled up or stretched to a square."""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Dataset, Split
from cnn_jax.display import count
from cnn_jax.errors import FIELD, FieldError
from cnn_jax.memory import check_fits

RESIZE = ("crop", "pad", "stretch")


def resize(
    image: UInt8[np.ndarray, "h w c"], size: int | None, how: str = "crop"
) -> UInt8[np.ndarray, "height width c"]:
    """Makes a square of an image and scales it.

    The filter is bilinear, with a support that grows as the image shrinks (no aliasing) and no
    overshoot.

    Args:
        image: gray or RGB.
        size: the side in pixels of the result; None: leave the image as it is.
        how: "crop" takes the largest centered square, "pad" fills up the shorter side with the
            median color of the border, "stretch" changes the aspect ratio.

    Returns:
        The image, `size size c`.
    """
    if size is None or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    height, width, channels = image.shape
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    if how != "pad" or height == width:
        scaled = picture.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(scaled).reshape(size, size, channels)
    rows, columns = (max(1, round(side * size / max(height, width))) for side in (height, width))
    scaled = picture.resize((columns, rows), Image.Resampling.BILINEAR)
    square = np.empty((size, size, channels), np.uint8)
    square[:] = _border_color(image)
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = np.asarray(scaled).reshape(
        rows, columns, channels
    )
    return square


def _border_color(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "c"]:
    edges = [image[0], image[-1], image[:, 0], image[:, -1]]
    return np.median(np.concatenate(edges), axis=0).astype(np.uint8)


def resize_dataset(dataset: Dataset, size: int | None, how: str = "crop") -> Dataset:
    """`resize` on every image of all splits; `dataset` itself if nothing changes."""
    if size is None:
        return dataset
    if dataset.image_shape[:2] == (size, size):
        rule = dataset.rule._replace(resize=how)
        return dataset if rule == dataset.rule else dataclasses.replace(dataset, rule=rule)
    for split in dataset.splits.values():
        check_room(dataset.name, (len(split), size, size, dataset.image_shape[2]))
    splits = {name: _resize_split(split, size, how) for name, split in dataset.splits.items()}
    return dataclasses.replace(
        dataset,
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
        rule=dataset.rule._replace(resize=how).resized([dataset.image_shape[:2]], size),
    )


def check_room(name: str, shape: tuple[int, ...]) -> None:
    """Refuses images of a shape `n h w c` that do not fit into memory.

    Raises:
        FieldError: with what they would need.
    """
    number, height, width, channels = shape
    check_fits(
        f"{name}: {count(number, 'image')} of {height} x {width} x {channels}",
        math.prod(shape),
        f"give a smaller {FIELD.image_size}",
    )


def _resize_split(split: Split, size: int, how: str) -> Split:
    count, _, _, channels = split.images.shape
    images = np.empty((count, size, size, channels), np.uint8)
    for index, image in enumerate(split.images):
        images[index] = resize(image, size, how)
    return Split(images, split.labels)


def different_sizes(sizes: list[tuple[int, int]], examples: str) -> FieldError:
    """What is to be said of pictures of different sizes, with a side that suits them.

    Args:
        sizes: height and width of every picture.
        examples: two of them, in words.
    """
    short = sorted(min(size) for size in sizes)
    middle = short[len(short) // 2]
    usual = [side for side in (16, 28, 32, 48, 64, 96, 128, 160, 192, 224) if side <= middle]
    return FieldError(
        f"{examples}, expected an image size to resize them to: {FIELD.image_size}="
        f"{usual[-1] if usual else middle} suits these pictures, whose shorter side is {short[0]} "
        f"to {short[-1]} pixels, mostly about {middle} ({FIELD.resize} says whether they are cut, "
        "filled up or stretched)"
    )
