"""The loop around the compiled epoch: everything that happens between epochs happens here."""

import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from cnn_jax.data import Split
from cnn_jax.training.devices import BATCH_AXIS, mesh_shape, place, split, whole
from cnn_jax.training.programs import compile_epoch
from cnn_jax.training.run import Metrics, Run
from cnn_jax.training.step import TracedHparams, TrainState
from cnn_jax.training.task import Examples


class Programs(NamedTuple):
    """A run's functions, compiled, and the seconds that took.

    Attributes:
        epochs: by the number of the epoch, from 1; one program serves all at one size of images.
        evaluate: of the examples held out, if there are any.
        seconds: of compilation.
    """

    epochs: dict[int, jax.stages.Compiled]
    evaluate: jax.stages.Compiled | None
    seconds: float


class Epoch(NamedTuple):
    """What one epoch left behind.

    Attributes:
        state: after the epoch; its memory is reused by the next one, so save it before going on.
        metrics: epoch, learning_rate, train_loss, train_accuracy and, where examples are held out,
            validation_loss and validation_accuracy; the same bits for the same flags and seed.
        seconds: wall time of the training pass.
    """

    state: TrainState
    metrics: dict[str, float]
    seconds: float


def to_device(examples: Split, mesh: Mesh | None = None, shard: bool = False) -> Examples:
    """A split of the data set as arrays on the devices.

    Args:
        examples: the split.
        mesh: the devices, or None for a single one.
        shard: whether each device along the axis `batch` has its part of the examples only, the
            last one's filled up with zeros, and a batch is gathered from all of them; if not, every
            device has them whole.
    """
    where = split(mesh, BATCH_AXIS) if shard else whole(mesh)
    filling = -len(examples) % mesh_shape(mesh).batch if shard else 0

    def put(array: np.ndarray) -> jax.Array:
        padding = [(0, filling)] + [(0, 0)] * (array.ndim - 1)
        return place(np.pad(array, padding) if filling else array, where)

    return Examples(put(examples.images), put(examples.labels), len(examples) if filling else None)


def compile_programs(
    run: Run,
    state: TrainState,
    hparams: TracedHparams,
    key: PRNGKeyArray,
    train: Examples,
    validation: Examples | None,
) -> Programs:
    """Compiles the epochs ahead and, where examples are held out, the evaluation on them."""
    start = time.perf_counter()
    done = int(state.epoch)
    by_size = {
        size: compile_epoch(partial(run.epoch, size=size), state, hparams, key, train)
        for size in dict.fromkeys(run.sizes[done:])
    }
    epochs = {number: by_size[size] for number, size in enumerate(run.sizes, 1) if number > done}
    evaluate = None
    if validation is not None:
        evaluate = jax.jit(run.evaluate).lower(state, hparams, validation).compile()
    return Programs(epochs, evaluate, time.perf_counter() - start)


def fit(
    programs: Programs,
    state: TrainState,
    hparams: TracedHparams,
    key: PRNGKeyArray,
    train: Examples,
    validation: Examples | None,
    epochs: int,
) -> Iterator[Epoch]:
    """Trains from `state` until `epochs` epochs are done, pausing after each.

    Args:
        programs: compiled for these arguments.
        state: before the first step or from a checkpoint; its memory is given up.
        hparams: the numbers that the run reads.
        key: of the seed.
        train: the training set.
        validation: examples held out, or None.
        epochs: in all, those that `state` has behind it included.
    """
    for done in range(int(state.epoch) + 1, epochs + 1):
        start = time.perf_counter()
        state, trained = jax.block_until_ready(programs.epochs[done](state, hparams, key, train))
        seconds = time.perf_counter() - start
        metrics = {"epoch": done, **_floats(trained)}
        if programs.evaluate is not None:
            held_out = programs.evaluate(state, hparams, validation)
            metrics |= {f"validation_{k}": v for k, v in _floats(held_out).items()}
        yield Epoch(state, metrics, seconds)


def _floats(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
