"""The binary version of CIFAR-10 and CIFAR-100, as published.

A record is one byte with the class (in CIFAR-100 two: the superclass, then the class) and 3,072
bytes of an image of 32 x 32: its red plane, its green one, its blue one
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import re
from pathlib import Path

import numpy as np

from cnn_jax.data._class_names import CLASS_NAMES
from cnn_jax.data.dataset import Dataset
from cnn_jax.data.files._assemble import Arrays, assemble
from cnn_jax.data.folders import File, Scan
from cnn_jax.errors import UsageError

_PIXELS = 3 * 32 * 32
_PICKLED = re.compile(r"data_batch_[0-9]+|test_batch|batches\.meta|train|test|meta")
_NAMES = ("batches.meta.txt", "fine_label_names.txt")


def _parts(scan: Scan) -> dict[str, list[File]]:
    """The files of each split; of CIFAR-10 the training split is in several."""
    files = {file.name.lower(): file for file in scan.top.walk()}
    batches = sorted(name for name in files if re.fullmatch(r"data_batch_[0-9]+\.bin", name))
    if batches:
        test = [files["test_batch.bin"]] if "test_batch.bin" in files else []
        return {"train": [files[name] for name in batches], "test": test}
    if "fine_label_names.txt" in files and "train.bin" in files:
        return {"train": [files["train.bin"]], "test": [files[n] for n in files if n == "test.bin"]}
    return {}


def holds_cifar(scan: Scan) -> bool:
    """Whether the files of a folder are named like those of CIFAR's binary version."""
    return bool(_parts(scan))


def refuse_pickled(scan: Scan) -> None:
    """Refuses CIFAR's Python version: unpickling runs what is written in a file.

    Raises:
        UsageError: the files are named like those of that version, and begin like pickles.
    """
    names = [file for file in scan.top.walk() if _PICKLED.fullmatch(file.name)]
    if len(names) < 2 or not all(_is_pickle(scan.root / file.path) for file in names[:2]):
        return
    kind = "10" if any(file.name.startswith("data_batch") for file in names) else "100"
    raise UsageError(
        f"{scan.root / names[0].path} is of the Python version of CIFAR-{kind}, which is pickled: "
        "unpickling would run whatever is written in it, so it is not opened; give the binary "
        f"version (cifar-{kind}-binary.tar.gz of the same page), or cifar{kind} by its name"
    )


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do, or as older ones."""
    with path.open("rb") as file:
        head = file.read(2)
    return head[:1] == b"\x80" or head in (b"(d", b"(l", b"}q")


def read_cifar(scan: Scan, name: str) -> tuple[Dataset, dict[str, str]]:
    """Reads CIFAR's binary version, and says what each file is used as.

    Args:
        scan: of the folder that holds it.
        name: of the data set.

    Raises:
        UsageError: a file is missing or damaged.
    """
    parts = _parts(scan)
    if not parts["test"]:
        raise UsageError(
            f"{scan.root} lacks test_batch.bin (or test.bin) beside the training files"
        )
    hundred = len(parts["train"]) == 1 and parts["train"][0].name.lower() == "train.bin"
    labels = 2 if hundred else 1
    used = {file.path: split for split, files in parts.items() for file in files}
    listed = [file for file in scan.top.walk() if file.name.lower() in _NAMES]
    if listed:
        text = (scan.root / listed[0].path).read_text(encoding="utf-8", errors="replace")
        names = tuple(filter(None, map(str.strip, text.splitlines())))
        used[listed[0].path] = "class names"
    else:
        names = CLASS_NAMES["cifar100" if hundred else "cifar10"]
    class_name = lambda label: names[label] if label < len(names) else str(label)  # noqa: E731
    splits = {
        split: _join([_read(scan.root / file.path, labels) for file in files])
        for split, files in parts.items()
    }
    return assemble(name, splits, class_name), used


def _join(arrays: list[Arrays]) -> Arrays:
    return np.concatenate([each[0] for each in arrays]), np.concatenate([e[1] for e in arrays])


def _read(path: Path, labels: int) -> Arrays:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if not content.size or content.size % (labels + _PIXELS):
        raise UsageError(
            f"{path} has {content.size:,} bytes, expected records of {labels + _PIXELS:,} bytes"
        )
    records = content.reshape(-1, labels + _PIXELS)
    images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, labels - 1]
