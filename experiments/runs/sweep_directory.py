"""The folder of a sweep: finished cells, the cell in flight, and the final tables."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnn_jax.errors import UsageError
from cnn_jax.training import checkpoints
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import Standing, Trainer
from cnn_jax.training.processes import from_first, is_first
from cnn_jax.training.sweep import SweepState

from .run_directory import RunDirectory

CELLS = "cells"
RESULTS_FILE = "results.csv"
SUMMARY_FILE = "summary.csv"
MARKDOWN_FILE = "table.md"
LATEX_FILE = "table.tex"
FIGURE_FILE = "means.png"


class CellDirectory:
    """One cell's files: `cells/000.json` when finished, `cells/000/` while in flight.

    Of several processes only the first one writes them, checkpoints apart.
    """

    def __init__(self, sweep: Path, index: int):
        self._cells = RunDirectory(sweep / CELLS)
        self._name = f"{index:03d}"
        self._flight = RunDirectory(sweep / CELLS / self._name)

    def result(self) -> dict[str, Any] | None:
        """What was written when the cell was finished, or None.

        Raises:
            UsageError: if the file is damaged.
        """
        file = self._cells.path / f"{self._name}.json"
        if not file.is_file():
            return None
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise UsageError(
                f"{file} is damaged ({error}); remove it to run its cell anew"
            ) from error

    def finish(self, result: dict[str, Any]) -> None:
        """Writes the result, then removes what was in flight."""
        if is_first():
            self._cells.path.mkdir(parents=True, exist_ok=True)
            self._cells.write_json(f"{self._name}.json", result)
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

    def save(
        self, number: int, state: SweepState, standing: Standing, seconds: list[float]
    ) -> None:
        """Writes down a group of trials after an epoch: standing first, arrays last."""
        group = self._group(number)
        if is_first():
            group.path.mkdir(parents=True, exist_ok=True)
        name = f"standing_{standing.epoch:05d}.json"
        group.write_json(name, {**asdict(standing), "seconds": seconds})
        checkpoints.save(group.path, state, standing.epoch)
        if is_first():
            for other in group.path.glob("standing_*.json"):
                if other.name != name:
                    other.unlink()

    def restore(
        self, number: int, trainer: Trainer, trials: Sequence[Trial]
    ) -> tuple[SweepState, Standing, list[float]] | None:
        """What `save` wrote last for a group of trials, or None where there is nothing."""
        folder = self._group(number).path
        path = checkpoints.latest(folder)
        if path is None:
            return None
        record = json.loads((folder / f"standing_{path.name[-5:]}.json").read_text())
        seconds = record.pop("seconds")
        record["histories"] = map(tuple, record["histories"])
        standing = Standing(record.pop("epoch"), **{k: tuple(v) for k, v in record.items()})
        state = checkpoints.restore(path, trainer.like(trials, standing))
        return *trainer.adopt(state, standing), seconds

    def _group(self, number: int) -> RunDirectory:
        return RunDirectory(self._flight.path / f"group_{number}")
