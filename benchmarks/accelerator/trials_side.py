"""Networks that train together in every way, in a process of its own; see `worker`."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.networks import TIMED
from benchmarks.accelerator.trials import LONE
from benchmarks.accelerator.worker import serve
from benchmarks.contenders import CLASSES, MEAN, STD
from cnn_jax.training import Config, Examples, Task, Trainer, hyperparameters, make_run
from cnn_jax.training.grid import Trial
from cnn_jax.training.programs import compile_epoch
from cnn_jax.training.run import Run

T = TypeVar("T")
# Programs that are compiled at a time.
COMPILERS = 8
# More epochs than anybody asks for.
EPOCHS = 1_000_000


class Built(NamedTuple):
    """A program of one epoch of some networks.

    Attributes:
        advance: runs it and waits; None if the memory is too small.
        compile_seconds: what compiling it took.
    """

    advance: Callable[[], object] | None
    compile_seconds: float


def main() -> None:
    """Serves what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="in an epoch")
    parser.add_argument("--points", required=True, help="ways and numbers of networks, as JSON")
    arguments = parser.parse_args()
    serve(lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> tuple[list[Any], Callable[..., float | None]]:
    network, images = TIMED[arguments.network], arguments.steps * arguments.batch_size
    config = Config(
        network.architecture,
        optimizer="momentum",
        batch_size=arguments.batch_size,
        epochs=EPOCHS,
        precision=arguments.precision,
    )
    channels = network.image_shape[2]
    task = Task(network.image_shape, CLASSES, (MEAN,) * channels, (STD,) * channels)
    run = make_run(config, task)
    random = np.random.default_rng(0)
    examples = Examples(
        jnp.asarray(random.integers(0, 256, (images, *network.image_shape), np.uint8)),
        jnp.asarray(random.integers(0, CLASSES, images, np.int32)),
    )

    def build(point: list[Any]) -> Built:
        way, count = point
        if way == LONE:
            return _lone(run, config, examples)
        return _together(run, config, examples, count, way)

    def build_if_it_fits(point: list[Any]) -> Built:
        return _fitting(partial(build, point)) or Built(None, 0.0)

    points = json.loads(arguments.points)
    with ThreadPoolExecutor(COMPILERS) as pool:
        built = dict(zip(map(tuple, points), pool.map(build_if_it_fits, points), strict=True))

    def rate(way: str, count: int, rounds: int) -> float | None:
        advance = built[way, count].advance
        taken = _fitting(partial(_seconds, advance, rounds)) if advance else None
        return count * images / statistics.median(taken) if taken else None

    return [(*point, one.compile_seconds) for point, one in built.items()], rate


def _seconds(advance: Callable[[], object], rounds: int) -> list[float]:
    """Of each round, after one that is not counted."""
    advance()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        advance()
        taken.append(time.perf_counter() - start)
    return taken


def _fitting(function: Callable[[], T]) -> T | None:
    """What the function gives, or None if the memory is too small for it."""
    try:
        return function()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def _lone(run: Run, config: Config, examples: Examples) -> Built:
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    key = jax.random.key(0)
    state = jax.jit(run.init)(hparams, key, examples)
    start = time.perf_counter()
    program = compile_epoch(run.epoch, state, hparams, key, examples)
    seconds = time.perf_counter() - start
    held = [state]

    def advance() -> None:
        held[0], _ = jax.block_until_ready(program(held[0], hparams, key, examples))

    return Built(advance, seconds)


def _together(run: Run, config: Config, examples: Examples, count: int, way: Any) -> Built:
    trainer = Trainer(run, examples, None, way)
    trials = [Trial(0, {}, seed, hyperparameters(config)) for seed in range(count)]
    state, standing = trainer.start(trials)
    trainer.compile(standing)
    epochs = trainer.fit(state, standing, config.epochs)
    return Built(lambda: next(epochs), trainer.compile_seconds)


if __name__ == "__main__":
    main()
