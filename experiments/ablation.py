"""Trains a grid of networks as few programs and compares them: `python -m experiments.ablation`.

--vary=activation=relu,tanh --vary=loss=cross_entropy,hinge --tune=learning_rate --seeds=5 trains
every combination with every seed, chooses each row's learning rate on the validation split, reads
the test split once, and writes tables (CSV, Markdown, LaTeX) and report.html. Every option of
train is a flag here too, for what all networks share.
"""

import contextlib
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from absl import flags
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from cnn_jax import storage
from cnn_jax.analysis.pages import duration
from cnn_jax.display import count
from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import Study
from cnn_jax.studies.cells import Say, Show, run_cells
from cnn_jax.studies.kept_trials import WHICH, Keeper
from cnn_jax.studies.planning import CellPlan, Prepared
from cnn_jax.studies.run_directory import FLAGS_FILE, REPORT_FILE, RunDirectory, environment
from cnn_jax.studies.sweep import COMPARISONS, sweep_choices, sweep_record
from cnn_jax.studies.sweep_directory import KEPT_TRIALS, SUMMARY_FILE, CellResult, kept_runs
from cnn_jax.training.devices import mesh_shape
from cnn_jax.training.grid import UNREAD, Cell, Grid
from cnn_jax.training.processes import is_first
from cnn_jax.training.sweep import VECTORIZATIONS

from . import as_started, command
from .command_line import GROUPS
from .flags import axes, machine, options, rounds
from .launch import launch, terminal
from .runs import hosts, plan, study
from .runs.progress import MovingBar, move, pace
from .runs.serving import serving
from .runs.study import begin, underway

if TYPE_CHECKING:
    from cnn_jax.analysis.ablation import SweepRecord

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(study)
flags.adopt_module_key_flags(rounds)
flags.DEFINE_multi_string(
    "vary",
    [],
    "An axis: an option of train and its values, as in activation=relu,tanh or "
    "learning_rate=log:1e-3:3e-1:6 (or lin:low:high:n, or multiples of the default: x0.1,x1,x10). "
    "In an option that is a list, + stands between items: filters=16+32,32+64. May be repeated.",
)
flags.DEFINE_list(
    "tune",
    [],
    "Numbers that every row of the table has at its own best value, chosen on the validation "
    "split. Their values are those of --vary, or else found by --search.",
)
flags.DEFINE_integer(
    "seeds", 3, "Runs of every combination, with --seed, --seed + 1, ...", lower_bound=1
)
flags.DEFINE_list(
    "sources",
    None,
    "What differs from seed to seed, each by a stream of its own: init (initialization), order (of "
    "the data, and all that is drawn in training), split (which examples are held out and drawn to "
    "train on); the first two if not given. Intervals cover these, and where several are given the "
    "page says how much each does, by a few more trials of the baseline. The intervals of the "
    "table image by image cover other test images too.",
)
flags.DEFINE_string(
    "baseline",
    None,
    "The row that the others are compared with, as in activation=relu,loss=hinge; the first if "
    "not given.",
)
flags.DEFINE_enum(
    "compare",
    "baseline",
    COMPARISONS,
    "The rows with the baseline (Dunnett's test), or every pair of rows too (Tukey's).",
)
flags.DEFINE_float(
    "equivalent_within",
    0.2,
    "Differences of test accuracy smaller than this, in percentage points, do not matter: a row "
    "whose interval lies within is equivalent to the baseline.",
    lower_bound=0.0,
)
flags.DEFINE_enum(
    "keep",
    "chosen",
    WHICH,
    "Which trials are kept as runs that predict, evaluate and explain can use, in the folder kept: "
    "all seeds of the chosen values, the best of these on validation, of every row; or all that "
    "were trained to their end.",
)
flags.DEFINE_bool(
    "prune",
    False,
    "Stop tuned values that fall behind: after each stage of training the better half of a row's "
    "values goes on (successive halving). Needs --tune.",
)
flags.DEFINE_integer(
    "trials_per_program",
    None,
    "Trials that train in one program call; as many as the memory holds if not given.",
    lower_bound=1,
)
flags.DEFINE_enum(
    "vectorization",
    None,
    VECTORIZATIONS,
    "How the trials of a program run: one after another (map), in the same operations (vmap), or "
    "in these with convolutions as matrix products (products). If not given, whichever is fastest: "
    "map on CPU and for a single trial, products on accelerators.",
)
# A terminal of so many columns has a row's difference and its interval on one line.
_WIDE = 90
# They say where and how to compute and write, and not what.
_NOT_COMPUTED = {"plan", "workdir", "resume", "serve", *GROUPS["devices"], *GROUPS["hosts"]}


