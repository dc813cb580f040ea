"""What a study needs, from its compiled programs and from one step of each cell, timed."""

import math
import statistics
import time
import timeit
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import compilation, training
from cnn_jax.analysis.pages import duration
from cnn_jax.memory import size
from cnn_jax.ops.augment import TEST_TIME
from cnn_jax.studies.planning import PASSES_PER_STEP, CellPlan
from cnn_jax.training import Trainer
from cnn_jax.training.devices import MeshShape, make_mesh, mesh_shape, replicate
from cnn_jax.training.loop import fitting
from cnn_jax.training.programs import Cost, collective_bytes, compile_epoch, one_step, program_cost
from cnn_jax.training.sweep import Vectorization
from cnn_jax.training.task import sizes

FLAGS = flags.FLAGS

# Measurements end after so many seconds or calls, whichever comes first.
_SECONDS, _CALLS = 2.0, 20
# What a training step reaches of the speed of a large matrix product: 0.15 to 0.25 was measured on
# CPU for the networks of `benchmarks.train_step`.
_EFFICIENCY = 0.2
_SECONDS_PER_PROGRAM = 6.0
# What is left out where several cells stand below each other.
_ONLY_ALONE = frozenset({"parameters", "outputs", "aliased"})


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


class CellCost(NamedTuple):
    """What is known of a cell from its compiled programs.

    Attributes:
        trials: that share a program.
        cost: of the program of the last epoch of them.
        collective_bytes: that each device gives into exchanges in a step.
        step: of one trial, as measured.
        seconds: about what all its trials take here, if one trained after another on each device.
    """

    trials: int
    cost: Cost
    collective_bytes: float
    step: Step
    seconds: float


def measure(
    plan: CellPlan, vectorization: Vectorization | None = None, most: int | None = None
) -> CellCost:
    """Compiles a cell's program and one trial's step, and times the step.

    Args:
        plan: of the cell.
        vectorization: how the trials of a program run; as the plan says if not given.
        most: trials per program, or None for what the memory holds.
    """
    trials, config = plan.cell.trials, plan.config
    dataset, validation, task, _ = plan.loaded
    placed = plan.place(FLAGS.shard_data)
    way = vectorization or plan.vectorization
    trainer = Trainer(plan.run, placed.train, placed.validation, way, plan.mesh)
    together = fitting(trainer, trials, most)
    program = trainer.program(trials[:together])
    step = _measure_step(plan)
    one = run_seconds(config, task, step, len(dataset.train), len(validation))
    steps = training.steps_per_epoch(config, len(dataset.train))
    return CellCost(
        together,
        program_cost(program),
        collective_bytes(program.as_text(), steps),
        step,
        one * len(trials) / min(mesh_shape(plan.mesh).trial, len(trials)),
    )


def _measure_step(plan: CellPlan) -> Step:
    """Compiles and times one training step of one trial."""
    alone, images = one_step(plan.config)
    mesh = make_mesh(MeshShape(batch=mesh_shape(plan.mesh).batch))
    run = training.make_run(alone, plan.loaded.task, mesh)
    train = plan.loaded.dataset.train
    examples = training.to_device(train[:images], mesh, FLAGS.shard_data)
    numbers = {name: jnp.float32(value) for name, value in plan.cell.trials[0].hparams.items()}
    traced, key = replicate((numbers, jax.random.key(0)), mesh)
    state = replicate(compilation.jit(run.init)(traced, key, examples), mesh)
    program = compile_epoch(run.epoch, state, traced, key, examples)
    seconds: list[float] = []
    while sum(seconds[1:]) < _SECONDS and len(seconds) <= _CALLS:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, traced, key, examples))
        seconds.append(time.perf_counter() - start)
    flops = program_cost(program).flops * mesh_shape(mesh).size / images
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
    evaluated = validation * views / PASSES_PER_STEP / step.images
    height, width, _ = task.image_shape
    full = sum(rows * columns for rows, columns in sizes(config, task)) / (height * width)
    return (full * parts + config.epochs * evaluated) * step.seconds


def estimate_seconds(plans: Sequence[CellPlan]) -> float:
    """About how long all cells take here, from a matrix product that is timed now."""
    side = 1024
    product = compilation.jit(jnp.dot)
    matrix = jnp.ones((side, side))
    # Of the six calls the first one compiles.
    times = timeit.repeat(lambda: product(matrix, matrix).block_until_ready(), number=1, repeat=6)
    speed = _EFFICIENCY * 2 * side**3 / min(times)
    return sum(plan.cost for plan in plans) / speed + _SECONDS_PER_PROGRAM * len(plans)


def print_plan(console: Console, plans: Sequence[CellPlan], costs: Sequence[CellCost]) -> None:
    """Prints what every cell needs: of one, what each number means too."""
    columns = [_quantities(plan, cost) for plan, cost in zip(plans, costs, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if len(columns) == 1:
        table.add_column("what is compiled")
        table.add_column("", justify="right")
        table.add_column("")
        for row in columns[0]:
            table.add_row(*row)
    else:
        for heading in ("cell", *(name for name, *_ in columns[0] if name not in _ONLY_ALONE)):
            table.add_column(heading, justify="right")
        for number, column in enumerate(columns, start=1):
            values = (value for name, value, _ in column if name not in _ONLY_ALONE)
            table.add_row(str(number), *values)
    console.print(table, soft_wrap=False)


def _quantities(plan: CellPlan, found: CellCost) -> list[tuple[str, str, str]]:
    """Names, values and what is to be said of them."""
    cost, devices, trials = found.cost, mesh_shape(plan.mesh).size, len(plan.cell.trials)
    seconds = found.step.seconds
    return [
        ("trials per program", f"{found.trials:,}", f"of {trials:,}"),
        ("parameters", f"{plan.parameters:,}", "of a trial"),
        ("arguments", size(cost.argument_bytes), "data set, state"),
        ("outputs", size(cost.output_bytes), "state, metrics"),
        ("aliased", size(cost.aliased_bytes), "outputs in the memory of arguments"),
        ("activations", size(cost.temporary_bytes), "all temporaries, gradients too"),
        ("bytes per device", size(cost.device_bytes), "the sum of these, less what is aliased"),
        ("FLOPs per image", f"{found.step.flops_per_image:,.0f}", "forward, backward, update"),
        (
            "collective bytes per step",
            f"{found.collective_bytes:,.0f}",
            f"each of {devices} devices" if devices > 1 else "one device",
        ),
        (
            "step",
            f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms",
            f"measured, {found.step.images:,} images of a trial, warm, median",
        ),
        (
            "time",
            duration(found.seconds),
            "on this machine, trials one after another, compilation apart"
            if trials > 1
            else f"on this machine for {plan.cell.config.epochs} epochs, compilation apart",
        ),
    ]
