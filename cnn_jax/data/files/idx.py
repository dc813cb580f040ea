"""The layout MNIST was published in: four IDX files, gzipped or not.

The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
`t10k-labels-idx1-ubyte`, each with an optional `.gz`; a dot before `idx` is accepted too, `test`
for `t10k`, and a beginning such as `emnist-letters-`. They may lie in folders, as in torchvision's
`raw/`.

The format (http://yann.lecun.com/exdb/mnist/, "the IDX file format"): two zero bytes, one byte for
the element type (8: unsigned byte), one for the number of dimensions, each dimension as a
big-endian 32-bit integer, then the elements in C order.
"""

import gzip
import math
import re
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data._class_names import CLASS_NAMES
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.files._assemble import Arrays, assemble
from cnn_jax.data.files._growth import check_growth
from cnn_jax.data.folders import File, Scan
from cnn_jax.display import count
from cnn_jax.errors import UsageError

_UNSIGNED_BYTE = 8
_NAME = re.compile(
    r"(?P<set>.*?)[-_.]?(?P<split>train|t10k|test)[-_.](?P<content>images|labels)"
    r"[-_.]idx[13][-_.]ubyte(?P<packed>\.gz)?",
    re.IGNORECASE,
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


class _Found(NamedTuple):
    folder: str
    set: str
    part: tuple[str, str]
    packed: bool
    file: File


def _find(scan: Scan) -> list[_Found]:
    found = []
    for file in scan.top.walk():
        match = _NAME.fullmatch(file.name)
        if match:
            part = _SPLITS[match["split"].lower()], match["content"].lower()
            folder = file.path.rpartition("/")[0]
            found.append(_Found(folder, match["set"], part, bool(match["packed"]), file))
    return found


def holds_idx_files(scan: Scan) -> bool:
    """Whether any file is named like one of MNIST's IDX files."""
    return bool(_find(scan))


def read_idx_files(scan: Scan, name: str, only: str = "") -> tuple[Dataset, dict[str, str]]:
    """Reads the four files of a set.

    Args:
        scan: of the folder that holds them.
        name: of the data set.
        only: how the names of the files begin, where there are several sets.

    Returns:
        Gray images `n h w 1`; classes are named by their number (those of EMNIST by what they
        show), and those that do not occur in training are left out. And what each file is used as.

    Raises:
        UsageError: a file is missing, damaged, or disagrees with its sibling, or there are several
            sets.
    """
    chosen = _choose(scan, [each for each in _find(scan) if each.set.startswith(only)])
    prefix = next(iter(chosen.values())).set.lower()
    upright = "emnist" in prefix
    splits: dict[str, Arrays] = {}
    for split in ("train", "test"):
        images_path, labels_path = (
            scan.root / chosen[split, content].file.path for content in ("images", "labels")
        )
        images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise UsageError(
                f"{images_path} holds {count(len(images), 'image')} and {labels_path} "
                f"{count(len(labels), 'label')}, "
                "expected one label per image"
            )
        splits[split] = (np.swapaxes(images, 1, 2) if upright else images), labels
    known = CLASS_NAMES.get(prefix.replace("-", "/", 1))
    notes = ("EMNIST's images are published with rows and columns exchanged: turned",)
    dataset = assemble(name, splits, known.__getitem__ if known else str, notes if upright else ())
    return dataset, {
        each.file.path: f"{split} {content}" for (split, content), each in chosen.items()
    }


def _choose(scan: Scan, found: list[_Found]) -> dict[tuple[str, str], _Found]:
    """The file of each part of the one set that there is."""
    sets = sorted({each.set for each in found})
    if len(sets) > 1:
        folder = scan.root / found[0].folder
        names = " or ".join(f"--dataset={folder / prefix}" for prefix in sets if prefix)
        raise UsageError(f"{folder} holds several sets of IDX files; give {names}")
    folders = defaultdict(set)
    for each in found:
        folders[each.folder].add(each.part)
    whole = [folder for folder, parts in folders.items() if len(parts) == len(_FILES)]
    if len(whole) > 1:
        names = " or ".join(str(scan.root / folder) for folder in whole)
        raise UsageError(f"{scan.root} holds several sets of IDX files; give {names}")
    chosen = {}
    for part, usual in _FILES.items():
        fitting = [
            each for each in found if each.part == part and each.folder in (whole or folders)
        ]
        if not fitting:
            folder = scan.root / max(folders, key=lambda folder: len(folders[folder]))
            prefix = f"{sets[0]}-" if sets[0] else ""
            raise UsageError(f"{folder} lacks {prefix}{usual} (or the same with .gz)")
        chosen[part] = min(fitting, key=lambda each: (each.packed, len(each.folder)))
    return chosen


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
    header = 4 + 4 * ndim
    try:
        content = _content(path, header, ndim)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    if content[:4] != magic:
        raise UsageError(
            f"{path} begins with {content[:4].hex() or 'nothing'}, expected the IDX magic number "
            f"{magic.hex()} (unsigned bytes, {ndim} dimensions)"
        )
    if len(content) < header:
        raise UsageError(f"{path} is truncated: its header has {len(content)} of {header} bytes")
    shape = _shape(content, ndim)
    expected = header + math.prod(shape)
    if len(content) != expected:
        problem = "truncated" if len(content) < expected else "too long"
        raise UsageError(
            f"{path} is {problem}: {len(content)} bytes, but a shape of {shape} takes {expected}"
        )
    try:
        return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
    except ValueError as error:
        raise UsageError(f"{path} states the shape {shape}, which no array has") from error


def _shape(content: bytes, ndim: int) -> tuple[int, ...]:
    return tuple(map(int, np.frombuffer(content, ">u4", ndim, offset=4)))


def _content(path: Path, header: int, ndim: int) -> bytes:
    """A file as it is; of what it may unpack to, no more than one byte beyond what it states."""
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    with gzip.open(path) as file:
        head = file.read(header)
        if len(head) < header:
            return head
        stated = math.prod(_shape(head, ndim))
        check_growth(path, stated)
        return head + file.read(stated + 1)
