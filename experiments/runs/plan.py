"""What the plans of a run and of a sweep share: the flag, and one step, compiled and timed."""

import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh

from cnn_jax import data, training
from cnn_jax.ops.augment.batch import TEST_TIME
from cnn_jax.training.batches import sizes
from cnn_jax.training.devices import replicate
from cnn_jax.training.programs import compile_epoch, one_step, program_cost

flags.DEFINE_bool(
    "plan",
    False,
    "Compile, time one step, and print what would be trained and what it needs: parameters, "
    "memory, operations, exchanges between devices, time. Trains nothing and writes nothing.",
)

# Measurements end after so many seconds or calls, whichever comes first.
_SECONDS, _CALLS = 2.0, 20
# A training step goes through the network forward, and back for two gradients.
_PASSES_PER_STEP = 3


class Step(NamedTuple):
    """A step of one network as it was compiled and timed here.

    Attributes:
        images: in it; with micro-batches it is one of them, with an update.
        flops_per_image: forward, backward and the image's share of the update.
        seconds: its time, the median of several after one that warms up.
    """

    images: int
    flops_per_image: float
    seconds: float


def measure_step(
    config: training.Config,
    task: training.Task,
    mesh: Mesh | None,
    hparams: dict[str, float],
    train: data.Split,
    place: Callable[[data.Split], training.Examples],
) -> Step:
    """Compiles and times one training step.

    Args:
        config: of the run.
        task: the shape of the problem.
        mesh: the devices that share a batch, or None for one.
        hparams: the numbers that the run reads.
        train: the training split, of which the step sees the first examples.
        place: puts a split on the devices of the mesh.
    """
    alone, images = one_step(config)
    run = training.make_run(alone, task, mesh)
    examples = place(data.Split(train.images[:images], train.labels[:images]))
    numbers = {name: jnp.float32(value) for name, value in hparams.items()}
    traced, key = replicate((numbers, jax.random.key(0)), mesh)
    state = replicate(jax.jit(run.init)(traced, key, examples), mesh)
    program = compile_epoch(run.epoch, state, traced, key, examples)
    seconds: list[float] = []
    while sum(seconds[1:]) < _SECONDS and len(seconds) <= _CALLS:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, traced, key, examples))
        seconds.append(time.perf_counter() - start)
    devices = mesh.size if mesh else 1
    flops = program_cost(program).flops * devices / images
    return Step(images, flops, statistics.median(seconds[1:]))


def run_seconds(
    config: training.Config, task: training.Task, step: Step, train: int, validation: int
) -> float:
    """About what all epochs of a run take, evaluation on the examples held out included.

    An epoch on smaller images is reckoned at their share of the pixels.

    Args:
        config: of the run.
        task: the shape of the problem.
        step: measured.
        train: examples to train on.
        validation: examples held out, an image of which takes a third of a training step's share.
    """
    steps = training.steps_per_epoch(config, train)
    parts = steps * config.micro_batches
    if training.OPTIMIZERS[config.optimizer].full_batch:
        parts = math.ceil(train / step.images)
    image = jax.ShapeDtypeStruct((1, *task.image_shape), jnp.float32)
    views = len(jax.eval_shape(TEST_TIME[config.tta], image).images)
    evaluated = validation * views / _PASSES_PER_STEP / step.images
    height, width, _ = task.image_shape
    full = sum(rows * columns for rows, columns in sizes(config, task)) / (height * width)
    return (full * parts + config.epochs * evaluated) * step.seconds


def size(count: float) -> str:
    """Bytes as a reader says them."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(count, 1024)) if count >= 1 else 0, len(units) - 1)
    return f"{count / 1024**power:,.{1 if power else 0}f} {units[power]}"


def brief(seconds: float) -> str:
    """The time of a step as a reader says it."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
