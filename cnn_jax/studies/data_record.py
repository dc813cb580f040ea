"""What a run remembers of its data: enough to be used without it, and to know it again.

`data.json` says what a network was made for: class names, shape and normalization of images, what
the training images have in common, by which rule pictures became images, and what was said of them.
`examples.npz` has a hash and the label of every example of every split, so that the splits can be
put together again wherever the pictures lie, and what is different there can be named.
"""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, PyTree, UInt64

from cnn_jax import data, display, storage
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.analysis.pictures import Style, learn_style
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, build_abstract
from cnn_jax.ops import LOSS_OUTPUT
from cnn_jax.studies.run_directory import RunDirectory
from cnn_jax.training import Task
from cnn_jax.training.task import normalize

DATA_FILE = "data.json"
EXAMPLES_FILE = "examples.npz"
# Training examples that were neither trained on nor held out.
_UNUSED = "unused"
SPLITS = ("train", "validation", "test", _UNUSED)
# More classes than this are not named one by one in a message.
_NAMED = 4
# How a split of a data set is called in a message.
_CALLED = {"train": "training", "validation": "validation", "test": "test"}


# All of a data set, read by the rule of a training set.
Pool = Callable[[data.PixelRule], data.Dataset]


class Known(NamedTuple):
    """Examples as they are known again.

    Attributes:
        hashes: of the bytes of each image.
        labels: classes, or multi-hot rows.
    """

    hashes: UInt64[np.ndarray, " n"]
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class DataRecord:
    """What a run remembers of its data.

    Attributes:
        name: of the data set.
        class_names: one for each output.
        task: the shape of the problem, and how images are normalized.
        style: what the training images have in common.
        rule: how pictures of any kind become images like these.
        notes: what a reader should know of how they were read.
        own_validation: whether the data came with a validation split, which is none of `train`.
        splits: the examples of each of `SPLITS`; empty for a run of an older version.
    """

    name: str
    class_names: tuple[str, ...]
    task: Task
    style: Style
    rule: data.PixelRule
    notes: tuple[str, ...]
    own_validation: bool
    splits: Mapping[str, Known]

    @property
    def fingerprint(self) -> str:
        """Of the examples of all splits, their labels and the names of these."""
        found = hashlib.sha256("\n".join(self.class_names).encode())
        for name in SPLITS:
            if name in self.splits:
                found.update(self.splits[name].hashes.tobytes())
                found.update(np.ascontiguousarray(self.splits[name].labels).tobytes())
        return found.hexdigest()

    def output(self, loss: str) -> str:
        """The name of the output activation that a loss goes with."""
        return "sigmoid" if self.task.multi_label else LOSS_OUTPUT[loss]

    def network(self, architecture: Architecture, weights: PyTree) -> TrainedNetwork:
        """What pictures of a network trained on these data are drawn from."""
        task = self.task
        model = build_abstract(architecture, task.image_shape, task.num_classes)
        return trained_network(model, weights, partial(normalize, task), self.style)


def describe(
    pool: data.Dataset, dataset: data.Dataset, validation: data.Split, task: Task
) -> DataRecord:
    """The record of a data set as a run uses it.

    Args:
        pool: all of it.
        dataset: what is trained and tested on.
        validation: the examples held out.
        task: of the run.
    """
    parts = {"train": dataset.train, "validation": validation, "test": dataset.test}
    splits = {
        name: Known(data.hash_images(split.images), split.labels) for name, split in parts.items()
    }
    own = pool.validation is not None
    drawn = [splits["train"].hashes] + ([] if own else [splits["validation"].hashes])
    used = Counter(np.concatenate(drawn).tolist())
    if len(pool.train) > sum(used.values()):
        every, rest = data.hash_images(pool.train.images), []
        for index, value in enumerate(every.tolist()):
            if used[value]:
                used[value] -= 1
            else:
                rest.append(index)
        splits[_UNUSED] = Known(every[rest], pool.train.labels[rest])
    style = learn_style(dataset.train.images)
    return DataRecord(
        dataset.name, dataset.class_names, task, style, dataset.rule, dataset.notes, own, splits
    )