def main() -> None:
    """Sweeps as the flags say."""
    console = terminal()
    hosts.join(console)
    most = FLAGS.trials_per_program
    directory, prepared = begin("sweep", "ablation", read, choices, machine.shape_for_trials, most)
    plans = prepared.plans
    if FLAGS.plan:
        with console.status("compiling"):
            costs = [plan.measure(item, FLAGS.vectorization, most) for item in plans]
        print_sweep(console, prepared, sum(cost.seconds for cost in costs))
        plan.print_plan(console, plans, costs)
        return
    print_sweep(console, prepared, plan.estimate_seconds(plans))
    if FLAGS.resume:
        study.print_going_on(console, directory.path)
    keeper = Keeper(directory.path, prepared, FLAGS.keep, command("train"))
    with (
        serving(console, directory.path),
        underway("ablation", directory, flagfile(), choices(prepared), prepared),
    ):
        with _bar(console, plans) as (show, say):
            results = run_cells(
                show,
                directory.path,
                prepared,
                FLAGS.vectorization,
                most,
                FLAGS.prune,
                keeper,
                say=say,
                shard=FLAGS.shard_data,
                must_stop=hosts.must_stop,
                warn=lambda line: console.print(Text(line)),
            )
        if is_first():
            conclude(console, directory, prepared, keeper, results)


