"""A folder of pictures as a data set: scanned, laid out, decoded once, and accounted for."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cnn_jax.data._repeats import repeats
from cnn_jax.data.account import Account, counts
from cnn_jax.data.cache import cached, fingerprint
from cnn_jax.data.dataset import Dataset, Split
from cnn_jax.data.folders._layout import Plan, lay_out
from cnn_jax.data.folders._parts import train_table
from cnn_jax.data.folders._pixels import read_header
from cnn_jax.data.folders._reader import Options, Reader, open_reader
from cnn_jax.data.folders._reading import read_pictures, refuse_bad
from cnn_jax.data.folders._scan import EMPTY_FOLDER, Folder, Scan, above
from cnn_jax.display import shown
from cnn_jax.errors import UsageError


def has_several_labels(scan: Scan, options: Options) -> bool:
    """Whether the pictures of a folder have several labels each; no picture is read.

    Raises:
        UsageError: that cannot be known.
    """
    table = train_table(open_reader(scan, options))
    return table is not None and table.several


def load_pictures(
    scan: Scan, name: str, options: Options, cache_dir: str | os.PathLike[str] | None
) -> Dataset:
    """Reads a folder of pictures, cached once decoded.

    Args:
        scan: of the folder.
        name: of the data set.
        options: how it is read.
        cache_dir: see `cached`.

    Returns:
        The data set. Without a labeled test split, a stratified 20 % of the training pictures
        (always the same) are its test split, which is said in its notes.

    Raises:
        UsageError: there is nothing to train on, it can be read in several ways, or pictures
            cannot be read (unless they are to be skipped).
    """
    reader = open_reader(scan, options)
    plan = lay_out(reader)
    if options.on_error != "skip" and plan.bad:
        # Those that are found in decoding are said together with these.
        _read(scan.root, name, plan, options)
    stamps = [
        (file.path, file.size, file.stamp) for split in plan.files for file in plan.files[split]
    ]
    labels = [plan.labels[split].tolist() for split in plan.labels]
    key = fingerprint(
        name, list(plan.files), plan.class_names, labels, stamps, options[:3], options.rule
    )

    def read(key: str) -> Dataset:
        return cached(
            lambda: _read(scan.root, name, plan, options), name=name, key=key, cache_dir=cache_dir
        )

    dataset = read(key)
    # What could not be read then may be readable now.
    if again := sorted(path for path in dataset.unread if _is_readable(scan.root / path)):
        dataset = read(fingerprint(key, again))
    account = _account(reader, plan, dataset.unread)
    notes = (_summary(plan, dataset, account), *plan.notes, *dataset.notes)
    return dataclasses.replace(dataset, notes=notes, account=account)


def _is_readable(path: Path) -> bool:
    try:
        read_header(path)
    # A decoder may raise nearly anything.
    except Exception:
        return False
    return True


def _read(root: Path, name: str, plan: Plan, options: Options) -> Dataset:
    files = [file for split in plan.files for file in plan.files[split]]
    paths = [root / file.path for file in files]
    found = read_pictures(name, paths, options.image_size, options.resize, options.rule)
    bad = plan.bad | {files[index].path: why for index, why in found.bad.items()}
    if options.on_error != "skip":
        refuse_bad(root, bad)
    splits, readable, start, image = {}, {}, 0, 0
    for split, chosen in plan.files.items():
        good = [index for index in range(len(chosen)) if start + index not in found.bad]
        splits[split] = Split(found.images[image : image + len(good)], plan.labels[split][good])
        start, image = start + len(chosen), image + len(good)
        readable[split] = [chosen[index].path for index in good]
    _check_left(root, name, splits, plan.class_names, bad)
    twice = repeats(splits, lambda split, index: shown(readable[split][index]))
    test = splits["test"]
    return Dataset(
        name,
        splits.get("train", test[:0]),
        test,
        plan.class_names,
        splits.get("validation"),
        (*found.notes, *twice),
        found.rule,
        bad,
    )


def _check_left(
    root: Path, name: str, splits: dict[str, Split], names: tuple[str, ...], bad: dict[str, str]
) -> None:
    """Refuses what skipping leaves, where that is nothing to train or test on."""
    if not bad:
        return
    train = splits.get("train", splits["test"]).labels
    counts = np.bincount(train, minlength=len(names)) if train.ndim == 1 else [len(train)]
    if not min(counts):
        lost = names[int(np.argmin(counts))] if train.ndim == 1 else "training"
        raise UsageError(
            f"{root} has no readable picture of {lost}: {len(bad):,} cannot be read, such as "
            f"{next(iter(bad))} ({next(iter(bad.values()))})"
        )
    for split, each in splits.items():
        if not len(each):
            raise UsageError(f"{root} has no readable picture in its {split} split")


def _account(reader: Reader, plan: Plan, unread: Mapping[str, str]) -> Account:
    used = {path: use for path, use in plan.used.items() if path not in unread}
    left = reader.scan.left | plan.left | dict(unread)
    for file in reader.scan.top.walk():
        if file.path not in used and file.path not in left:
            left[file.path] = (
                "in no split" if reader.look.is_picture(file)
                else "a table that is not read" if reader.look.is_table(file)
                else "not a picture"
            )  # fmt: skip
    inside = {folder for path in left for folder in above(path)}
    empty = (path for path in _empty(reader.scan.top) if path and path not in inside)
    left |= dict.fromkeys(empty, EMPTY_FOLDER)
    return Account(used, left)


def _empty(folder: Folder) -> Iterable[str]:
    if not folder.folders and not folder.files:
        yield folder.path
    for inside in folder.folders:
        yield from _empty(inside)


def _summary(plan: Plan, dataset: Dataset, account: Account) -> str:
    """The line that says what is used as what, and what is not."""
    said = []
    for split, part in dataset.splits.items():
        if not len(part):
            continue
        if dataset.multi_label:
            there = part.labels.sum(axis=0).tolist()
            pairs = zip(dataset.class_names, there, strict=True)
            inside = ", ".join(f"{name} {count:,}" for name, count in pairs)
            said.append(f"{split} {len(part):,} ({inside})")
        else:
            names = (dataset.class_names[label] for label in sorted(part.labels.tolist()))
            said.append(f"{split} {counts(names)}")
    return "; ".join(filter(None, [*said, account.left_out()]))
