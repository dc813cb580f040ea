"""What a training run needs, from its compiled programs and from one step of it, timed."""

from typing import NamedTuple

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import training
from cnn_jax.training.devices import mesh_shape
from cnn_jax.training.programs import Cost, collective_bytes, program_cost

from .ablation_plan import duration
from .plan import Step, brief, measure_step, run_seconds, size
from .prepared import Prepared


class RunPlan(NamedTuple):
    """What is known of a run before it starts.

    Attributes:
        parameters: that are trained.
        parameter_bytes: theirs.
        cost: of the program of the last epoch.
        collective_bytes: that each device gives into exchanges in a step.
        step: as measured.
        seconds: about what all epochs take here.
    """

    parameters: int
    parameter_bytes: int
    cost: Cost
    collective_bytes: float
    step: Step
    seconds: float


def plan_run(prepared: Prepared) -> RunPlan:
    """Compiles a run's programs and a step alone, and times the step."""
    config, train, validation = prepared.config, prepared.dataset.train, prepared.validation
    begun = prepared.begin()
    epochs = training.compile_programs(prepared.run, *begun).epochs
    # The last epochs have the largest images.
    program = epochs[max(epochs)]
    step = measure_step(
        config, prepared.task, prepared.mesh, prepared.hparams, train, prepared.place
    )
    params = jax.tree.leaves(begun.state.params)
    return RunPlan(
        sum(leaf.size for leaf in params),
        sum(leaf.nbytes for leaf in params),
        program_cost(program),
        collective_bytes(program.as_text(), training.steps_per_epoch(config, len(train))),
        step,
        run_seconds(config, prepared.task, step, len(train), len(validation)),
    )


def print_plan(console: Console, prepared: Prepared, plan: RunPlan) -> None:
    """Prints what the run needs."""
    cost, devices = plan.cost, mesh_shape(prepared.mesh).size
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("the compiled run")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_row("parameters", f"{plan.parameters:,}", size(plan.parameter_bytes))
    table.add_row("activations", size(cost.temporary_bytes), "all temporaries, gradients too")
    table.add_row("bytes per device", size(cost.device_bytes), "the sum of these:")
    for name, value, meaning in (
        ("arguments", cost.argument_bytes, "data set, state"),
        ("outputs", cost.output_bytes, "state, metrics"),
        ("temporaries", cost.temporary_bytes, ""),
        ("aliased", cost.aliased_bytes, "less: outputs in the memory of arguments"),
    ):
        table.add_row(f"  {name}", size(value), meaning)
    table.add_row(
        "FLOPs per image", f"{plan.step.flops_per_image:,.0f}", "forward, backward, update"
    )
    table.add_row(
        "collective bytes per step",
        f"{plan.collective_bytes:,.0f}",
        f"each of {devices} devices" if devices > 1 else "one device",
    )
    table.add_row(
        "step", brief(plan.step.seconds), f"measured, {plan.step.images:,} images, warm, median"
    )
    console.print(table, soft_wrap=False)
    console.print(
        f"[bold]about {duration(plan.seconds)}[/] on this machine for "
        f"{prepared.config.epochs} epochs, compilation apart"
    )
