"""The folder of a sweep: its rows, cells that are finished or in flight, trials that are kept."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.studies.run_directory import CONFIG_FILE, FLAGS_FILE, RunDirectory
from cnn_jax.training import Trainer, checkpoints
from cnn_jax.training.grid import UNREAD, Trial
from cnn_jax.training.loop import Standing
from cnn_jax.training.processes import from_first, is_first
from cnn_jax.training.sweep import SweepState

CELLS = "cells"
# The folder of a sweep in which trials are kept as runs of their own.
KEPT_TRIALS = "kept"
# A line for each row of the table.
SUMMARY_FILE = "summary.csv"
Made = TypeVar("Made")


class CellResult(NamedTuple):
    """What has come of a cell.

    Attributes:
        trials: to their end.
        parameters: of its network.
        programs: that were compiled for its epochs.
        compile_seconds: spent on compilation.
        places: trials that shared its program.
    """

    trials: tuple[Trial, ...]
    parameters: int
    programs: int
    compile_seconds: float
    places: int = 1


class CellDirectory:
    """One cell's files: `cells/000.json` when finished, `cells/000/` while in flight.

    Those of a later round are `cells/000_round_1.json` and so on.

    Of several processes only the first one writes them, checkpoints apart.
    """

    def __init__(self, sweep: Path, index: int, number: int = 0):
        self._cells = RunDirectory(sweep / CELLS)
        self._name = f"{index:03d}_round_{number}" if number else f"{index:03d}"
        self._flight = RunDirectory(sweep / CELLS / self._name)

    def result(self) -> CellResult | None:
        """What was written when the cell was finished, or None.

        Raises:
            UsageError: if the file is damaged, or of another version.
        """
        file = self._cells.path / f"{self._name}.json"
        if not file.is_file():
            return None
        return _read(file, lambda held: CellResult(**held | {"trials": _trials(held)}))

    @property
    def lost(self) -> bool:
        """Whether it was finished, and its result is not there any more."""
        file = self._cells.path / f"{self._name}.json"
        return storage.is_recorded(file) and not file.is_file()

    def finish(self, result: CellResult) -> None:
        """Writes the result, then removes what was in flight."""
        if is_first():
            trials = [trial.to_json() for trial in result.trials]
            self._cells.write_json(f"{self._name}.json", result._asdict() | {"trials": trials})
            shutil.rmtree(self._flight.path, ignore_errors=True)

    def group_size(self) -> int | None:
        """The trials per program that the cell in flight was started with, or None.

        Raises:
            UsageError: if the file is damaged, missing, or of another version.
        """
        file = self._flight.path / "cell.json"
        held = is_first() and storage.is_recorded(file)
        size = _read(file, lambda held: int(held["trials_per_program"])) if held else 0
        return from_first(size) or None

    def begin(self, group_size: int) -> None:
        """Writes down how many trials a program has."""
        self._flight.write_json("cell.json", {"trials_per_program": group_size})

    def save(self, number: int, state: SweepState, standing: Standing) -> None:
        """Writes down a group of trials after an epoch.

        Raises:
            WriteError: if it cannot be; what was written before is kept then.
        """
        checkpoints.save(self._group(number), state, standing.epoch, asdict(standing))

    def restore(self, number: int, trainer: Trainer) -> tuple[SweepState, Standing] | None:
        """What `save` wrote last for a group of trials, or None where there is nothing.

        Raises:
            UsageError: if it is damaged, or of another version.
        """
        held = checkpoints.read_latest(self._group(number))
        if held is None:
            return None
        standing = _made(
            held.path,
            lambda said: Standing(said["epoch"], tuple(said["places"]), _trials(said)),
            held.said,
        )
        return trainer.adopt(held.restore(trainer.like(standing)), standing)

    def _group(self, number: int) -> Path:
        return self._flight.path / f"group_{number}"


def _read(file: Path, make: Callable[[dict[str, Any]], Made]) -> Made:
    """What `make` makes of the record in a file."""
    try:
        return _made(file, make, dict(json.loads(storage.read(file))))
    except UsageError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(_damaged(file, error)) from error


def _made(file: Path, make: Callable[[dict[str, Any]], Made], record: dict[str, Any]) -> Made:
    try:
        return make(record)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    return f"{file} is damaged or of another version ({error}); put it back from a copy"


def _trials(record: Mapping[str, Any]) -> tuple[Trial, ...]:
    return tuple(map(Trial.from_json, record["trials"]))


def kept_runs(sweep: Path) -> dict[int, list[Path]]:
    """The folders of the trials that a sweep has kept, by row."""
    found: dict[int, list[Path]] = {}
    for path in sorted((sweep / KEPT_TRIALS).glob("*/")):
        row = path.name.partition("-")[0]
        if row.isdecimal() and (path / FLAGS_FILE).is_file():
            found.setdefault(int(row), []).append(path)
    return found


def check_no_sweep(path: Path) -> None:
    """Refuses the folder of a sweep where one run is asked for.

    Raises:
        UsageError: with its rows, and where a trained network of each lies.
    """
    rows = read_rows(path)
    if rows is None:
        return
    kept = kept_runs(path)
    listed = [
        f"{row_name(row)}: {', '.join(map(str, kept[index])) if index in kept else 'none kept'}"
        for index, row in enumerate(rows)
    ]
    how = "give one of its networks" if kept else "no network of it was kept (--keep)"
    raise UsageError(f"{path} is a sweep of {len(rows)} rows; {how}: {'; '.join(listed)}")


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """The rows of the sweep in a folder; None if there is none."""
    try:
        return json.loads((path / CONFIG_FILE).read_text())["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def row_name(values: Mapping[str, str]) -> str:
    """The values of a row that it reads, in one line."""
    return " ".join(f"{name}={value}" for name, value in values.items() if value != UNREAD)
