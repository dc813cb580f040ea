"""Which published files a folder holds, if any, and the data set in them."""

import dataclasses

from cnn_jax.data._repeats import repeats
from cnn_jax.data.account import Account, counts
from cnn_jax.data.dataset import Dataset, check_dataset
from cnn_jax.data.files.arrays import (
    find_npz,
    find_svhn,
    npz_has_several_labels,
    read_npz,
    read_svhn,
)
from cnn_jax.data.files.cifar import holds_cifar, read_cifar, refuse_pickled
from cnn_jax.data.files.idx import holds_idx_files, read_idx_files
from cnn_jax.data.files.pixel_csv import find_pixel_tables, read_pixel_tables
from cnn_jax.data.folders import PICTURE_SUFFIXES, File, Scan
from cnn_jax.errors import UsageError


def open_files(scan: Scan, name: str, labels: str = "auto", only: str = "") -> Dataset | None:
    """Reads the published files that a folder holds.

    Args:
        scan: of the folder.
        name: of the data set.
        labels: "one" or "several", where rows of labels can be read both ways.
        only: how the names of IDX files begin, where there are several sets.

    Returns:
        The data set with an account of the folder; None where it holds no such files. A folder that
        holds pictures too is one of pictures, unless its files are MNIST's or CIFAR's.

    Raises:
        UsageError: a file is missing or damaged, would have to be unpickled, or there are several
            sets.
    """
    if holds_idx_files(scan):
        dataset, used = read_idx_files(scan, name, only)
    elif holds_cifar(scan):
        dataset, used = read_cifar(scan, name)
    elif _holds_pictures(scan):
        return None
    else:
        refuse_pickled(scan)
        if find_svhn(scan):
            dataset, used = read_svhn(scan, name)
        elif npz := _the_npz(scan):
            dataset, used = read_npz(scan.root / npz.path, name, labels), {npz.path: "all splits"}
        elif find_pixel_tables(scan):
            dataset, used = read_pixel_tables(scan, name)
        else:
            return None
    left = scan.left | {
        file.path: "no part of the set" for file in scan.top.walk() if file.path not in used
    }
    account = Account(used, left)
    check_dataset(dataset)
    notes = (_summary(dataset, account), *dataset.notes, *repeats(dataset.splits))
    return dataclasses.replace(dataset, notes=notes, account=account)


def several_labels_in_files(scan: Scan, labels: str) -> bool | None:
    """Whether the images in published files have several labels; None where there are no such."""
    if holds_idx_files(scan) or holds_cifar(scan):
        return False
    if _holds_pictures(scan):
        return None
    npz = _the_npz(scan)
    return npz_has_several_labels(scan.root / npz.path, labels) if npz else None


def _holds_pictures(scan: Scan) -> bool:
    paths = (file.path.lower() for file in scan.top.walk())
    return any(path[path.rfind(".") :] in PICTURE_SUFFIXES for path in paths)


def _the_npz(scan: Scan) -> File | None:
    files = find_npz(scan)
    if len(files) > 1:
        names = " or ".join(str(scan.root / file.path) for file in files)
        raise UsageError(f"{scan.root} holds several sets; give {names}")
    return files[0] if files else None


def _summary(dataset: Dataset, account: Account) -> str:
    said = []
    for split, part in dataset.splits.items():
        inside = f"{len(part):,}"
        if not dataset.multi_label:
            inside = counts(dataset.class_names[label] for label in sorted(part.labels.tolist()))
        said.append(f"{split} {inside}")
    return "; ".join(filter(None, [*said, account.left_out()]))
