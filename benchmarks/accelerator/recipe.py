"""The preset cifar10-airbench from end to end, beside PyTorch's version of it."""

import atexit
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.worker import Worker
from cnn_jax import data
from cnn_jax.studies.choices import read_task

PRESET = "cifar10-airbench"
LONE, SWEEP, TORCH = "cnn_jax", "cnn_jax, one sweep", "PyTorch, compiled"
SHORT = {"lone": LONE, "sweep": SWEEP, "torch": TORCH}


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


def start(
    name: str, precision: str, ways: Sequence[str], seeds: int, torch: str | None
) -> dict[str, Worker]:
    """The processes, which compile.

    Args:
        name: of the data set, or its path.
        precision: of ours; PyTorch's is half precision.
        ways: of `SHORT`.
        seeds: that are one sweep.
        torch: an interpreter that has PyTorch, if one has.
    """
    workers = {}
    for way in ways:
        if way != TORCH:
            given = [f"--dataset={name}", f"--precision={precision}", f"--way={way}"]
            given.append(f"--seeds={seeds}")
            workers[way] = Worker(way, sys.executable, "recipe_side", *given)
        elif torch:
            workers[way] = Worker(way, torch, "torch_recipe_side", _normalized(name))
    return workers


def _normalized(name: str) -> str:
    """A file for PyTorch, with the mean and the standard deviation that ours are normalized by."""
    dataset = data.load(name)
    task = read_task(dataset)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "data.npz"
    splits = {
        f"{split}_{part}": getattr(getattr(dataset, split), part)
        for split in ("train", "test")
        for part in ("images", "labels")
    }
    np.savez(path, mean=np.asarray(task.mean), std=np.asarray(task.std), **splits)
    return str(path)


def measure(workers: dict[str, Worker], seeds: int, lone: int) -> Iterator[Trained]:
    """What the trainings of every process give.

    Args:
        workers: of `start`.
        seeds: trainings of a sweep.
        lone: trainings one after another.
    """
    for way, worker in workers.items():
        compiling = worker.ready()
        found = worker.ask(*range(seeds if way == SWEEP else lone))
        yield Trained(way, tuple(found["seconds"]), tuple(found["accuracies"]), compiling)


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
