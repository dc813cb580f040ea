"""What a sweep will compile, hold in memory and take, known before anything runs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import data, training
from cnn_jax.models import build_abstract, count_parameters, multiplications
from cnn_jax.training.devices import make_mesh, mesh_shape
from cnn_jax.training.grid import UNREAD, Cell, Grid

from ..flags import machine, options
from ..flags.axes import Study

# Forward and backward take three times the forward pass; a multiplication comes with an addition.
_OPERATIONS_PER_MULTIPLICATION = 2
_PASSES_PER_STEP = 3
# What a training step reaches of the speed of a large matrix product: 0.15 to 0.25 was measured on
# CPU for the networks of `benchmarks.train_step`.
_EFFICIENCY = 0.2
_SECONDS_PER_PROGRAM = 6.0


class Data(NamedTuple):
    """A data set as the cells that use it share it."""

    dataset: data.Dataset
    validation: data.Split
    task: training.Task


class CellPlan(NamedTuple):
    """What is known of a cell before it runs.

    Attributes:
        cell: its trials and static choices.
        run: the functions of one trial.
        together: the most trials that share a program.
        parameters: of its network.
        mesh: the devices of its programs, or None for a single one.
        state_bytes: of one trial's parameters, statistics and optimizer state.
        operations: floating-point operations to train one trial.
    """

    cell: Cell
    run: training.Run
    together: int
    parameters: int
    mesh: Mesh | None
    state_bytes: int
    operations: float

    @property
    def cost(self) -> float:
        """Operations of all its trials."""
        return self.operations * len(self.cell.trials)


def load_data(grid: Grid) -> dict[Any, Data]:
    """Every data set that the grid asks for, by what identifies it.

    Raises:
        UsageError: if one cannot be read.
    """
    loaded = {}
    for key in dict.fromkeys(cell.data for cell in grid.cells):
        dataset, validation = options.read_dataset(dict(key))
        loaded[key] = Data(dataset, validation, options.read_task(dataset))
    return loaded


def plan_cells(grid: Grid, loaded: Mapping[Any, Data], most: int | None) -> list[CellPlan]:
    """Plans every cell, and refuses those that cannot run.

    Args:
        grid: of cells.
        loaded: data sets by what identifies them.
        most: trials per program, or None for no limit.

    Raises:
        UsageError: if images are too small for a network, a batch is larger than the split or
            cannot be split over the devices, or these are not there.
    """
    return [_plan(cell, loaded[cell.data], most) for cell in grid.cells]


def _plan(cell: Cell, loaded: Data, most: int | None) -> CellPlan:
    task, examples = loaded.task, len(loaded.dataset.train)
    training.steps_per_epoch(cell.config, examples)
    trials = min(most or len(cell.trials), len(cell.trials))
    together = training.examples_together(cell.config)
    mesh = make_mesh(machine.shape_for_trials(trials, together))
    run = training.make_run(cell.config, task, mesh)
    model = build_abstract(cell.config.architecture, task.image_shape, task.num_classes)
    rows = count_parameters(model, task.image_shape)
    hparams = {name: jnp.float32(value) for name, value in cell.trials[0].hparams.items()}
    state = jax.eval_shape(run.init, hparams, jax.random.key(0))
    images = cell.config.epochs * (_PASSES_PER_STEP * examples + len(loaded.validation))
    return CellPlan(
        cell,
        run,
        trials,
        sum(row.counted for row in rows),
        mesh,
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        float(_OPERATIONS_PER_MULTIPLICATION * multiplications(rows) * images),
    )


def estimate_seconds(plans: Sequence[CellPlan]) -> float:
    """About how long all cells take here, from a matrix product that is timed now."""
    size, repeats = 1024, 5
    product = jax.jit(jnp.dot)
    matrix = jnp.ones((size, size))
    product(matrix, matrix).block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        times.append(time.perf_counter() - start)
    speed = _EFFICIENCY * _OPERATIONS_PER_MULTIPLICATION * size**3 / min(times)
    return sum(plan.cost for plan in plans) / speed + _SECONDS_PER_PROGRAM * len(plans)


def print_plan(console: Console, study: Study, plans: Sequence[CellPlan], seconds: float) -> None:
    """Prints cells, trials, programs, parameters, memory and about how long all take."""
    grid = study.grid
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cell", justify="right")
    table.add_column("what is compiled in")
    for heading in ("rows", "trials", "parameters", "memory of the states"):
        table.add_column(heading, justify="right")
    for number, plan in enumerate(plans, start=1):
        # Two copies: the state that an epoch reads and the one that it writes.
        states = 2 * plan.state_bytes * len(plan.cell.trials)
        table.add_row(
            str(number),
            cell_name(grid, plan.cell),
            str(len(plan.cell.variants)),
            str(len(plan.cell.trials)),
            f"{plan.parameters:,}",
            f"{states / 2**20:,.1f} MiB",
        )
    console.print(table, soft_wrap=False)
    trials = sum(len(plan.cell.trials) for plan in plans)
    console.print(
        f"[bold]{_count(trials, 'network')}[/] in {_count(len(plans), 'program')}: "
        f"{_count(len(grid.variants), 'row')} of the table, {_count(len(study.seeds), 'seed')}; "
        f"about {duration(seconds)} on this machine"
    )
    _print_devices(console, plans)
    if not study.tuned and "learning_rate" not in (axis.name for axis in study.axes):
        console.print(
            "[yellow]note:[/] nothing is tuned. All rows train at the numbers given or at their "
            "optimizer's defaults, which suit some better than others; --tune=learning_rate "
            "compares each row at its own best"
        )


def _print_devices(console: Console, plans: Sequence[CellPlan]) -> None:
    cells: dict[str, list[str]] = {}
    for number, plan in enumerate(plans, start=1):
        text = machine.describe_shape(mesh_shape(plan.mesh), plan.together)
        cells.setdefault(text, []).append(str(number))
    for text, numbers in cells.items():
        if text:
            which = f"cell {', '.join(numbers)}: " if len(cells) > 1 else ""
            console.print(f"{which}{text}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cell_name(grid: Grid, cell: Cell) -> str:
    """The values of the compared axes that all rows of a cell have in common."""
    rows = [grid.variants[variant] for variant in cell.variants]
    common = [
        f"{name}={value}"
        for name, value in rows[0].items()
        if all(row[name] == value for row in rows) and value != UNREAD
    ]
    return " ".join(common) or "all"


def row_name(grid: Grid, variant: int) -> str:
    """The values of a row on the compared axes that it reads."""
    row = grid.variants[variant].items()
    return " ".join(f"{name}={value}" for name, value in row if value != UNREAD)


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
