"""Tables of pixels: a line an image, its class first or in a column called label, then gray bytes.

`mnist_train.csv` and `mnist_test.csv`, Kaggle's `train.csv` and `test.csv`,
`fashion-mnist_train.csv` and the like, with or without a line of names. Images are square.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.files._assemble import Arrays, assemble
from cnn_jax.data.folders import SPLIT_WORDS, File, Scan
from cnn_jax.errors import UsageError

_LABELS = ("label", "class", "target", "digit", "y")
_FEWEST = 16
_ROWS = 4096


class _Layout(NamedTuple):
    """Where things are in a line: the class (None without one), the side of images, a heading."""

    label: int | None
    side: int
    heading: bool


def find_pixel_tables(scan: Scan) -> dict[str, File]:
    """The table of each split that a folder has."""
    found: dict[str, File] = {}
    for file in scan.top.walk():
        if not file.name.lower().endswith(".csv") or _layout(scan.root / file.path) is None:
            continue
        split = _split(file.name)
        if split in found:
            first = scan.root / found[split].path
            raise UsageError(
                f"{first} and {scan.root / file.path} can both be the {split} split; leave one "
                "there"
            )
        found[split] = file
    return found if "train" in found else {}


def _split(name: str) -> str:
    words = re.split("[^a-z]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "train")


def _layout(path: Path) -> _Layout | None:
    try:
        with path.open(encoding="utf-8-sig") as file:
            cells = [cell.strip().strip('"') for cell in file.readline(1 << 20).split(",")]
    except (OSError, UnicodeDecodeError):
        return None
    heading = not all(re.fullmatch("[0-9]+", cell) for cell in cells)
    label: int | None = 0
    if heading:
        named = [index for index, cell in enumerate(cells) if cell.lower() in _LABELS]
        label = named[0] if named else None
    pixels = len(cells) - (label is not None)
    side = math.isqrt(pixels)
    square = side * side == pixels and pixels >= _FEWEST
    return _Layout(label, side, heading) if square else None


def read_pixel_tables(scan: Scan, name: str) -> tuple[Dataset, dict[str, str]]:
    """Reads tables of pixels, and says what each file is used as.

    Args:
        scan: of the folder that holds them.
        name: of the data set.

    Returns:
        Gray images, those of EMNIST turned upright.

    Raises:
        UsageError: a line is not as it should be.
    """
    files = find_pixel_tables(scan)
    splits, used, notes = {}, {}, []
    for split, file in files.items():
        path = scan.root / file.path
        layout = _layout(path)
        if layout is None or layout.label is None:
            notes.append(f"{file.path} has no labels: it is not used as the {split} split")
            continue
        images, labels = _read(path, layout)
        splits[split] = (
            np.swapaxes(images, 1, 2) if "emnist" in file.name.lower() else images,
            labels,
        )
        used[file.path] = split
    if "train" not in splits:
        raise UsageError(f"{scan.root / files['train'].path} has no column called label")
    return assemble(name, splits, notes=tuple(notes)), used


def _read(path: Path, layout: _Layout) -> Arrays:
    images, labels = [], []
    try:
        with path.open(encoding="utf-8-sig") as file:
            if layout.heading:
                file.readline()
            while True:
                rows = _rows(file)
                if not len(rows):
                    break
                cells = layout.side**2 + 1
                if rows.shape[1] != cells:
                    raise ValueError(f"a line has {rows.shape[1]} cells, the first has {cells}")
                labels.append(rows[:, layout.label])
                pixels = np.delete(rows, layout.label or 0, axis=1)
                if pixels.min() < 0 or pixels.max() > 255:
                    raise ValueError(f"a pixel is {pixels.max()}, expected 0 to 255")
                images.append(pixels.astype(np.uint8))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not images:
        raise UsageError(f"{path} has no images")
    together = np.concatenate(images)
    return together.reshape(len(together), layout.side, layout.side), np.concatenate(labels)


def _rows(file) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*contained no data.*")
        return np.loadtxt(file, np.int32, delimiter=",", quotechar='"', ndmin=2, max_rows=_ROWS)
