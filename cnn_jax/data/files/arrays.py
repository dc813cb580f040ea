"""Arrays in a file: `.npz` as Keras and MedMNIST name them, and SVHN's `.mat`.

Nothing is ever unpickled: arrays of Python objects are refused.
"""

import math
import re
import zipfile
from pathlib import Path

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.files._assemble import Arrays, assemble
from cnn_jax.data.files._growth import check_growth
from cnn_jax.data.folders import File, Scan
from cnn_jax.display import shown
from cnn_jax.errors import FIELD, FieldError, UsageError

# Names of images and labels of each split.
_NAMINGS = (
    {
        "train": ("x_train", "y_train"),
        "validation": ("x_val", "y_val"),
        "test": ("x_test", "y_test"),
    },
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
    {
        "train": ("X_train", "y_train"),
        "validation": ("X_val", "y_val"),
        "test": ("X_test", "y_test"),
    },
)
_SVHN = re.compile(r"(train|test)_32x32\.mat", re.IGNORECASE)


def find_npz(scan: Scan) -> list[File]:
    """The `.npz` files in a folder."""
    return [file for file in scan.top.walk() if file.name.lower().endswith(".npz")]


def npz_has_several_labels(path: Path, labels: str) -> bool:
    """Whether the images of a `.npz` have several labels each."""
    with _open(path) as arrays:
        naming = _naming(path, arrays)
        read = _array(path, arrays, naming["train"][1])
    return _flat(path, read, labels).ndim == 2


def read_npz(path: Path, name: str, labels: str) -> Dataset:
    """Reads a `.npz` with images and labels of the splits.

    Args:
        path: the file.
        name: of the data set.
        labels: "one" or "several", where rows of labels can be read both ways.

    Raises:
        UsageError: the arrays have other names or shapes, or hold Python objects.
    """
    with _open(path) as arrays:
        naming = _naming(path, arrays)
        splits = {
            split: (_array(path, arrays, images), _flat(path, _array(path, arrays, each), labels))
            for split, (images, each) in naming.items()
        }
        others = sorted(set(arrays.files) - {each for pair in naming.values() for each in pair})
    notes = (f"not used: {', '.join(others)}",) if others else ()
    return assemble(name, splits, notes=notes)


def _open(path: Path) -> np.lib.npyio.NpzFile:
    try:
        opened = np.load(path, allow_pickle=False)
    # What a damaged or foreign file raises is not documented.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"cannot read {path}: {reason}") from error
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise UsageError(f"{path} is no .npz with several arrays")
    check_growth(path, sum(member.file_size for member in _archive(opened).infolist()))
    return opened


def _array(path: Path, arrays: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        _check_header(path, arrays, key)
        return np.asarray(arrays[key])
    except UsageError:
        raise
    # What a damaged or foreign file raises is not documented.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"cannot read {key} of {path}: {reason}") from error


def _archive(arrays: np.lib.npyio.NpzFile) -> zipfile.ZipFile:
    assert arrays.zip is not None, "it is open"
    return arrays.zip


def _check_header(path: Path, arrays: np.lib.npyio.NpzFile, key: str) -> None:
    """Refuses what would be unpickled, and what states to be larger than it is."""
    archive = _archive(arrays)
    member = archive.getinfo(key if key in archive.namelist() else f"{key}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, _, dtype = read.get(version, np.lib.format.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise UsageError(
            f"{path}: {key} holds Python objects, which are pickled and not opened; save it as "
            "numbers"
        )
    stated = math.prod(shape) * dtype.itemsize
    if stated > member.file_size:
        raise UsageError(
            f"{path}: {key} states {stated:,} bytes of numbers, and has {member.file_size:,}"
        )


def _naming(path: Path, arrays: np.lib.npyio.NpzFile) -> dict[str, tuple[str, str]]:
    for naming in _NAMINGS:
        there = {split: pair for split, pair in naming.items() if set(pair) <= set(arrays.files)}
        if "train" in there:
            return there
    raise UsageError(
        f"{path} has the arrays {shown(', '.join(arrays.files)) or 'none'}, expected x_train, "
        "y_train, x_test and y_test, or train_images, train_labels, test_images and test_labels"
    )


def _flat(path: Path, labels: np.ndarray, which: str) -> np.ndarray:
    """Labels as one number an image, or as rows of zeros and ones."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 1 or labels.ndim != 2:
        return labels.reshape(len(labels)) if labels.ndim == 1 else labels
    if not np.isin(labels, (0, 1)).all():
        raise UsageError(f"{path}: rows of labels hold {labels.max()}, expected zeros and ones")
    if not (labels.sum(axis=1) == 1).all() or which == "several":
        return labels
    if which == "one":
        return labels.argmax(axis=1)
    raise FieldError(
        f"{path}: each row of labels has exactly one 1, which can be one class an image "
        f"({FIELD.labels}=one) or labels that are there or not ({FIELD.labels}=several); say which"
    )


def find_svhn(scan: Scan) -> dict[str, File]:
    """SVHN's files for each split."""
    matches = ((file, _SVHN.fullmatch(file.name)) for file in scan.top.walk())
    return {match[1].lower(): file for file, match in matches if match}


def read_svhn(scan: Scan, name: str) -> tuple[Dataset, dict[str, str]]:
    """Reads SVHN's cropped digits, and says what each file is used as.

    Args:
        scan: of the folder that holds them.
        name: of the data set.

    Returns:
        Color images 32 x 32; the label 10 means the digit 0.

    Raises:
        UsageError: a file is missing or damaged.
    """
    files = find_svhn(scan)
    if "train" not in files:
        raise UsageError(f"{scan.root} lacks train_32x32.mat")
    splits = {split: _read_mat(scan.root / file.path) for split, file in files.items()}
    return assemble(name, splits), {file.path: split for split, file in files.items()}


def _read_mat(path: Path) -> Arrays:
    from scipy.io import loadmat, whosmat

    try:
        stated = (math.prod(shape) for _, shape, _ in whosmat(path))
        check_growth(path, sum(stated))
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].reshape(-1)
        if labels.dtype.kind not in "uif":
            raise ValueError(f"y is {labels.dtype}")
    except UsageError:
        raise
    # What a damaged or foreign file raises is not documented.
    except Exception as error:
        raise UsageError(
            f"cannot read {path} ({' '.join(str(error).split()) or type(error).__name__}), "
            "expected a MATLAB file with X (32 x 32 x 3 x n) and y"
        ) from error
    if images.ndim != 4:
        raise UsageError(f"{path}: X has shape {images.shape}, expected 32 x 32 x 3 x n")
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels % 10
