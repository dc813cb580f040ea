"""A tiny trained run, and the programs that use one, as they are started."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = (
    "--filters=8",
    "--hidden=16",
    "--batch_size=12",
    "--epochs=25",
    "--learning_rate=0.005",
    "--validation_fraction=0.25",
)
_trained: dict[tuple, Path] = {}


def train(program: Callable, digits: Path, folder: Path, *flags: str) -> Path:
    """The folder of a run on the tiny digits, trained once for all tests."""
    key = (digits, flags)
    if key not in _trained:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
            patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
            outcome = program(f"--dataset={digits}", f"--workdir={folder}", *SMALL, *flags)
        assert (outcome.code, outcome.err) == (0, "")
        _trained[key] = folder
    return _trained[key]


def starter(program: Callable, main: Callable, takes_paths: bool) -> Callable:
    """Runs a program with a list of arguments, to its exit, in this process."""
    # What `program` does to the training program, for any.
    return functools.partial(program.func, main, takes_paths=takes_paths)


def accuracy_of(run: Path) -> float:
    """What training wrote down of its test split."""
    return json.loads((run / "result.json").read_text())["test_accuracy"]
