"""From a scanned folder to the pictures of each split, their labels, and why others are not."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from cnn_jax.data.dataset import held_out_for_test
from cnn_jax.data.folders._natural import natural
from cnn_jax.data.folders._parts import Part, read_parts
from cnn_jax.data.folders._patterns import guess_pattern
from cnn_jax.data.folders._reader import Reader
from cnn_jax.data.folders._scan import PROBLEMS, TEXT_LINK, File, Folder, is_text_link
from cnn_jax.data.folders._splits import split_of
from cnn_jax.data.folders._tables import looks_like_table
from cnn_jax.errors import FIELD, FieldError, UsageError

Labels = Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]


class Plan(NamedTuple):
    """What is to be read.

    Attributes:
        files: of each split that has some, by its name.
        labels: of each of them, as in `Split`.
        class_names: of the classes or labels.
        used: what every file is used as.
        left: why others are not, where that is known by now.
        bad: why some that would be used cannot be.
        notes: what a reader should know.
    """

    files: dict[str, list[File]]
    labels: dict[str, Labels]
    class_names: tuple[str, ...]
    used: dict[str, str]
    left: dict[str, str]
    bad: dict[str, str]
    notes: tuple[str, ...]


def lay_out(reader: Reader) -> Plan:
    """Decides what is read as what.

    Args:
        reader: of a scanned folder.

    Raises:
        UsageError: nothing can be trained on, or it can be read in several ways.
    """
    everything = read_parts(reader)
    parts = {split: part for split, part in everything.items() if part.files}
    notes = [note for part in everything.values() for note in part.notes]
    if reader.base.folder.path:
        notes.insert(0, f"read from {reader.base.folder.path}")
    known = "train" if "train" in everything else "test"
    if known == "test" and not (reader.options.test_only and "test" in everything):
        raise UsageError(f"{reader.root} has nothing to train on, but {', '.join(everything)}")
    if (table := everything[known].table) and not everything[known].files:
        raise UsageError(
            f"no picture that {reader.root / table.file.path} names is there"
            + (f", such as {table.missing[0]}" if table.missing else "")
        )
    names = _class_names(reader, known, everything[known])
    several = table is not None and table.several
    labels = {split: _numbers(reader, split, part, names, several) for split, part in parts.items()}
    files = {split: part.files for split, part in parts.items()}
    if labels[known].ndim == 2:
        names, labels, dropped = _without_absent(names, labels, known)
        notes += dropped
    else:
        notes += _other_case(names, parts)
    if "test" not in files:
        files, labels, note = _hold_out_test(reader, files, labels)
        notes.append(note)
    if labels[known].ndim == 1:
        notes += _absent_classes(names, labels)
    used = {part.table.file.path: "labels" for part in parts.values() if part.table}
    used |= {part.listed.path: "list of pictures" for part in parts.values() if part.listed}
    for split, chosen in files.items():
        for file, label in zip(chosen, labels[split], strict=True):
            used[file.path] = split if labels[split].ndim == 2 else f"{split} {names[label]}"
    left = {
        path: why for part in everything.values() for path, why in part.left.items()
        if path not in used
    }  # fmt: skip
    return Plan(files, labels, names, used, left, _known_bad(reader), tuple(notes))


def _known_bad(reader: Reader) -> dict[str, str]:
    """What could not be looked at in the folders that are read, and what may be a split."""
    base = reader.base
    folders = [folder.path for folder in (base.splits or {"": base.folder}).values()]

    def is_read(path: str) -> bool:
        above, _, name = path.rpartition("/")
        inside = any(not folder or path.startswith(f"{folder}/") for folder in folders)
        return inside or (above == base.folder.path and split_of(name) is not None)

    bad = {path: why for path, why in reader.scan.left.items() if why in PROBLEMS and is_read(path)}
    for file in base.folder.walk():
        if (
            is_read(file.path)
            and not reader.look.is_picture(file)
            and is_text_link(reader.root / file.path, file.size)
        ):
            bad[file.path] = TEXT_LINK
    return bad


def _class_names(reader: Reader, split: str, train: Part) -> tuple[str, ...]:
    folder = reader.base.splits.get(split, reader.base.folder)
    where = reader.root / folder.path
    if train.table and train.table.several:
        return train.table.names
    names = tuple(sorted(set(train.labels), key=natural))
    if len(names) >= 2 or (names and split == "test"):
        return names
    if train.table or reader.options.class_pattern is not None:
        raise UsageError(
            f"{where} has pictures of {len(names)} class by "
            f"{train.table.file.name if train.table else reader.options.class_pattern}, expected "
            "two or more"
        )
    flat = [file.name for file in folder.files if reader.look.is_picture(file)]
    if flat and not names:
        pattern = guess_pattern(flat)
        hint = f", such as {FIELD.class_pattern}={pattern}" if pattern else ""
        raise FieldError(
            f"{where} has 0 class folders and no table of labels, but {len(flat):,} pictures "
            "beside each other, expected one folder for each of two or more classes, a "
            f"labels.csv, or {FIELD.class_pattern}{hint} if the class stands in their names"
        )
    raise UsageError(
        f"{where} has {len(names)} class folders, expected one for each of two or more classes"
        f"{_found(reader, folder, names)}"
    )


def _found(reader: Reader, folder: Folder, names: tuple[str, ...]) -> str:
    """What stands where class folders should."""
    for file in reader.base.folder.files:
        if looks_like_table(file) and not reader.look.is_table(file):
            return (
                f"; {file.name} is no table of labels: its first line must name a column of "
                "pictures (file, path, id or the like) and one of labels"
            )
    if names:
        return f"; to tell {names[0]} from all else, add a folder of pictures of all else"
    links = [file.name for file in folder.files if is_text_link(reader.root / file.path, file.size)]
    if links:
        return (
            f"; {', '.join(links)} are links kept as text, as git and archives leave them: copy "
            "the folders that they name"
        )
    others = ", ".join(file.name for file in folder.files[:3])
    return f"; there is {others}" if others else ""


def _numbers(
    reader: Reader, split: str, part: Part, names: tuple[str, ...], several: bool
) -> Labels:
    """The labels of a split as numbers, by the names that training has.

    Raises:
        UsageError: it has other classes or labels.
    """
    where = reader.root / reader.base.splits.get(split, reader.base.folder).path
    if (part.table is not None and part.table.several) != several:
        said = part.table.file.path if part.table else "its folders"
        kinds = ("several labels a picture", "one class a picture")
        raise UsageError(
            f"{split} has {kinds[several]} by {said}, but train has {kinds[not several]}; "
            "give both the same"
        )
    if part.table and part.table.several:
        own = part.table.names
        if strangers := [name for name in own if name not in names]:
            raise UsageError(
                f"{reader.root / part.table.file.path} has the labels {', '.join(strangers)}, "
                f"which train lacks, expected some of {', '.join(names)}"
            )
        found = np.zeros((len(part.labels), len(names)), np.uint8)
        found[:, [names.index(name) for name in own]] = part.labels
        return found
    numbers = match_classes(set(part.labels), names)
    if strangers := sorted(set(part.labels) - numbers.keys(), key=natural):
        train = reader.root / reader.base.splits.get("train", reader.base.folder).path
        said = str(where / strangers[0])
        if part.table:
            said = f"{strangers[0]} in {reader.root / part.table.file.path}"
        raise UsageError(
            f"{said} is a class that {train} lacks, expected {split} classes to be "
            f"among the training classes (unknown: {', '.join(strangers)})"
        )
    return np.array([numbers[name] for name in part.labels], np.int32)


def match_classes(wanted: Iterable[str], names: tuple[str, ...]) -> dict[str, int]:
    """The number of each class that is known, by name; in another letter case if that is unique.

    Args:
        wanted: names of classes.
        names: of the classes that are known, in their order.
    """
    folded = [name.casefold() for name in names]
    found = {}
    for name in wanted:
        if name in names:
            found[name] = names.index(name)
        elif folded.count(name.casefold()) == 1:
            found[name] = folded.index(name.casefold())
    return found


def _other_case(names: tuple[str, ...], parts: dict[str, Part]) -> list[str]:
    """Classes that a split writes in another letter case than train."""
    unlike = {
        f"{name} in {split}" for split, part in parts.items() for name in part.labels
        if name not in names
    }  # fmt: skip
    matched = ", ".join(sorted(unlike))
    return [f"classes matched in another letter case: {matched}"] if unlike else []


def _absent_classes(names: tuple[str, ...], labels: dict[str, Labels]) -> list[str]:
    """Classes that some split has no picture of."""
    notes = []
    for split in labels:
        there = set(labels[split].tolist())
        absent = [name for index, name in enumerate(names) if index not in there]
        if absent:
            notes.append(f"{split} has no picture of {', '.join(absent)}")
    return notes


def _without_absent(
    names: tuple[str, ...], labels: dict[str, Labels], known: str
) -> tuple[tuple[str, ...], dict[str, Labels], list[str]]:
    """Leaves out labels that no training picture has."""
    if known != "train":
        return names, labels, []
    there = np.asarray(labels[known].any(axis=0))
    if there.all() or not there.any():
        return names, labels, []
    absent = [name for name, found in zip(names, there, strict=True) if not found]
    kept = tuple(name for name, found in zip(names, there, strict=True) if found)
    note = f"no training picture has the label {', '.join(absent)}: left out"
    return kept, {split: each[:, there] for split, each in labels.items()}, [note]


def _hold_out_test(
    reader: Reader, files: dict[str, list[File]], labels: dict[str, Labels]
) -> tuple[dict[str, list[File]], dict[str, Labels], str]:
    """Makes a test split of a part of the training pictures."""
    train, known = files["train"], labels["train"]
    try:
        chosen, note = held_out_for_test(known, "pictures")
    except UsageError as error:
        raise UsageError(f"{_too_few(reader, train)}: {error}") from error
    if not chosen.any():
        raise UsageError(f"{_too_few(reader, train)}: there are {len(train)} in all")
    files = files | {
        "train": [file for file, out in zip(train, chosen, strict=True) if not out],
        "test": [file for file, out in zip(train, chosen, strict=True) if out],
    }
    labels = labels | {"train": known[~chosen], "test": known[chosen]}
    return files, labels, note


def _too_few(reader: Reader, train: list[File]) -> str:
    return (
        f"{reader.root} has no folder test and too few pictures to hold some out for one; give two "
        "or more pictures of each class (five or more in all), or a folder test"
    )
