"""The preset cifar10-airbench as cnn_jax trains it, in a process of its own; see `worker`."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.accelerator.recipe import LONE, PRESET
from benchmarks.accelerator.worker import serve
from benchmarks.preset import read_preset
from cnn_jax import data
from cnn_jax.studies.choices import read_task
from cnn_jax.training import Examples, Trainer, make_run, to_device
from cnn_jax.training.grid import Trial


def main() -> None:
    """Serves what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--way", required=True, help="one after another, or as one sweep")
    parser.add_argument("--seeds", type=int, required=True, help="that are one sweep")
    arguments = parser.parse_args()
    serve(lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> tuple[float, Callable[..., dict[str, Any]]]:
    dataset = data.load(arguments.dataset)
    config, numbers = read_preset(PRESET)
    run = make_run(replace(config, precision=arguments.precision), read_task(dataset))
    trainer = Trainer(run, to_device(dataset.train), None, "map")
    test = to_device(dataset.test)
    together = 1 if arguments.way == LONE else arguments.seeds

    def train(seeds: Sequence[int]) -> tuple[float, list[float]]:
        """Seconds, and the accuracies in the order of the seeds."""
        state, standing = trainer.start([Trial(0, {}, seed, numbers) for seed in seeds])
        start = time.perf_counter()
        for end in trainer.fit(state, standing, len(trainer.sizes)):
            state, standing = end.state, end.standing
        accuracies = _accuracies(trainer, state, standing, test)
        return time.perf_counter() - start, accuracies

    def answer(*seeds: int) -> dict[str, Any]:
        seconds, accuracies = [], []
        for first in range(0, len(seeds), together):
            some = seeds[first : first + together]
            taken, found = train(some)
            seconds.append(taken / len(some))
            accuracies += found
        return {"seconds": seconds, "accuracies": accuracies}

    start = time.perf_counter()
    state, standing = trainer.start([Trial(0, {}, seed, numbers) for seed in range(together)])
    trainer.compile(standing)
    _accuracies(trainer, state, standing, test)
    return time.perf_counter() - start, answer


def _accuracies(trainer: Trainer, state: Any, standing: Any, test: Examples) -> list[float]:
    found = trainer.test(state, standing, range(len(standing.trials)), test)
    return [found[index][0]["accuracy"] for index in sorted(found)]


if __name__ == "__main__":
    main()
