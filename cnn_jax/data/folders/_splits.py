"""Which folder holds which split: train, val or test, in any letter case, one level down too."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.folders._scan import File, Folder, Scan
from cnn_jax.errors import UsageError

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "tst": "test",
}  # fmt: skip
# What stands beside those words in names of folders: training_set, seg_train, test1.
_BESIDE = frozenset({"", "set", "data", "images", "imgs", "split", "seg", "dataset"})
# And in names of tables: train_labels.csv.
_BESIDE_IN_TABLES = _BESIDE | {"labels", "label", "annotations", "classes", "metadata"}
# A folder that holds all the rest is entered, but not endlessly.
_DEEPEST = 3

Reads = Callable[[File], bool]


class Base(NamedTuple):
    """Where a data set lies.

    Attributes:
        folder: with the splits, or with all there is.
        splits: the folder of each, by its name; none where nothing is split.
    """

    folder: Folder
    splits: dict[str, Folder]


def split_of(name: str, beside: Set[str] = _BESIDE) -> str | None:
    """The split that a folder's name means, if any.

    Args:
        name: of the folder.
        beside: words that may stand beside the one for a split.
    """
    words = _words(name)
    found = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    if not found:
        compact = "".join(words)
        found = [
            SPLIT_WORDS[word] for word in SPLIT_WORDS if compact in (f"{word}set", f"{word}data")
        ]
        return found[0] if found else None
    others = set(words) - SPLIT_WORDS.keys()
    return found[0] if len(found) == 1 and others <= beside else None


def _words(name: str) -> list[str]:
    """The words of a name, as in train_labels and trainLabels."""
    return re.split(r"[^a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).casefold())


def splits_of_tables(names: Iterable[str]) -> dict[str, str | None]:
    """The split that the name of each table means, if any.

    A name may hold other words where it is that of a table of another split but for the word of
    the split: pets_train.csv, pets_test.csv.

    Args:
        names: of tables that lie beside each other.
    """
    stems = {name: name.rpartition(".")[0] for name in names}
    meant = {name: split_of(stem, _BESIDE_IN_TABLES) for name, stem in stems.items()}
    alike: dict[tuple[str, ...], dict[str, str | None]] = defaultdict(dict)
    for name, stem in stems.items():
        words = _words(stem)
        found = [word for word in words if word in SPLIT_WORDS]
        if len(found) == 1:
            rest = tuple("" if word in SPLIT_WORDS else word for word in words)
            alike[rest][name] = SPLIT_WORDS[found[0]]
    for group in alike.values():
        if len(set(group.values())) > 1:
            meant |= group
    return meant


def locate(scan: Scan, is_picture: Reads, is_table: Reads, test_only: bool = False) -> Base:
    """Finds where a data set lies in a folder.

    Args:
        scan: of the folder.
        is_picture: whether a file is one.
        is_table: whether a file is a table of labels.
        test_only: whether a folder without a training split will do.

    Raises:
        UsageError: nothing is found, or several that could be meant.
    """
    base = _look_down(scan.root, scan.top, is_picture, is_table, 0)
    if base is None and test_only:
        splits = _splits_in(scan.root, scan.top, is_picture, is_table)
        base = Base(scan.top, splits) if splits else None
    if base is None:
        raise UsageError(_nothing(scan, is_picture))
    return base


def _look_down(
    root: Path, folder: Folder, is_picture: Reads, is_table: Reads, depth: int
) -> Base | None:
    splits = _splits_in(root, folder, is_picture, is_table)
    if "train" in splits:
        return Base(folder, splits)
    if any(map(is_table, folder.files)) and not splits:
        return Base(folder, {})
    below = [
        found
        for each in folder.folders
        if "train" in (found := _splits_in(root, each, is_picture, is_table))
    ]
    if len(below) > 1:
        parents = [root / found["train"].path for found in below]
        names = " or ".join(str(path.parent) for path in parents)
        raise UsageError(f"{root} holds several data sets; give {names}")
    if below:
        (splits,) = below
        parent = splits["train"].path.rpartition("/")[0]
        return Base(next(each for each in folder.folders if each.path == parent), splits)
    if splits:
        return None
    filled = [each for each in folder.folders if any(map(is_picture, each.walk()))]
    if len(filled) == 1 and not any(map(is_picture, folder.files)):
        if not any(map(is_picture, filled[0].files)) and depth < _DEEPEST:
            return _look_down(root, filled[0], is_picture, is_table, depth + 1)
        if any(map(is_table, filled[0].files)):
            return Base(filled[0], {})
    if filled or any(map(is_picture, folder.files)):
        return Base(folder, {})
    return None


def _splits_in(root: Path, folder: Folder, is_picture: Reads, is_table: Reads) -> dict[str, Folder]:
    """The folders of splits in a folder.

    Where folders with other names hold pictures too, and none of those that are named like splits
    has folders or a table of its own, all of them are classes: there are pictures of trains.
    """
    named = [(split, each) for each in folder.folders if (split := split_of(each.name))]
    others = [each for each in folder.folders if split_of(each.name) is None]
    divided = any(each.folders or any(map(is_table, each.files)) for _, each in named)
    if not divided and any(any(map(is_picture, each.files)) for each in others):
        return {}
    splits: dict[str, Folder] = {}
    for split, each in named:
        if split in splits and any(True for _ in each.walk()):
            first = root / splits[split].path
            raise UsageError(
                f"{first} and {root / each.path} can both be the {split} split; rename one of them"
            )
        splits.setdefault(split, _inner(each, is_picture))
    return splits


def _inner(folder: Folder, is_picture: Reads) -> Folder:
    """A folder, or the only one in it, where that holds the classes: train/train/cat."""
    if len(folder.folders) != 1 or any(map(is_picture, folder.files)):
        return folder
    (only,) = folder.folders
    several = len(list(filled(only, is_picture))) > 1
    return only if several or split_of(only.name) == split_of(folder.name) else folder


def filled(folder: Folder, is_picture: Reads) -> Iterator[Folder]:
    """The folders in a folder that hold pictures, however deep."""
    return (each for each in folder.folders if any(map(is_picture, each.walk())))


def _nothing(scan: Scan, is_picture: Reads) -> str:
    text = (
        f"{scan.root} holds neither IDX files nor a folder train, expected pictures in "
        f"{scan.root / 'train' / '<class>'} or {scan.root / '<class>'}"
    )
    count = sum(1 for _ in scan.top.walk()) + len(scan.left)
    return f"{text} (of {count:,} files there); dataset=help shows all layouts" if count else text
