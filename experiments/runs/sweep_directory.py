"""The folder of a sweep: finished cells, the cell in flight, and the final tables."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.errors import UsageError
from cnn_jax.training import Trainer, checkpoints
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import Standing
from cnn_jax.training.processes import from_first, is_first
from cnn_jax.training.sweep import SweepState

from .run_directory import RunDirectory

CELLS = "cells"
RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.csv"
MARKDOWN_FILE = "table.md"
LATEX_FILE = "table.tex"
FIGURE_FILE = "means.png"


class CellResult(NamedTuple):
    """What has come of a cell.

    Attributes:
        trials: to their end.
        parameters: of its network.
        programs: that were compiled for its epochs.
        compile_seconds: spent on compilation.
    """

    trials: tuple[Trial, ...]
    parameters: int
    programs: int
    compile_seconds: float


class CellDirectory:
    """One cell's files: `cells/000.json` when finished, `cells/000/` while in flight.

    Of several processes only the first one writes them, checkpoints apart.
    """

    def __init__(self, sweep: Path, index: int):
        self._cells = RunDirectory(sweep / CELLS)
        self._name = f"{index:03d}"
        self._flight = RunDirectory(sweep / CELLS / self._name)

    def result(self) -> CellResult | None:
        """What was written when the cell was finished, or None.

        Raises:
            UsageError: if the file is damaged, or of another version.
        """
        file = self._cells.path / f"{self._name}.json"
        if not file.is_file():
            return None
        record = _read(file)
        try:
            return CellResult(**record | {"trials": _trials(record)})
        except (KeyError, TypeError) as error:
            raise _damaged(file, error) from error

    def finish(self, result: CellResult) -> None:
        """Writes the result, then removes what was in flight."""
        if is_first():
            self._cells.path.mkdir(parents=True, exist_ok=True)
            trials = [trial.to_json() for trial in result.trials]
            self._cells.write_json(f"{self._name}.json", result._asdict() | {"trials": trials})
            shutil.rmtree(self._flight.path, ignore_errors=True)

    def group_size(self) -> int | None:
        """The trials per program that the cell in flight was started with, or None."""
        file = self._flight.path / "cell.json"
        size = json.loads(file.read_text())["trials_per_program"] if file.is_file() else 0
        return from_first(size) or None

    def begin(self, group_size: int) -> None:
        """Writes down how many trials a program has."""
        if is_first():
            self._flight.path.mkdir(parents=True, exist_ok=True)
        self._flight.write_json("cell.json", {"trials_per_program": group_size})

    def save(self, number: int, state: SweepState, standing: Standing) -> None:
        """Writes down a group of trials after an epoch: standing first, arrays last."""
        group = self._group(number)
        if is_first():
            group.path.mkdir(parents=True, exist_ok=True)
        name = f"standing_{standing.epoch:05d}.json"
        group.write_json(name, asdict(standing))
        checkpoints.save(group.path, state, standing.epoch)
        if is_first():
            for other in group.path.glob("standing_*.json"):
                if other.name != name:
                    other.unlink()

    def restore(self, number: int, trainer: Trainer) -> tuple[SweepState, Standing] | None:
        """What `save` wrote last for a group of trials, or None where there is nothing.

        Raises:
            UsageError: if it is damaged, or of another version.
        """
        folder = self._group(number).path
        path = checkpoints.latest(folder)
        if path is None:
            return None
        file = folder / f"standing_{path.name[-5:]}.json"
        record = _read(file)
        try:
            standing = Standing(record["epoch"], tuple(record["places"]), _trials(record))
        except (KeyError, TypeError) as error:
            raise _damaged(file, error) from error
        return trainer.adopt(checkpoints.restore(path, trainer.like(standing)), standing)

    def _group(self, number: int) -> RunDirectory:
        return RunDirectory(self._flight.path / f"group_{number}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise _damaged(file, error) from error


def _trials(record: Mapping[str, Any]) -> tuple[Trial, ...]:
    return tuple(map(Trial.from_json, record["trials"]))


def _damaged(file: Path, error: Exception) -> UsageError:
    cell = file if file.parent.name == CELLS else file.parents[1]
    return UsageError(
        f"{file} is damaged or of another version ({error}); remove {cell} to run its cell anew"
    )
