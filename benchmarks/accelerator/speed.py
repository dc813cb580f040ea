"""Images per second in training, beside PyTorch."""

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.card import operations, this_card
from benchmarks.accelerator.networks import TIMED
from benchmarks.accelerator.worker import Worker
from benchmarks.contenders import torch_arguments
from cnn_jax.compilation import CompilerOptions

TURN_SECONDS = 0.3
# An epoch of MNIST has over 400 steps, one of CIFAR-10 390.
STEPS = 100
COMPILED = "PyTorch, compiled"

# Network, precision, contender.
Key = tuple[str, str, str]


class Entrant(NamedTuple):
    """Who takes turns: its process, what it is called there, and what compiling it took."""

    worker: Worker
    form: str
    compile_seconds: float
    steps: int


class Speed(NamedTuple):
    """How fast one contender trains one network.

    Attributes:
        network: a key of `TIMED`.
        precision: of its arithmetic.
        contender: as the table names it.
        milliseconds: of a step, the median over rounds.
        images_per_second: likewise.
        share: of the card's operations in that precision, if its datasheet is known.
        compile_seconds: compiling and first calls.
        times_compiled: the speed beside compiled PyTorch's, the median within rounds.
    """

    network: str
    precision: str
    contender: str
    milliseconds: float
    images_per_second: float
    share: float | None
    compile_seconds: float
    times_compiled: float | None


def start(
    names: Sequence[str],
    precisions: Sequence[str],
    batch_size: int,
    torch: str | None,
    lowerings: Sequence[str] = ("auto",),
    options: Sequence[CompilerOptions] = (),
) -> dict[tuple[str, str], Worker]:
    """The processes, by network and library, which compile.

    Args:
        names: of networks.
        precisions: of each.
        batch_size: images in a step.
        torch: an interpreter that has PyTorch, if one has.
        lowerings: of convolutions on accelerators, with each of which ours is timed.
        options: of XLA, with each of which ours is timed beside the project's own.
    """
    forms = json.dumps([list(precisions), list(lowerings), [None, *options]])
    workers = {}
    for name in names:
        given = [f"--network={name}", f"--batch_size={batch_size}", f"--steps={STEPS}"]
        workers[name, "cnn_jax"] = Worker(
            f"cnn_jax on {name}", sys.executable, "speed_side", *given, f"--forms={forms}"
        )
        if torch:
            given = [*torch_arguments(TIMED[name], batch_size)]
            given.append(f"--precisions={','.join(precisions)}")
            workers[name, "PyTorch"] = Worker(f"PyTorch on {name}", torch, "torch_side", *given)
    return workers


def measure(
    workers: dict[tuple[str, str], Worker], batch_size: int, rounds: int
) -> Iterator[Speed]:
    """The speed of all networks in all forms, network after network.

    Args:
        workers: of `start`.
        batch_size: images in a step.
        rounds: turns of each contender.
    """
    for name in dict.fromkeys(name for name, _ in workers):
        entrants: dict[Key, Entrant] = {}
        counts = set()
        for (network, library), worker in workers.items():
            if network != name:
                continue
            found = worker.ready()
            counts.add(found["parameters"])
            for form, seconds in found["compile_seconds"].items():
                precision, *rest = json.loads(form)
                key = name, precision, _contender(library, *rest)
                entrants[key] = Entrant(worker, form, seconds or 0.0, found["steps"])
        assert len(counts) == 1, f"these are not the same network: {name} of {counts} parameters"
        taken = _take_turns(entrants, rounds)
        for key in sorted(taken):
            yield _speed(key, entrants[key], taken, batch_size)


def _contender(library: str, way: str, options: CompilerOptions | None = None) -> str:
    said = [library] if way == "auto" else [library, way]
    return ", ".join([*said, spelled(options)] if options else said)


def spelled(options: CompilerOptions) -> str:
    """Options as the command line has them."""
    return ",".join(f"{name.removeprefix('xla_gpu_')}={value}" for name, value in options.items())


def _take_turns(entrants: dict[Key, Entrant], rounds: int) -> dict[Key, list[float]]:
    """Seconds of a step in each round."""
    calls = {}
    for key, entrant in entrants.items():
        advance = partial(entrant.worker.ask, entrant.form)
        advance(1)
        start = time.perf_counter()
        advance(3)
        calls[key] = max(1, round(3 * TURN_SECONDS / (time.perf_counter() - start)))
    taken: dict[Key, list[float]] = {key: [] for key in entrants}
    for _ in range(rounds):
        for key, entrant in entrants.items():
            start = time.perf_counter()
            entrant.worker.ask(entrant.form, calls[key])
            taken[key].append((time.perf_counter() - start) / (calls[key] * entrant.steps))
    return taken


def _speed(key: Key, entrant: Entrant, taken: dict[Key, list[float]], batch_size: int) -> Speed:
    name, precision, contender = key
    seconds, card = statistics.median(taken[key]), this_card()
    done = operations(TIMED[name]) * batch_size / seconds
    beside = taken.get((name, precision, COMPILED))
    ratios = [a / b for a, b in zip(beside or (), taken[key], strict=bool(beside))]
    return Speed(
        name,
        precision,
        contender,
        1e3 * seconds,
        batch_size / seconds,
        done / card.flops[precision] if card else None,
        entrant.compile_seconds,
        statistics.median(ratios) if ratios else None,
    )


def show(console: Console, speeds: Sequence[Speed], batch_size: int) -> None:
    """Prints the table."""
    table = Table(title=f"Training, batches of {batch_size}", title_justify="left")
    for column in ("network", "precision", "contender"):
        table.add_column(column, no_wrap=True)
    for column in ("ms/step", "images/s", "of the card", "compile s", "vs PyTorch compiled"):
        table.add_column(column, justify="right")
    for row in speeds:
        table.add_row(
            row.network,
            row.precision,
            row.contender,
            f"{row.milliseconds:.3f}",
            f"{row.images_per_second:,.0f}",
            "-" if row.share is None else f"{row.share:.1%}",
            f"{row.compile_seconds:.1f}",
            "-" if row.times_compiled is None else f"{row.times_compiled:.2f}",
        )
    console.print(table)
