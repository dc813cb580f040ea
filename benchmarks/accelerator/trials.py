"""Networks that train together: how many a minute, by way and by their number."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.speed import TIMED
from benchmarks.contenders import CLASSES, MEAN, STD
from cnn_jax.training import Config, Examples, Task, Trainer, hyperparameters, make_run
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import CellEpoch
from cnn_jax.training.programs import compile_epoch
from cnn_jax.training.run import Run
from cnn_jax.training.sweep import VECTORIZATIONS, Vectorization, choose_vectorization

STEPS = 16
# Programs that are compiled at a time.
COMPILERS = 8
# A network of the tables is trained on as many images as MNIST and CIFAR-10 have, for ten epochs.
IMAGES = 10 * 60_000
LONE = "lone runs"


class Together(NamedTuple):
    """How fast networks train together.

    Attributes:
        network: a key of `TIMED`.
        precision: of its arithmetic.
        way: one of `VECTORIZATIONS`, or lone runs one after another.
        trials: that share a program.
        images_per_second: of all networks, the median over rounds.
        per_minute: networks, each trained on `IMAGES` images.
        times_lone: the speed beside lone runs one after another.
        compile_seconds: of the program.
        chosen: whether this is the way that a sweep takes.
    """

    network: str
    precision: str
    way: str
    trials: int
    images_per_second: float
    per_minute: float
    times_lone: float
    compile_seconds: float
    chosen: bool


def measure(
    names: Sequence[str],
    precisions: Sequence[str],
    counts: Sequence[int],
    batch_size: int,
    rounds: int,
    ways: Sequence[Vectorization] = VECTORIZATIONS,
) -> Iterator[Together]:
    """The speed of networks that train together, as it is found.

    Args:
        names: of networks.
        precisions: of each.
        counts: of trials that share a program.
        batch_size: images in a step.
        rounds: turns of each contender.
        ways: that are timed.
    """
    for name in names:
        for precision in precisions:
            yield from _measure(name, precision, counts, batch_size, rounds, ways)


def _measure(
    name: str,
    precision: str,
    counts: Sequence[int],
    batch_size: int,
    rounds: int,
    ways: Sequence[Vectorization],
) -> Iterator[Together]:
    network = TIMED[name]
    config = Config(
        network.architecture,
        optimizer="momentum",
        batch_size=batch_size,
        epochs=rounds + 2,
        precision=precision,
    )
    channels = network.image_shape[2]
    task = Task(network.image_shape, CLASSES, (MEAN,) * channels, (STD,) * channels)
    run = make_run(config, task)
    random = np.random.default_rng(0)
    examples = Examples(
        jnp.asarray(random.integers(0, 256, (STEPS * batch_size, *network.image_shape), np.uint8)),
        jnp.asarray(random.integers(0, CLASSES, STEPS * batch_size, np.int32)),
    )

    def row(way: str, count: int, rate: float, lone: float, seconds: float) -> Together:
        chosen = way == choose_vectorization(count)
        per_minute = 60 * rate / IMAGES
        return Together(name, precision, way, count, rate, per_minute, rate / lone, seconds, chosen)

    images = STEPS * batch_size
    advance, seconds = _lone(run, config, examples)
    lone = images / _median_seconds(advance, rounds)
    yield row(LONE, 1, lone, lone, seconds)
    points = [(count, way) for count in counts for way in ways]
    with ThreadPoolExecutor(COMPILERS) as pool:
        built = list(pool.map(lambda point: _together(run, config, examples, *point), points))
    for (count, way), (trainer, epochs) in zip(points, built, strict=True):
        next(epochs)
        rate = count * images / _median_seconds(partial(next, epochs), rounds)
        yield row(way, count, rate, lone, trainer.compile_seconds)


def _median_seconds(advance: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        advance()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _lone(run: Run, config: Config, examples: Examples) -> tuple[Callable[[], None], float]:
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    key = jax.random.key(0)
    state = jax.jit(run.init)(hparams, key, examples)
    start = time.perf_counter()
    program = compile_epoch(run.epoch, state, hparams, key, examples)
    seconds = time.perf_counter() - start
    held = [state]

    def advance() -> None:
        held[0], _ = jax.block_until_ready(program(held[0], hparams, key, examples))

    advance()
    return advance, seconds


def _together(
    run: Run, config: Config, examples: Examples, count: int, way: Vectorization
) -> tuple[Trainer, Iterator[CellEpoch]]:
    """Compiled, and each epoch when it is asked for."""
    trainer = Trainer(run, examples, None, way)
    state, standing = trainer.start(
        [Trial(0, {}, seed, hyperparameters(config)) for seed in range(count)]
    )
    trainer.compile(standing)
    return trainer, trainer.fit(state, standing, config.epochs)


def show(console: Console, rows: Sequence[Together]) -> None:
    """Prints the table."""
    table = Table(title="Networks that train together", title_justify="left")
    for column in ("network", "precision", "way"):
        table.add_column(column, no_wrap=True)
    for column in ("trials", "images/s", "networks/min", "times lone", "compile s", "chosen"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.network,
            row.precision,
            row.way,
            f"{row.trials:,}",
            f"{row.images_per_second:,.0f}",
            f"{row.per_minute:,.1f}",
            f"{row.times_lone:.2f}",
            f"{row.compile_seconds:.1f}",
            "yes" if row.chosen else "",
        )
    console.print(table)