@contextlib.contextmanager
def _bar(console: Console, plans: Sequence[CellPlan]) -> Iterator[tuple[Show, Say]]:
    """A bar whose length is the work done, or where nobody sees it move a line for each cell."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MovingBar(bar_width=20),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    first = plans[0].cost / plans[0].cell.config.epochs / sum(item.cost for item in plans)
    expected = pace(first, first * plan.estimate_seconds(plans))

    def say(line: str) -> None:
        if not console.is_terminal:
            console.print(Text(line), soft_wrap=True)

    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=1.0, left="", **expected)
        yield lambda share, text, left: move(progress, bar, share, description=text, left=left), say


def choices(prepared: Prepared) -> dict[str, Any]:
    """What must be the same to go on with a sweep."""
    return sweep_choices(prepared, FLAGS.prune, FLAGS.vectorization)


def read() -> Study:
    """The study that the flags describe.

    Raises:
        UsageError: for impossible flags.
    """
    study = axes.read_study(
        FLAGS.vary,
        FLAGS.tune,
        FLAGS.seeds,
        options.given(),
        FLAGS.baseline,
        FLAGS.sources,
        **rounds.read(FLAGS.compare, FLAGS.equivalent_within / 100),
    )
    if FLAGS.prune and not study.tuned:
        raise UsageError(
            "--prune stops tuned values that fall behind, but nothing is tuned, and the rows that "
            "are compared all train to the end; give --tune=learning_rate, or leave --prune out"
        )
    return study


def print_sweep(console: Console, prepared: Prepared, seconds: float) -> None:
    """Prints cells, trials, parameters, memory, about how long all take, and on which devices."""
    sweep, plans, grid = prepared.study, prepared.plans, prepared.study.grid
    for loaded in prepared.loaded:
        if loaded.dataset.notes:
            console.print(Text(loaded.dataset.name, style="bold"))
            study.print_notes(console, loaded.dataset)
    study.print_batches(console, plans[0])
    headings = ("cell", "rows", "trials", "parameters", "memory of the states")
    cell, *others = [Column(heading, justify="right") for heading in headings]
    table = Table(cell, "what is compiled in", *others, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, item in enumerate(plans, start=1):
        # Two copies: the state that an epoch reads and the one that it writes.
        states = 2 * item.state_bytes * len(item.cell.trials)
        table.add_row(
            str(number),
            _shared_values(grid, item.cell),
            str(len(item.cell.variants)),
            str(len(item.cell.trials)),
            f"{item.parameters:,}",
            f"{states / 2**20:,.1f} MiB",
        )
    console.print(table, soft_wrap=False)
    trials = sum(len(item.cell.trials) for item in plans)
    console.print(
        f"[bold]{count(trials, 'network')}[/] in {count(len(plans), 'program')}: "
        f"{count(len(grid.variants), 'row')} of the table, {count(len(sweep.seeds), 'seed')}; "
        f"about {duration(seconds)} on this machine"
    )
    _print_devices(console, plans)
    if not sweep.tuned and "learning_rate" not in (axis.name for axis in sweep.axes):
        console.print(
            "[yellow]note:[/] nothing is tuned. All rows train at the numbers given or at their "
            "optimizer's defaults, which suit some better than others; --tune=learning_rate "
            "compares each row at its own best"
        )


def _print_devices(console: Console, plans: Sequence[CellPlan]) -> None:
    cells: dict[str, list[str]] = {}
    for number, item in enumerate(plans, start=1):
        text = machine.describe_shape(mesh_shape(item.mesh), item.together)
        cells.setdefault(text, []).append(str(number))
    for text, numbers in cells.items():
        if text:
            which = f"cell {', '.join(numbers)}: " if len(cells) > 1 else ""
            console.print(f"{which}{text}")


def _shared_values(grid: Grid, cell: Cell) -> str:
    """The values of the compared axes that all rows of a cell have in common."""
    rows = [grid.variants[variant] for variant in cell.variants]
    common = [
        f"{name}={value}"
        for name, value in rows[0].items()
        if all(row[name] == value for row in rows) and value != UNREAD
    ]
    return " ".join(common) or "all"


def flagfile() -> str:
    """The flags that were given, and say what to compute, one a line."""
    own = FLAGS.get_key_flags_for_module(FLAGS.find_module_defining_flag("vary"))
    given = {flag.name: flag for flag in own if not flag.using_default_value}
    kept = sorted(given.keys() - _NOT_COMPUTED)
    return "".join(given[name].serialize() + "\n" for name in kept)


def conclude(
    console: Console,
    directory: RunDirectory,
    prepared: Prepared,
    keeper: Keeper,
    results: Sequence[CellResult],
) -> None:
    """Writes the tables and the report."""
    from cnn_jax.analysis import ablation, figures

    shown = storage.read(directory.path / FLAGS_FILE).decode()
    record = sweep_record(
        prepared,
        results,
        shown,
        environment(as_started()),
        equivalent_within=FLAGS.equivalent_within / 100,
        all_pairs=FLAGS.compare == "all",
        keeper=keeper,
        detect=None if FLAGS.detect is None else FLAGS.detect / 100,
    )
    with console.status("writing the report"):
        directory.write("results.csv", ablation.results_csv(record))
        directory.write(SUMMARY_FILE, ablation.summary_csv(record))
        directory.write("table.md", ablation.markdown_table(record))
        directory.write("table.tex", ablation.latex_table(record))
        directory.write("means.png", figures.png_bytes(ablation.dot_plot(record)))
        directory.write(REPORT_FILE, ablation.render_ablation_report(record))
    print_table(console, record)
    console.print(
        f"{len(record.trials)} networks in {record.programs} programs; compiled and trained in "
        f"{duration(record.total_seconds)}"
    )
    if kept := sum(map(len, kept_runs(directory.path).values())):
        networks = count(kept, "network")
        console.print(Text(f"{networks} kept, each a run: {directory.path / KEPT_TRIALS}"))
    console.print(Text(f"report: {directory.path / REPORT_FILE}"))
    repeat = (
        f"repeat it: {command('ablation')} --flagfile={quote(str(directory.path / FLAGS_FILE))}"
    )
    console.print(Text(repeat))


def print_table(console: Console, record: "SweepRecord") -> None:
    """Prints the rows, each told apart from the others in sixty columns, and what to know of them.

    Where there is room, a difference stands on one line with its interval.
    """
    from cnn_jax.analysis import ablation

    def numbers(heading: str) -> Column:
        return Column(heading, justify="right", no_wrap=True)

    compared = [numbers("points"), Column("verdict")] if record.baseline is not None else []
    name = Column(" · ".join((*record.axes, *record.tuned)), overflow="fold")
    table = Table(name, numbers("accuracy (%)"), *compared, box=box.SIMPLE_HEAD, pad_edge=False)
    between = " " if console.width >= _WIDE else "\n"
    for row in ablation.table_rows(record):
        names = " · ".join((*row.names, *row.tuned)) + f" ({row.marks})" * bool(row.marks)
        cells = [
            Text(names),
            Text(row.accuracy.replace(" [", f"{between}["), "bold" if row.best else ""),
            Text(f"{row.difference}{between}{row.interval}".strip()),
            Text(row.verdict.replace(" (", f"{between}(")),
        ]
        table.add_row(*cells[: 2 + len(compared)])
    console.print(table, soft_wrap=False)
    console.print(Text(ablation.caption(record)), soft_wrap=False)
    for letter, words in ablation.remarks(record):
        console.print(Text(f"({letter}) {words}" if letter else words), soft_wrap=False)
    for words in ablation.effect_words(record):
        console.print(Text(words), soft_wrap=False)
    if pairs := ablation.pair_rows(record):
        table = Table(*ablation.PAIR_HEADINGS[:3], "verdict", box=box.SIMPLE_HEAD, pad_edge=False)
        for first, second, difference, *_, verdict in pairs:
            texts = (first, second, difference.replace(" [", f"{between}["), verdict)
            table.add_row(*(Text(text) for text in texts))
        console.print(table, soft_wrap=False)
        console.print(Text(ablation.PAIRS), soft_wrap=False)


if __name__ == "__main__":
    launch(main, goes_on=True)
