"""How far a run or a sweep is, from the files in its folder alone."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax import storage
from cnn_jax.analysis.progress import Progress, Row
from cnn_jax.studies.lone_run import METRICS_FILE, TIMINGS_FILE
from cnn_jax.studies.overview import Entry, read_entry
from cnn_jax.studies.sweep_directory import CELLS
from cnn_jax.training import checkpoints
from cnn_jax.training.grid import with_nan


def read_progress(path: Path) -> Progress:
    """Where the run or sweep in a folder is.

    Raises:
        UsageError: if there is none, or its files are damaged.
    """
    entry = read_entry(path)
    return _of_sweep(entry) if entry.sweep else _of_run(entry)


def _of_run(entry: Entry) -> Progress:
    history, timings = (_lines(entry.path / name) for name in (METRICS_FILE, TIMINGS_FILE))
    total, key = int(entry.config["epochs"]), _accuracy_key(history)
    seconds = [line["seconds"] for line in timings]
    left = (total - len(history)) * sum(seconds) / len(seconds) if seconds else None
    rows = [
        Row(f"epoch {row['epoch']:g}", int(row["epoch"]), row["train_loss"], row[key], "")
        for row in history
    ]
    return _progress(entry, len(history), total, left, key, rows, history)


def _of_sweep(entry: Entry) -> Progress:
    cells = [value for name, value in entry.config.items() if name.startswith("cell ")]
    total = sum(len(cell["trials"]) * int(dict(cell["choices"])["epochs"]) for cell in cells)
    trials = _trials(entry.path / CELLS)
    histories = [[with_nan(row) for row in trial["history"]] for trial in trials]
    done = sum(map(len, histories))
    seconds = sum(float(trial.get("seconds") or 0) for trial in trials)
    # How many rounds come after the first is not known before.
    left = (total - done) * seconds / done if seconds and 0 < done < total else None
    key = _accuracy_key([row for history in histories for row in history])
    rows = [
        Row(
            " · ".join(
                [
                    *entry.config["rows"][trial["variant"]].values(),
                    *(f"{name} {value:g}" for name, value in trial["tuned"].items()),
                ]
            )
            + f", seed {trial['seed']}",
            len(history),
            history[-1]["train_loss"] if history else math.nan,
            history[-1][key] if history else math.nan,
            trial["status"],
        )
        for trial, history in zip(trials, histories, strict=True)
    ]
    return _progress(entry, done, max(total, done), left, key, rows)


def _progress(
    entry: Entry,
    done: int,
    total: int,
    left: float | None,
    key: str,
    rows: Sequence[Row],
    history: Sequence[Mapping[str, float]] = (),
) -> Progress:
    name, split = entry.path.resolve().name, key.partition("_")[0]
    return Progress(name, str(entry.path), done, total, left, split, rows, history)


def _accuracy_key(history: Sequence[Mapping[str, float]]) -> str:
    held_out = any("validation_accuracy" in row for row in history)
    return "validation_accuracy" if held_out else "train_accuracy"


def _trials(cells: Path) -> list[dict[str, Any]]:
    """Those of the cells that are finished, and of those in flight as they stand."""
    said = [json.loads(storage.read(file)) for file in cells.glob("*.json")]
    said += filter(None, map(checkpoints.look, cells.glob("*/group_*/")))
    found = [trial for record in said for trial in record["trials"]]
    return sorted(found, key=lambda trial: (trial["variant"], trial["seed"], str(trial["tuned"])))


def _lines(file: Path) -> list[dict[str, float]]:
    lines = file.read_text().splitlines() if file.is_file() else []
    return [with_nan(json.loads(line)) for line in lines if line.endswith("}")]
