"""A folder in the layout MNIST was published in: four IDX files, gzipped or not.

The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
`t10k-labels-idx1-ubyte`, each with an optional `.gz`; a dot before `idx` is accepted too.

The format (http://yann.lecun.com/exdb/mnist/, "the IDX file format"): two zero bytes, one byte for
the element type (8: unsigned byte), one for the number of dimensions, each dimension as a
big-endian 32-bit integer, then the elements in C order.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Dataset, Split
from cnn_jax.errors import UsageError

_UNSIGNED_BYTE = 8


def holds_idx_files(folder: Path) -> bool:
    """Whether any file of `folder` is named like one of MNIST's IDX files."""
    return any(folder.glob("*[-.]idx[13]-ubyte*"))


def read_idx_folder(folder: Path) -> Dataset:
    """Reads MNIST's four files from `folder`.

    Args:
        folder: a directory with the four files.

    Returns:
        Gray images `n h w 1`; classes are named by their number, as many as the training labels
        reach. Its name is that of the folder.

    Raises:
        UsageError: a file is missing, damaged, or disagrees with its sibling.
    """
    train, test = _read_split(folder, "train"), _read_split(folder, "t10k")
    num_classes = int(train.labels.max(initial=0)) + 1
    return Dataset(folder.resolve().name, train, test, tuple(map(str, range(num_classes))))


def _read_split(folder: Path, prefix: str) -> Split:
    images_path = _find(folder, prefix, "images", "idx3")
    labels_path = _find(folder, prefix, "labels", "idx1")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise UsageError(
            f"{images_path} holds {len(images)} images and {labels_path} {len(labels)} labels, "
            "expected one label per image"
        )
    return Split(images[..., None], labels.astype(np.int32))


def _find(folder: Path, prefix: str, content: str, kind: str) -> Path:
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{prefix}-{content}{separator}{kind}-ubyte{suffix}"
            if path.is_file():
                return path
    raise UsageError(f"{folder} lacks {prefix}-{content}-{kind}-ubyte (or the same with .gz)")


def read_idx(path: Path, ndim: int) -> UInt8[np.ndarray, "..."]:
    """Reads one IDX file of unsigned bytes.

    Args:
        path: the file; gunzipped on the fly if its name ends in `.gz`.
        ndim: how many dimensions it must have.

    Returns:
        Its elements, in the shape that the file states.

    Raises:
        UsageError: the file cannot be read, is not IDX, or is shorter or longer than it states.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    header = 4 + 4 * ndim
    if content[:4] != magic:
        raise UsageError(
            f"{path} begins with {content[:4].hex() or 'nothing'}, expected the IDX magic number "
            f"{magic.hex()} (unsigned bytes, {ndim} dimensions)"
        )
    if len(content) < header:
        raise UsageError(f"{path} is truncated: its header has {len(content)} of {header} bytes")
    shape = tuple(map(int, np.frombuffer(content, ">u4", ndim, offset=4)))
    expected = header + math.prod(shape)
    if len(content) != expected:
        problem = "truncated" if len(content) < expected else "too long"
        raise UsageError(
            f"{path} is {problem}: {len(content)} bytes, but a shape of {shape} takes {expected}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
