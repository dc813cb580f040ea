"""Draws loss against learning rate in one sweep: `python -m experiments.lr_find --model=lenet5`.

Every option of train says what is trained, for one epoch if --epochs does not say otherwise, once
with each of --rates from --lowest_rate to --highest_rate: all of them are one program. The page
shows the losses at the end, and between which rates to tune.
"""

import math
from collections.abc import Sequence

import numpy as np
from absl import flags
from jaxtyping import Float
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from cnn_jax.analysis.ablation.rates import TriedRate, advise, render_rates
from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import Study
from cnn_jax.studies.planning import CellPlan, prepare
from cnn_jax.training import Trainer
from cnn_jax.training.grid import Trial, partition
from cnn_jax.training.loop import fitting

from . import as_started, command_line
from .flags import axes, machine, options
from .launch import launch, terminal
from .output import file_for
from .runs import plan, saved_run, study
from .runs.progress import MovingBar, move, pace

FLAGS = flags.FLAGS
for _module in (command_line, options, machine):
    flags.adopt_module_key_flags(_module)
flags.declare_key_flag("out")
flags.DEFINE_float("lowest_rate", 1e-5, "The smallest learning rate.", lower_bound=1e-12)
flags.DEFINE_float("highest_rate", 10.0, "The largest learning rate.", lower_bound=1e-12)
flags.DEFINE_integer("rates", 25, "How many, in equal factors.", lower_bound=2)

_PAGE = "lr_find.html"


def main() -> None:
    """Scans as the flags say."""
    saved_run.check_flags(main)
    console = terminal()
    machine.check_compiler()
    page = file_for("out", FLAGS.out or _PAGE)
    (cell,) = prepare(read(), machine.shape_for_trials, init_from=study.start()).plans
    tried = try_rates(console, cell)
    _print(console, tried)
    title = f"{cell.config.architecture.model} on {cell.loaded.dataset.name}"
    saved_run.write_page(page, render_rates(title, tried, as_started()))
    console.print(f"page: {page}", markup=False)


def read() -> Study:
    """The study that the flags describe: one axis, one seed.

    Raises:
        UsageError: for impossible flags.
    """
    if FLAGS.lowest_rate >= FLAGS.highest_rate:
        raise UsageError(
            f"--lowest_rate={FLAGS.lowest_rate:g} must be below "
            f"--highest_rate={FLAGS.highest_rate:g}"
        )
    given = options.given()
    if "learning_rate" in given:
        raise UsageError("--learning_rate is what is looked for: leave it out")
    rates = f"learning_rate=log:{FLAGS.lowest_rate!r}:{FLAGS.highest_rate!r}:{FLAGS.rates}"
    return axes.read_study([rates], [], 1, {"epochs": 1} | given)


def try_rates(console: Console, cell: CellPlan) -> list[TriedRate]:
    """Trains once with every rate; what has come of each, in rising order."""
    placed, trials, epochs = cell.place(FLAGS.shard_data), cell.cell.trials, cell.config.epochs
    trainer = Trainer(cell.run, placed.train, placed.validation, cell.vectorization, cell.mesh)
    columns = SpinnerColumn(), TextColumn("{task.description}"), MovingBar(), TimeElapsedColumn()
    found: list[TriedRate] = []
    with Progress(*columns, console=console, transient=True) as progress:
        expected = pace(1, plan.estimate_seconds([cell]) / epochs)
        bar = progress.add_task("compiling", total=epochs * len(trials), **expected)
        for members in partition(trials, fitting(trainer, trials, None), False):
            state, standing = trainer.start([trials[index] for index in members])
            inside = np.full((len(members), 1), math.nan)
            for end in trainer.fit(state, standing, epochs):
                standing, inside = end.standing, np.asarray(end.points.train_loss)
                done = len(found) * epochs + standing.epoch * len(members)
                move(progress, bar, done, description=f"epoch {standing.epoch} of {epochs}")
            found += [_tried(*item) for item in zip(standing.trials, inside, strict=False)]
    return sorted(found)


def _tried(trial: Trial, inside: Float[np.ndarray, " points"]) -> TriedRate:
    """What has come of one rate; the train loss is that of the last tenth of the last epoch."""
    last, lost = trial.history[-1], trial.status == "diverged"
    held_out = last.get("validation_loss")
    return TriedRate(
        trial.hparams["learning_rate"],
        math.nan if lost else float(inside[-max(1, len(inside) // 10) :].mean()),
        math.nan if lost and held_out is not None else held_out,
        last.get("validation_accuracy", last["train_accuracy"]),
    )


def _print(console: Console, tried: Sequence[TriedRate]) -> None:
    headings = ("learning rate", "train loss", "validation loss", "accuracy")
    table = Table(
        *(Column(heading, justify="right") for heading in headings), box=box.SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip
    for item in tried:
        held = "–" if item.validation_loss is None else f"{item.validation_loss:.4f}"
        row = f"{item.rate:.3g}", f"{item.train_loss:.4f}", held, f"{item.accuracy:.2%}"
        table.add_row(*row)
    console.print(table, soft_wrap=False)
    advice = advise(tried)
    if advice is None:
        console.print("no rate trains: the loss of every one is not finite; try smaller ones")
        return
    line = f"the lowest loss is that of {advice.best:.2g}"
    if advice.edge:
        line += f", the {advice.edge} that was tried: the best may lie beyond"
    if advice.too_large is not None:
        line += f"; from {advice.too_large:.2g} on it is twice as high, or not finite"
    console.print(line)
    console.print(f"look there with --vary=learning_rate={advice.grid} --tune=learning_rate")


if __name__ == "__main__":
    launch(main)
