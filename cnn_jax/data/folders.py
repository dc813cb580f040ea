"""A folder of pictures: `train/<class>/*.png` and, optionally, `test/<class>/*.png`.

Classes are the folders of `train`, in the order of their names; pictures may lie in folders below
them. Without `test`, a fifth of `train` is held out in its place. Pictures are turned as their EXIF
tag says; transparent ones are laid on white; 16-bit gray keeps its upper 8 bits. The set is gray if
every picture is stored as gray, otherwise RGB.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from absl import logging
from jaxtyping import Int32, UInt8

from cnn_jax.data.cache import cached, file_stamps, fingerprint, progress
from cnn_jax.data.dataset import Dataset, Split, hold_out
from cnn_jax.errors import UsageError


def resize(
    image: UInt8[np.ndarray, "h w c"], size: int | None
) -> UInt8[np.ndarray, "height width c"]:
    """Cuts the largest centered square out of an image and scales it.

    The aspect ratio is kept, so what lies outside the square is lost. The filter is bilinear, with
    a support that grows as the image shrinks (no aliasing) and no overshoot.

    Args:
        image: gray or RGB.
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


PICTURE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
_GRAY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "LA", "La", *_GRAY_16_BIT)
_EXIF_ORIENTATION = 0x0112
_HELD_OUT = 0.2
_HOLD_OUT_SEED = 0

_Result = TypeVar("_Result")


def load_image_folder(
    folder: Path, *, image_size: int | None, cache_dir: str | os.PathLike[str] | None
) -> Dataset:
    """Reads a folder of pictures, cached once decoded.

    Args:
        folder: the directory with `train` and perhaps `test`.
        image_size: side to which every picture is resized on reading (see `resize`); None: all
            pictures have one size.
        cache_dir: see `cached`.

    Returns:
        The data set, named like the folder. Without `test`, a stratified 20 % of `train` (always
        the same) are its test split, which is logged.

    Raises:
        UsageError: the layout is not as above, a class is empty or only in `test`, there are
            fewer than two classes, a picture is unreadable, or sizes differ.
    """
    if not (folder / "train").is_dir():
        raise UsageError(
            f"{folder} holds neither IDX files nor a folder train, expected pictures in "
            f"{folder / 'train' / '<class>'}"
        )
    train = _find_pictures(folder / "train")
    if len(train) < 2:
        raise UsageError(
            f"{folder / 'train'} has {len(train)} class folders, expected one for each of two or "
            "more classes"
        )
    has_test = (folder / "test").is_dir()
    test = _find_pictures(folder / "test") if has_test else {}
    if strangers := sorted(test.keys() - train.keys()):
        raise UsageError(
            f"{folder / 'test' / strangers[0]} is a class that {folder / 'train'} lacks, expected "
            "test classes to be among the training classes"
        )
    if not has_test:
        warn_of_no_test(folder)
    name, class_names = folder.resolve().name, tuple(train)
    groups = [*train.items(), *test.items()]
    paths = [path for _, group in groups for path in group]
    classes = [class_names.index(class_name) for class_name, _ in groups]
    labels = np.repeat(np.array(classes, np.int32), [len(group) for _, group in groups])
    first_test = sum(map(len, train.values()))
    key = fingerprint(name, sorted(train), file_stamps(folder, paths), image_size)
    return cached(
        lambda: read_pictures_as(name, paths, labels, first_test, class_names, image_size),
        name=name,
        key=key,
        cache_dir=cache_dir,
    )


def warn_of_no_test(folder: Path) -> None:
    """Logs that `read_pictures_as` will hold out a test split."""
    logging.warning(
        "%s has no folder test: %.0f %% of its training pictures are held out as test split.",
        folder,
        100 * _HELD_OUT,
    )


def _find_pictures(split_folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class folder; hidden folders and files are left out."""
    pictures = {}
    for folder in sorted(path for path in split_folder.iterdir() if path.is_dir()):
        if folder.name.startswith("."):
            continue
        pictures[folder.name] = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
        )
        if not pictures[folder.name]:
            endings = " ".join(sorted(PICTURE_SUFFIXES))
            raise UsageError(f"{folder} has no pictures, expected some ending in {endings}")
    return pictures


def read_pictures_as(
    name: str,
    paths: Sequence[Path],
    labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"],
    first_test: int,
    class_names: tuple[str, ...],
    image_size: int | None,
) -> Dataset:
    """Reads pictures as a data set.

    Args:
        name: of the data set.
        paths: the training pictures, then those of the test split.
        labels: of each picture, as in `Split`.
        first_test: how many train; if all do, a fifth of them is held out as the test split.
        class_names: of the classes, or labels.
        image_size: side to which every picture is resized; None: all pictures have one size.

    Raises:
        UsageError: a picture is unreadable, or sizes differ.
    """
    everything = Split(_read_pictures(name, paths, image_size), labels)
    if first_test == len(paths):
        return Dataset(name, *hold_out(everything, _HELD_OUT, _HOLD_OUT_SEED), class_names)
    return Dataset(name, everything[:first_test], everything[first_test:], class_names)


def _read_pictures(
    name: str, paths: Sequence[Path], image_size: int | None
) -> UInt8[np.ndarray, "n h w c"]:
    # Headers first: sizes and colors are known before memory is taken and hours are spent.
    headers = _map_pictures(_read_header, f"Looking through {name}", paths)
    channels = 1 if all(gray for _, gray in headers) else 3
    shape = (image_size, image_size) if image_size else headers[0][0]
    for path, (size, _) in zip(paths, headers, strict=True):
        if not image_size and size != shape:
            raise UsageError(
                f"{path} is {size[0]} x {size[1]} pixels but {paths[0]} is {shape[0]} x "
                f"{shape[1]} (height x width), expected an image size to resize them to"
            )
    images = np.empty((len(paths), *shape, channels), np.uint8)

    def read_into(path: Path, image: np.ndarray) -> None:
        image[...] = resize(decode_picture(path, channels), image_size)

    _map_pictures(read_into, f"Decoding {name}", paths, images)
    return images


def _map_pictures(
    function: Callable[..., _Result], description: str, paths: Sequence[Path], *others: Iterable
) -> list[_Result]:
    """`function` of each path, in threads (Pillow decodes outside the interpreter's lock)."""

    def attempt(*arguments: Any) -> _Result | Exception:
        try:
            return function(*arguments)
        # Pillow's decoders raise nearly anything on damaged files.
        except Exception as error:
            return error

    results, bad = [], []
    with ThreadPoolExecutor() as pool, progress(description, len(paths)) as advance:
        for path, result in zip(paths, pool.map(attempt, paths, *others), strict=True):
            if isinstance(result, Exception):
                bad.append((path, result))
            else:
                results.append(result)
            advance(1)
    if bad:
        path, error = bad[0]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} cannot be read ({reason}); unreadable pictures: {len(bad)}")
    return results


def _read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Height and width once turned upright, and whether the picture is gray."""
    from PIL import Image

    with Image.open(path) as picture:
        width, height = picture.size
        # Orientations 5 to 8 exchange rows and columns.
        if picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
            width, height = height, width
        return (height, width), picture.mode in _GRAY_MODES


def decode_picture(path: Path, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """A picture file turned upright, transparent parts on white, in gray or RGB.

    Args:
        path: of the file.
        channels: 1 for gray, 3 for RGB.

    Raises:
        ValueError: its pixels have 32 bits. Pillow raises nearly anything on damaged files.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit (Pillow mode {picture.mode}), not 8- or 16-bit")
    if picture.mode in _GRAY_16_BIT:
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture.convert("RGBA"))
        picture = white
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)
