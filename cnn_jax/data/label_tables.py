"""A folder of pictures with several labels each: `train/labels.csv` and, optionally, `test/`.

The first line of labels.csv is `file` and the names of the labels, every other line a picture, by
its path below the folder of labels.csv, and 1 or 0 for each label. Pictures may lie anywhere there.
Without `test`, a fifth of `train` is held out in its place. How pictures are read is told in
`image_folder`.
"""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.cache import cached, file_stamps, fingerprint
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.folders import read_pictures_as, warn_of_no_test
from cnn_jax.errors import UsageError

LABELS_FILE = "labels.csv"


class _Table(NamedTuple):
    names: tuple[str, ...]
    paths: list[Path]
    labels: UInt8[np.ndarray, "n l"]


def holds_labels(folder: Path) -> bool:
    """Whether `folder` is laid out as above."""
    return (folder / "train" / LABELS_FILE).is_file()


def load_labeled_folder(
    folder: Path, *, image_size: int | None, cache_dir: str | os.PathLike[str] | None
) -> Dataset:
    """Reads a folder of pictures with several labels each, cached once decoded.

    Args:
        folder: the directory with `train/labels.csv` and perhaps `test/labels.csv`.
        image_size: side to which every picture is resized on reading (see `resize`); None: all
            pictures have one size.
        cache_dir: see `cached`.

    Returns:
        The data set, named like the folder, with multi-hot labels. Without `test`, 20 % of `train`
        (always the same) are its test split, which is logged.

    Raises:
        UsageError: a labels.csv is not as above or names a picture that is not there, those of
            `train` and `test` have other labels, a picture is unreadable, or sizes differ.
    """
    train = _read_table(folder / "train" / LABELS_FILE)
    if (folder / "test").is_dir():
        test = _read_table(folder / "test" / LABELS_FILE)
        if test.names != train.names:
            raise UsageError(
                f"{folder / 'test' / LABELS_FILE} has the labels {', '.join(test.names)}, expected "
                f"those of train: {', '.join(train.names)}"
            )
    else:
        test = _Table(train.names, [], train.labels[:0])
        warn_of_no_test(folder)
    name = folder.resolve().name
    paths = [*train.paths, *test.paths]
    labels = np.concatenate([train.labels, test.labels])
    key = fingerprint(
        name, train.names, len(train.paths), labels.tolist(),
        [path.relative_to(folder).as_posix() for path in paths],
        file_stamps(folder, paths), image_size,
    )  # fmt: skip
    return cached(
        lambda: read_pictures_as(name, paths, labels, len(train.paths), train.names, image_size),
        name=name,
        key=key,
        cache_dir=cache_dir,
    )


def _read_table(file: Path) -> _Table:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if len(rows) < 2 or rows[0][0] != "file" or len(rows[0]) < 2:
        raise UsageError(
            f"{file} must begin with a line file,LABEL,LABEL,... and have a line for each picture"
        )
    names = tuple(name.strip() for name in rows[0][1:])
    if len(set(names)) < len(names) or "" in names:
        raise UsageError(f"{file} must give every label a name of its own, got {', '.join(names)}")
    for row in rows[1:]:
        if len(row) != len(rows[0]) or not {value.strip() for value in row[1:]} <= {"0", "1"}:
            raise UsageError(
                f"{file}: the line of {row[0]} must have {len(names)} zeros or ones after the "
                f"file, got {','.join(row[1:])}"
            )
        if not (file.parent / row[0]).is_file():
            raise UsageError(f"{file} names {row[0]}, but there is no such file in {file.parent}")
    labels = np.array([[int(value) for value in row[1:]] for row in rows[1:]], np.uint8)
    return _Table(names, [file.parent / row[0] for row in rows[1:]], labels)
