"""What lies in a folder of runs and sweeps, and what is known of several runs at once."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from cnn_jax import storage
from cnn_jax.analysis import index
from cnn_jax.analysis.compare import ComparedRun, Pair, compare_answers
from cnn_jax.errors import UsageError
from cnn_jax.studies.data_record import read_record
from cnn_jax.studies.lone_run import ANSWERS_FILE
from cnn_jax.studies.run_directory import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    FLAGS_FILE,
    RESULT_FILE,
    history_of,
    plain,
)
from cnn_jax.studies.sweep_directory import KEPT_TRIALS, SUMMARY_FILE, check_no_sweep, read_rows
from cnn_jax.training import checkpoints

# Choices that say where things are, and not what they are.
_PLACES = frozenset({"data_dir", "extensions"})


class Entry(NamedTuple):
    """A run or a sweep in a folder.

    Attributes:
        path: of it.
        config: what must stay the same of it.
        result: what has come of a run; empty where it has not ended, and of a sweep.
        started: when.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    started: str

    @property
    def sweep(self) -> bool:
        """Whether it is a sweep."""
        return "rows" in self.config

    @property
    def rows(self) -> int:
        """Those of a sweep's table; 0 of a run."""
        return len(self.config.get("rows", ()))

    def accuracy(self) -> float | None:
        """On the test split, in [0, 1]; of a sweep its best row's mean.

        None where it is not known yet, and of a sweep over several data sets.

        Raises:
            UsageError: the table of the sweep is damaged.
        """
        if not self.sweep:
            return self.result.get("test_accuracy")
        table = self.path / SUMMARY_FILE
        if len({each["dataset"] for each in self.cells()}) > 1 or not storage.is_recorded(table):
            return None
        rows = csv.DictReader(io.StringIO(storage.read(table).decode()))
        means = [float(row["mean_test_accuracy"]) for row in rows if row["mean_test_accuracy"]]
        return max(means, default=None)

    def cells(self) -> list[dict[str, Any]]:
        """The choices of each cell of a sweep; of a run its own."""
        if not self.sweep:
            return [self.config]
        cells = [value for key, value in self.config.items() if key.startswith("cell ")]
        return [dict(cell["choices"]) for cell in cells]

    def named(self, choice: str) -> str:
        """The names of all that it has of a choice, such as its data sets."""
        names = (Path(str(each[choice])).name for each in self.cells())
        return " / ".join(dict.fromkeys(names))

    def choices(self) -> dict[str, str]:
        """Those of a run, as text."""
        given = {
            name: plain(value)
            for name, value in self.config.items()
            if name not in _PLACES and not isinstance(value, dict)
        }
        # Its numbers are choices of their own.
        names = [name for name, _ in self.config.get("augment", ())]
        # A name may mean another function: files are told apart by what is in them.
        files = self.config.get("extensions", {}).items()
        held = {"extensions": ", ".join(f"{name} {sha256[:8]}" for name, sha256 in files)}
        return given | {"augment": ",".join(names) or "none"} | (held if files else {})


def find_entries(folder: Path) -> list[Entry]:
    """The runs and sweeps below a folder, those that were started last first.

    Trials that a sweep has kept are part of it.
    """
    # What others call so is none of ours.
    paths = [p.parent for p in folder.rglob(CONFIG_FILE) if (p.parent / FLAGS_FILE).is_file()]
    sweeps = {path for path in paths if read_rows(path)}
    kept = {path for path in paths if path.parent.name == KEPT_TRIALS and path.parents[1] in sweeps}
    found = [read_entry(path) for path in paths if path not in kept]
    return sorted(found, key=lambda entry: (entry.started, str(entry.path)), reverse=True)


