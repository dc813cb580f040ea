"""The preset cifar10-airbench from end to end, beside PyTorch's version of it."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.speed import ROOT
from benchmarks.preset import read_preset
from cnn_jax import data
from cnn_jax.errors import UsageError
from cnn_jax.studies.choices import read_task
from cnn_jax.training import Examples, Trainer, make_run, to_device
from cnn_jax.training.grid import Trial

PRESET = "cifar10-airbench"


class Trained(NamedTuple):
    """What some trainings of the recipe gave.

    Attributes:
        library: whose they are.
        seconds: of one training with the evaluation after it, of each; of a sweep, its share.
        accuracies: on the test split, of each seed.
        compile_seconds: not among them.
    """

    library: str
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]
    compile_seconds: float


def lone(dataset: data.Dataset, precision: str, seeds: Sequence[int]) -> Trained:
    """Trainings one after another, each a run by itself."""
    trainer, trials, test = _prepare(dataset, precision, seeds)
    seconds, accuracies = [], []
    start = time.perf_counter()
    state, standing = trainer.start(trials[:1])
    trainer.compile(standing)
    trainer.test(state, standing, [0], test)
    compiling = time.perf_counter() - start
    for trial in trials:
        state, standing = trainer.start([trial])
        start = time.perf_counter()
        for end in trainer.fit(state, standing, len(trainer.sizes)):
            state, standing = end.state, end.standing
        found = trainer.test(state, standing, [0], test)
        seconds.append(time.perf_counter() - start)
        accuracies.append(found[0][0]["accuracy"])
    return Trained("cnn_jax", tuple(seconds), tuple(accuracies), compiling)


def swept(dataset: data.Dataset, precision: str, seeds: Sequence[int]) -> Trained:
    """The same trainings as one sweep."""
    trainer, trials, test = _prepare(dataset, precision, seeds)
    start = time.perf_counter()
    state, standing = trainer.start(trials)
    trainer.compile(standing)
    trainer.test(state, standing, range(len(trials)), test)
    compiling = time.perf_counter() - start
    start = time.perf_counter()
    for end in trainer.fit(state, standing, len(trainer.sizes)):
        state, standing = end.state, end.standing
    found = trainer.test(state, standing, range(len(trials)), test)
    share = (time.perf_counter() - start) / len(trials)
    accuracies = (score["accuracy"] for score, _ in found.values())
    return Trained("cnn_jax, one sweep", (share,), tuple(accuracies), compiling)


def _prepare(
    dataset: data.Dataset, precision: str, seeds: Sequence[int]
) -> tuple[Trainer, list[Trial], Examples]:
    config, numbers = read_preset(PRESET)
    run = make_run(replace(config, precision=precision), read_task(dataset))
    trainer = Trainer(run, to_device(dataset.train), None, "map")
    return trainer, [Trial(0, {}, seed, numbers) for seed in seeds], to_device(dataset.test)


def in_torch(dataset: data.Dataset, seeds: Sequence[int], python: str) -> Trained:
    """The recipe in PyTorch, compiled, in half precision, in a process of its own."""
    task = read_task(dataset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(
            path,
            mean=np.asarray(task.mean),
            std=np.asarray(task.std),
            **{
                f"{name}_{part}": getattr(getattr(dataset, name), part)
                for name in ("train", "test")
                for part in ("images", "labels")
            },
        )
        command = [python, "-m", "benchmarks.accelerator.torch_recipe_side", str(path)]
        command += [str(seed) for seed in seeds]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UsageError("the recipe in PyTorch failed; what it printed is above")
    found = json.loads(done.stdout)
    return Trained(
        "PyTorch, compiled", tuple(found["seconds"]), tuple(found["accuracies"]), found["compile"]
    )


def show(console: Console, rows: Sequence[Trained]) -> None:
    """Prints the table."""
    table = Table(title=f"{PRESET}, eight epochs and the evaluation", title_justify="left")
    table.add_column("library", no_wrap=True)
    for column in ("seeds", "seconds", "test accuracy", "standard deviation", "compile s"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.library,
            str(len(row.accuracies)),
            f"{statistics.median(row.seconds):.3f}",
            f"{statistics.mean(row.accuracies):.2%}",
            f"{statistics.stdev(row.accuracies):.2%}" if len(row.accuracies) > 1 else "-",
            f"{row.compile_seconds:.1f}",
        )
    console.print(table)
