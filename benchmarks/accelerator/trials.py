"""Networks that train together: how many a minute, by way and by their number."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.worker import Worker
from cnn_jax.training.sweep import choose_vectorization

STEPS = 16
# A network of the tables is trained on as many images as MNIST and CIFAR-10 have, for ten epochs.
IMAGES = 10 * 60_000
LONE = "lone runs"

# How networks train together, and how many.
Point = tuple[str, int]


class Together(NamedTuple):
    """How fast networks train together.

    Attributes:
        network: a key of `TIMED`.
        precision: of its arithmetic.
        way: one of `VECTORIZATIONS`, or lone runs one after another.
        trials: that share a program.
        images_per_second: of all networks, the median over rounds; None if the memory is too small.
        times_lone: the speed beside lone runs one after another.
        compile_seconds: of the program.
        chosen: whether this is the way that a sweep takes.
    """

    network: str
    precision: str
    way: str
    trials: int
    images_per_second: float | None
    times_lone: float | None
    compile_seconds: float
    chosen: bool


def start(
    points: Mapping[str, Sequence[Point]], precisions: Sequence[str], batch_size: int
) -> dict[tuple[str, str], Worker]:
    """The processes, by network and precision, which compile.

    Args:
        points: of each network, by its name: how it trains together, of `VECTORIZATIONS`, and how
            many.
        precisions: of each.
        batch_size: images in a step.
    """
    return {
        (name, precision): Worker(
            f"cnn_jax on {name}", sys.executable, "trials_side", f"--network={name}",
            f"--precision={precision}", f"--batch_size={batch_size}", f"--steps={STEPS}",
            f"--points={json.dumps([(LONE, 1), *chosen])}",
        )
        for name, chosen in points.items()
        for precision in precisions
    }  # fmt: skip


def measure(workers: dict[tuple[str, str], Worker], rounds: int) -> Iterator[Together]:
    """The speed of networks that train together, as it is found.

    Args:
        workers: of `start`.
        rounds: turns of each contender.
    """
    for (name, precision), worker in workers.items():
        lone = 0.0
        for way, count, compile_seconds in worker.ready():
            rate = worker.ask(way, count, rounds)
            lone = rate if way == LONE else lone
            yield Together(
                name, precision, way, count, rate, rate and rate / lone, compile_seconds,
                way == choose_vectorization(count),
            )  # fmt: skip


def show(console: Console, rows: Sequence[Together]) -> None:
    """Prints the table."""
    table = Table(title="Networks that train together", title_justify="left")
    for column in ("network", "precision", "way"):
        table.add_column(column, no_wrap=True)
    for column in ("trials", "images/s", "networks/min", "times lone", "compile s", "chosen"):
        table.add_column(column, justify="right")
    for row in rows:
        rate = row.images_per_second
        table.add_row(
            row.network,
            row.precision,
            row.way,
            f"{row.trials:,}",
            f"{rate:,.0f}" if rate else "does not fit",
            f"{60 * rate / IMAGES:,.1f}" if rate else "-",
            f"{row.times_lone:.2f}" if row.times_lone else "-",
            f"{row.compile_seconds:.1f}",
            "yes" if row.chosen else "",
        )
    console.print(table)