def read_entry(path: Path) -> Entry:
    """The run or sweep in a folder.

    Raises:
        UsageError: if there is none, or its files are damaged.
    """
    if not (path / CONFIG_FILE).is_file():
        raise UsageError(f"{path} is not the folder of a run: it has no {CONFIG_FILE}")
    parts = [_json(path / name) for name in (CONFIG_FILE, RESULT_FILE, ENVIRONMENT_FILE)]
    return Entry(path, parts[0], parts[1], str(parts[2].get("started", "")))


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(storage.read(file))) if storage.is_recorded(file) else {}
    except UsageError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def list_pages(entry: Entry, folder: Path) -> index.Listed:
    """A run or a sweep with the pages in its folder, for an index in `folder`."""
    pages = sorted(
        path.relative_to(folder).as_posix()
        for path in entry.path.glob("*.html")
        if path.name != index.INDEX_FILE
    )
    return index.Listed(
        entry.path.resolve().name,
        entry.named("dataset"),
        entry.named("model"),
        entry.accuracy(),
        entry.rows,
        entry.started,
        [(Path(page).stem.replace("-", " "), quote(page)) for page in pages],
    )


def write_index(path: Path, commands: Sequence[tuple[str, str]] = ()) -> None:
    """Writes the index of the pages of a run or a sweep, beside them.

    Args:
        path: of its folder.
        commands: as in `index.render_index`.
    """
    entry = read_entry(path)
    page = index.render_index(entry.path.resolve().name, [list_pages(entry, path)], commands)
    # Without a checksum: programs that only read a run write it too, beside one that trains.
    storage.write(path / index.INDEX_FILE, page)


def write_index_of_runs(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes the index of the runs and sweeps of a folder into it."""
    listed = [list_pages(entry, folder) for entry in entries]
    page = index.render_index(f"Runs in {folder.resolve().name}", listed)
    storage.write(folder / index.INDEX_FILE, page)


def differing(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Of each run its choices that are not the same in all; – where one has none of that name."""
    chosen = [entry.choices() for entry in entries]
    names = list(dict.fromkeys(name for each in chosen for name in each))
    varied = [name for name in names if len({each.get(name) for each in chosen}) > 1]
    return [{name: each.get(name, "–") for name in varied} for each in chosen]


def compare_runs(paths: Sequence[Path]) -> tuple[list[ComparedRun], list[Pair]]:
    """What a page says of runs side by side.

    Args:
        paths: of their folders, at least two.

    Raises:
        UsageError: if one is none.
    """
    entries = [read_entry(path) for path in paths]
    for path in paths:
        check_no_sweep(path)
    names = _names(paths)
    runs = []
    for entry, name, differs in zip(entries, names, differing(entries), strict=True):
        interval = entry.result.get("test_accuracy_interval_95")
        runs.append(
            ComparedRun(
                name,
                entry.result.get("test_accuracy"),
                None if interval is None else tuple(interval),
                differs,
                [*_history(entry.path)],
            )
        )
    answers = [_answers(path) for path in paths]
    pairs = [
        Pair(names[one], names[two], _paired(answers[one], answers[two]))
        for one, two in combinations(range(len(paths)), 2)
    ]
    return runs, pairs


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of those above them as tell them apart."""
    for length in range(1, 9):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


def _history(path: Path) -> tuple[dict[str, float], ...]:
    """Of the last checkpoint; one that was saved from Python has its best epoch only."""
    folders = (path / CHECKPOINTS, path / BEST)
    held = next(filter(None, map(checkpoints.read_latest, folders)), None)
    return () if held is None else history_of(held)


def _answers(path: Path) -> dict[int, bool]:
    """Whether a run has each test image right, by the hash of the image."""
    record, file = read_record(path), path / ANSWERS_FILE
    if record is None or not storage.is_recorded(file):
        return {}
    with np.load(io.BytesIO(storage.read(file)), allow_pickle=False) as arrays:
        right = arrays["right"].tolist()
    return dict(zip(record.splits["test"].hashes.tolist(), right, strict=True))


def _paired(first: dict[int, bool], second: dict[int, bool]) -> Any:
    common = [value for value in first if value in second]
    if not common:
        return None
    return compare_answers(
        np.array([first[value] for value in common]), np.array([second[value] for value in common])
    )
