"""What the cells of a sweep need, from their compiled programs and from one step of each, timed."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import training
from cnn_jax.training.devices import MeshShape, make_mesh, mesh_shape
from cnn_jax.training.loop import Trainer, fitting
from cnn_jax.training.programs import Cost, collective_bytes, program_cost
from cnn_jax.training.sweep import Vectorization

from .ablation_plan import CellPlan, Data, duration
from .cells import place
from .plan import Step, brief, measure_step, run_seconds, size


class CellCost(NamedTuple):
    """What is known of a cell from its compiled programs.

    Attributes:
        trials: that share a program.
        cost: of the program of one epoch of them.
        collective_bytes: that each device gives into exchanges in a step.
        step: of one trial, as measured.
        seconds: about what all its trials take here, if one trained after another on each device.
    """

    trials: int
    cost: Cost
    collective_bytes: float
    step: Step
    seconds: float


def cost_of_cell(
    plan: CellPlan, loaded: Data, vectorization: Vectorization, shard_data: bool, most: int | None
) -> CellCost:
    """Compiles a cell's program and one trial's step, and times the step.

    Args:
        plan: of the cell.
        loaded: its data.
        vectorization: how the trials of a program run.
        shard_data: whether devices that share batches have their part of the data set only.
        most: trials per program, or None for what the memory holds.
    """
    trials, config, split = plan.cell.trials, plan.cell.config, loaded.dataset.train
    train, validation, _ = place(loaded, plan.mesh, shard_data)
    trainer = Trainer(plan.run, train, validation, vectorization, plan.mesh)
    together = fitting(trainer, trials, most)
    program = trainer.program(trials[:together])
    shape = mesh_shape(plan.mesh)
    mesh = make_mesh(MeshShape(batch=shape.batch))
    step = measure_step(
        config,
        loaded.task,
        mesh,
        trials[0].hparams,
        split,
        lambda part: training.to_device(part, mesh, shard_data),
    )
    one = run_seconds(config, loaded.task, step, len(split), len(loaded.validation))
    return CellCost(
        together,
        program_cost(program),
        collective_bytes(program.as_text(), training.steps_per_epoch(config, len(split))),
        step,
        one * len(trials) / min(shape.trial, len(trials)),
    )


def print_costs(console: Console, costs: Sequence[CellCost]) -> None:
    """Prints what every cell needs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (
        "cell", "trials per program", "arguments", "activations", "bytes per device",
        "FLOPs per image", "collective bytes per step", "step of a trial", "time",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for number, item in enumerate(costs, start=1):
        cost = item.cost
        table.add_row(
            str(number),
            f"{item.trials:,}",
            size(cost.argument_bytes),
            size(cost.temporary_bytes),
            size(cost.device_bytes),
            f"{item.step.flops_per_image:,.0f}",
            f"{item.collective_bytes:,.0f}",
            brief(item.step.seconds),
            duration(item.seconds),
        )
    console.print(table, soft_wrap=False)
    console.print(
        "The step of a trial was measured; the time is that of all trials if each device trained "
        "one after another, compilation apart."
    )