def to_files(record: DataRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record as what JSON holds, and as arrays."""
    content = {
        "name": record.name,
        "class_names": list(record.class_names),
        "task": record.task._asdict(),
        "style": record.style.to_json(),
        "rule": record.rule._asdict(),
        "notes": list(record.notes),
        "own_validation": record.own_validation,
        "examples": {name: len(known.hashes) for name, known in record.splits.items()},
        "fingerprint": record.fingerprint,
    }
    arrays = {
        f"{name}_{field}": value
        for name, known in record.splits.items()
        for field, value in known._asdict().items()
    }
    return content, arrays


def read_record(path: Path) -> DataRecord | None:
    """What a run remembers of its data, or None where an older version did not write it.

    Raises:
        UsageError: if it cannot be read.
    """
    file = path / DATA_FILE
    if not storage.is_recorded(file):
        return None
    try:
        content = json.loads(storage.read(file))
        held = io.BytesIO(storage.read(path / EXAMPLES_FILE))
        with np.load(held, allow_pickle=False) as arrays:
            splits = {
                name: Known(arrays[f"{name}_hashes"], arrays[f"{name}_labels"])
                for name in SPLITS
                if f"{name}_hashes" in arrays
            }
        task = content["task"]
        lists = {name: tuple(value) for name, value in task.items() if isinstance(value, list)}
        record = DataRecord(
            content["name"],
            tuple(content["class_names"]),
            Task(**task | lists),
            Style.from_json(content["style"]),
            data.PixelRule(**content["rule"]),
            tuple(content["notes"]),
            bool(content["own_validation"]),
            splits,
        )
    except UsageError:
        raise
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{file} is damaged: {error}; put it back as the run wrote it") from error
    if record.fingerprint != content["fingerprint"]:
        raise UsageError(f"{path / EXAMPLES_FILE} is not what the run wrote; put it back")
    return record


class Found(NamedTuple):
    """The data of a run, as it is now.

    Attributes:
        splits: those of whose examples every one was found, as they were; labels too.
        differences: what is different now, in words.
    """

    splits: dict[str, data.Split]
    differences: list[str]


def find(record: DataRecord, pool: data.Dataset) -> Found:
    """The splits of a run put together again from a data set that may have changed since.

    Args:
        record: what the run remembers.
        pool: all that is there now.
    """
    if pool.image_shape != record.task.image_shape:
        sizes = ["x".join(map(str, shape)) for shape in (record.task.image_shape, pool.image_shape)]
        return Found({}, [f"images were {sizes[0]} and are {sizes[1]}"])
    now = _Now.of(pool)
    splits, where = {}, {}
    for name, known in record.splits.items():
        places = where[name] = now.take(known.hashes, first=_home(record, name))
        if (places >= 0).all():
            splits[name] = data.Split(now.images(places), known.labels)
    return Found(splits, _differences(record, now, where))


def _home(record: DataRecord, name: str) -> str:
    """The split of the data set that the examples of a split of the run came from."""
    return name if name == "test" or (name == "validation" and record.own_validation) else "train"


class _Now(NamedTuple):
    """All examples that are there, split by split.

    Attributes:
        class_names: what they are called now.
        splits: by name, in the order in which places are counted.
        ends: the first place after each of them.
        free: places that were not given yet, by the hash of their image.
    """

    class_names: tuple[str, ...]
    splits: dict[str, data.Split]
    ends: Int[np.ndarray, " splits"]
    free: dict[int, list[int]]

    @classmethod
    def of(cls, pool: data.Dataset) -> "_Now":
        splits = pool.splits
        free: dict[int, list[int]] = {}
        hashes = np.concatenate([data.hash_images(split.images) for split in splits.values()])
        for index, value in enumerate(hashes.tolist()):
            free.setdefault(value, []).append(index)
        ends = np.cumsum([len(split) for split in splits.values()])
        return cls(pool.class_names, splits, ends, free)

    def split_of(self, place: int) -> str:
        """The name of the split that a place is in."""
        return list(self.splits)[int(np.searchsorted(self.ends, place, side="right"))]

    def take(self, hashes: np.ndarray, first: str) -> Int[np.ndarray, " n"]:
        """The place of each of these, each place given once; -1 where it is not there."""
        found = []
        for value in hashes.tolist():
            places = self.free.get(value, [])
            own = [place for place in places if self.split_of(place) == first] or places
            found.append(own[0] if own else -1)
            if own:
                places.remove(own[0])
        return np.array(found, int)

    def images(self, places: np.ndarray) -> np.ndarray:
        """Of these places."""
        first = next(iter(self.splits.values()))
        out = np.empty((len(places), *first.images.shape[1:]), np.uint8)
        for split, end in zip(self.splits.values(), self.ends, strict=True):
            start = end - len(split)
            inside = (places >= start) & (places < end)
            out[inside] = split.images[places[inside] - start]
        return out

    def label(self, place: int) -> str:
        """What an example is called now."""
        number = int(np.searchsorted(self.ends, place, side="right"))
        split = list(self.splits.values())[number]
        return _called(split.labels[place - self.ends[number]], self.class_names)


def _called(label: np.ndarray, names: tuple[str, ...]) -> str:
    if np.ndim(label) == 0:
        return names[int(label)]
    return "+".join(name for name, there in zip(names, label, strict=True) if there) or "no label"


def _differences(record: DataRecord, now: _Now, where: dict[str, np.ndarray]) -> list[str]:
    """What is different now, in words that name classes."""
    missing: Counter[str] = Counter()
    changed: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for name, known in record.splits.items():
        for label, place in zip(known.labels, where[name].tolist(), strict=True):
            before = _called(label, record.class_names)
            total[before] += 1
            if place < 0:
                missing[before] += 1
                continue
            if (there := now.split_of(place)) != _home(record, name):
                moved[there] += 1
            after = now.label(place)
            if after != before:
                changed[before, after] += 1
    added = Counter(now.label(place) for places in now.free.values() for place in places)
    found = []
    for (before, after), count in changed.items():
        if count + missing[before] == total[before]:
            found.append(f"{before} is called {after}")
        else:
            found.append(f"{_images(count)} of {before} {_are(count)} now {after}")
    for there, count in moved.items():
        found.append(f"{_images(count)} {_are(count)} in the {_CALLED[there]} split now")
    if missing:
        count = sum(missing.values())
        found.append(f"{_images(count)} {_are(count)} missing ({_by_class(missing)})")
    if added:
        count = sum(added.values())
        found.append(
            f"{_images(count)} {'was' if count == 1 else 'were'} added ({_by_class(added)})"
        )
    if not found and record.class_names != now.class_names:
        found.append("classes have another order or other names")
    return found


def _images(count: int) -> str:
    return display.count(count, "image")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _by_class(counts: Counter[str]) -> str:
    first = counts.most_common(_NAMED)
    text = ", ".join(f"{count:,} of {name}" for name, count in first)
    return text + (f", and of {len(counts) - _NAMED} others" if len(counts) > _NAMED else "")


def write_records(directory: RunDirectory, records: Sequence[DataRecord]) -> None:
    """Writes what a study remembers of its data sets: of the only one in its own folder."""
    for folder, record in zip(record_folders(directory.path, len(records)), records, strict=True):
        content, arrays = to_files(record)
        RunDirectory(folder).write_arrays(EXAMPLES_FILE, arrays, compressed=True)
        RunDirectory(folder).write_json(DATA_FILE, content)


def check_records(path: Path, records: Sequence[DataRecord], pools: Sequence[Pool]) -> bool:
    """Refuses to go on with other data than a study was started with.

    Args:
        path: of the study.
        records: of its data sets, as they are now.
        pools: read each of them whole by the rule of then, to say what differs.

    Returns:
        Whether the data are known to be the same; not where an older version remembered nothing.

    Raises:
        UsageError: naming what differs.
    """
    for folder, record, pool in zip(
        record_folders(path, len(records)), records, pools, strict=True
    ):
        before = read_record(folder)
        if before is None:
            return False
        if before.fingerprint != record.fingerprint:
            differences = find(before, pool(before.rule)).differences or [
                "it is divided in another way"
            ]
            raise UsageError(
                f"the data of {path} are not what they were: {'; '.join(differences)}; put them "
                "back, or start anew"
            )
    return True


def record_folders(path: Path, count: int) -> list[Path]:
    """Where a study in a folder remembers its data sets, so many."""
    return [path] if count == 1 else [path / "data" / f"{index:02d}" for index in range(count)]
