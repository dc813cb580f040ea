"""Images per second in training, beside PyTorch."""

import itertools
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.card import operations, this_card
from benchmarks.contenders import NETWORKS, Contender, Network, our_epoch, torch_arguments
from cnn_jax.compilation import CompilerOptions
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture

ROOT = Path(__file__).resolve().parents[2]
TURN_SECONDS = 0.3
# An epoch of MNIST has over 400 steps, one of CIFAR-10 390.
STEPS = 100
TIMED = {
    "lenet5": NETWORKS["lenet5"],
    "cnn": NETWORKS["flax-mnist-cnn"],
    "resnet20": NETWORKS["resnet20"],
    "resnet18": Network(
        (32, 32, 3), Architecture(model="resnet18", normalization="batch"), None, "ResNet18", STEPS
    ),
    "airnet": NETWORKS["airnet"],
}
TORCH_FORMS = ("eager", "compiled")

# Programs of ours that are compiled at a time.
COMPILERS = 8

# Network, precision, contender.
Key = tuple[str, str, str]
# Advances by so many calls and waits; steps in a call; compile seconds; parameters.
Entrant = tuple[Callable[[int], None], int, float, int]


class TorchProcess:
    """One network in every form, in a process that has PyTorch.

    Args:
        python: the interpreter.
        name: of the network.
        batch_size: images in a step.
        precisions: that are compiled.
    """

    def __init__(self, python: str, name: str, batch_size: int, precisions: Sequence[str]):
        command = [python, "-m", "benchmarks.accelerator.torch_side"]
        command += torch_arguments(TIMED[name], batch_size)
        command.append(f"--precisions={','.join(precisions)}")
        self._name = name
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> dict[str, Any]:
        """Waits until all forms are warm: the parameters, and seconds to compile by form."""
        return json.loads(self._answer())

    def advance(self, form: str, steps: int) -> None:
        """Takes so many steps in a form, and waits."""
        assert self._process.stdin is not None
        print(form, steps, file=self._process.stdin, flush=True)
        self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UsageError(f"PyTorch on {self._name} ended without an answer; see above")
        return line


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


def measure(
    names: Sequence[str],
    precisions: Sequence[str],
    batch_size: int,
    rounds: int,
    torch: str | None,
    options: Sequence[CompilerOptions] = (),
) -> Iterator[Speed]:
    """The speed of all networks in all precisions, network after network.

    Args:
        names: of networks.
        precisions: of each.
        batch_size: images in a step.
        rounds: turns of each contender.
        torch: an interpreter that has PyTorch, if one has.
        options: of XLA, with each of which ours is timed too.
    """
    processes = {}
    if torch:
        processes = {name: TorchProcess(torch, name, batch_size, precisions) for name in names}
    points = list(itertools.product(names, precisions, (None, *options)))
    with ThreadPoolExecutor(COMPILERS) as pool:
        compiled = list(pool.map(lambda point: _ours(batch_size, *point), points))
    entrants: dict[Key, Entrant] = {}
    for (name, precision, given), ours in zip(points, compiled, strict=True):
        title = "cnn_jax" if given is None else f"cnn_jax, {spelled(given)}"
        seconds = ours.compile_seconds or 0.0
        entrants[name, precision, title] = ours.advance, ours.steps, seconds, ours.parameters
    for name, process in processes.items():
        found = process.ready()
        for form, seconds in found["compile_seconds"].items():
            precision, _, way = form.partition("/")
            entrants[name, precision, f"PyTorch, {way}"] = (
                partial(process.advance, form),
                1, seconds, found["parameters"],
            )  # fmt: skip
    for name in names:
        counts = {entrant[3] for key, entrant in entrants.items() if key[0] == name}
        assert len(counts) == 1, f"these are not the same network: {name} of {counts} parameters"
    for name in names:
        taken = _take_turns({key: entrants[key] for key in entrants if key[0] == name}, rounds)
        for key in sorted(taken):
            yield _speed(key, entrants[key], taken, batch_size)
    for process in processes.values():
        process.close()


def _ours(batch_size: int, name: str, precision: str, options: CompilerOptions | None) -> Contender:
    network = TIMED[name]._replace(epoch_steps=STEPS)
    return our_epoch(network, batch_size, precision=precision, options=options)


def spelled(options: CompilerOptions) -> str:
    """Options as the command line has them."""
    return ",".join(f"{name.removeprefix('xla_gpu_')}={value}" for name, value in options.items())


def _take_turns(entrants: dict[Key, Entrant], rounds: int) -> dict[Key, list[float]]:
    """Seconds of a step in each round."""
    calls = {}
    for key, (advance, *_) in entrants.items():
        advance(1)
        start = time.perf_counter()
        advance(3)
        calls[key] = max(1, round(3 * TURN_SECONDS / (time.perf_counter() - start)))
    taken: dict[Key, list[float]] = {key: [] for key in entrants}
    for _ in range(rounds):
        for key, (advance, steps, *_) in entrants.items():
            start = time.perf_counter()
            advance(calls[key])
            taken[key].append((time.perf_counter() - start) / (calls[key] * steps))
    return taken


def _speed(key: Key, entrant: Entrant, taken: dict[Key, list[float]], batch_size: int) -> Speed:
    name, precision, contender = key
    seconds, card = statistics.median(taken[key]), this_card()
    done = operations(TIMED[name]) * batch_size / seconds
    beside = taken.get((name, precision, "PyTorch, compiled"))
    ratios = [a / b for a, b in zip(beside or (), taken[key], strict=bool(beside))]
    return Speed(
        name,
        precision,
        contender,
        1e3 * seconds,
        batch_size / seconds,
        done / card.flops[precision] if card else None,
        entrant[2],
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
