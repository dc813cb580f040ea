"""Trains a grid of networks as few programs and compares them: `python -m experiments.ablation`.

--vary=activation=relu,tanh --vary=loss=cross_entropy,hinge --tune=learning_rate --seeds=5 trains
every combination with every seed, chooses each row's learning rate on the validation split, reads
the test split once, and writes tables (CSV, Markdown, LaTeX) and report.html. Every option of
experiments.train is a flag here too, for what all networks share.
"""

from typing import Any, NamedTuple

from absl import flags
from rich.console import Console
from rich.markdown import Markdown

from cnn_jax.errors import UsageError
from cnn_jax.training.processes import is_first, together
from cnn_jax.training.sweep import VECTORIZATIONS, Vectorization, default_vectorization

from . import command, command_line
from .flags import axes, hosts, machine, options
from .launch import launch, terminal
from .runs import ablation_costs, ablation_plan, plan, run_directory
from .runs.ablation_costs import CellCost
from .runs.ablation_plan import CellPlan, Data, duration
from .runs.cells import run_cells
from .runs.progress import Board
from .runs.run_directory import (
    FLAGS_FILE,
    REPORT_FILE,
    RunDirectory,
    environment,
    given_flags_text,
    open_directory,
)
from .runs.sweep_directory import (
    FIGURE_FILE,
    LATEX_FILE,
    MARKDOWN_FILE,
    RESULTS_FILE,
    SUMMARY_FILE,
    CellDirectory,
)

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(command_line)
flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(machine)
flags.adopt_module_key_flags(hosts)
flags.adopt_module_key_flags(plan)
flags.adopt_module_key_flags(run_directory)
flags.DEFINE_multi_string(
    "vary",
    [],
    "An axis: an option of experiments.train and its values, as in activation=relu,tanh or "
    "learning_rate=log:1e-3:3e-1:6 (or lin:low:high:n, or multiples of the default: x0.1,x1,x10). "
    "In an option that is a list, + stands between items: filters=16+32,32+64. May be repeated.",
)
flags.DEFINE_list(
    "tune",
    [],
    "Numbers that every row of the table has at its own best value, chosen on the validation "
    "split. Their values are those of --vary, or else multiples of the default.",
)
flags.DEFINE_integer(
    "seeds", 3, "Runs of every combination, with --seed, --seed + 1, ...", lower_bound=1
)
flags.DEFINE_string(
    "baseline",
    None,
    "The row that the others are compared with, as in activation=relu,loss=hinge; the first if "
    "not given.",
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
    "How the trials of a program run: one after another (map), or in the same operations (vmap). "
    "If not given, whichever is faster: map on CPU, vmap elsewhere.",
)
_NOT_COMPUTED = frozenset({"plan", "workdir", "resume"})


class Prepared(NamedTuple):
    """A sweep that has all it needs to start."""

    study: axes.Study
    baseline: int
    loaded: dict[Any, Data]
    plans: list[CellPlan]


def main() -> None:
    """Sweeps as the flags say."""
    console = terminal()
    hosts.join(console)
    directory, prepared = together(begin)
    study, plans = prepared.study, prepared.plans
    if FLAGS.plan:
        costs = measure(console, prepared)
        ablation_plan.print_plan(console, study, plans, sum(cost.seconds for cost in costs))
        ablation_costs.print_costs(console, costs)
        return
    ablation_plan.print_plan(console, study, plans, ablation_plan.estimate_seconds(plans))
    hosts.check_data(loaded.dataset for loaded in prepared.loaded.values())
    if not FLAGS.resume:
        content = given_flags_text("vary", _NOT_COMPUTED | machine.names() | hosts.names())
        together(lambda: directory.create(content, describe(prepared)))
    together(directory.check_there)
    with hosts.going_on_with(
        f"{command('ablation')} --workdir={directory.path} --resume{machine.given_text()}"
    ):
        results = run_cells(
            Board(console, study.grid, plans),
            [CellDirectory(directory.path, index) for index in range(len(plans))],
            plans,
            prepared.loaded,
            vectorization=vectorization(),
            shard_data=FLAGS.shard_data,
            most=FLAGS.trials_per_program,
            prune=FLAGS.prune,
            must_stop=hosts.must_stop,
        )
    if is_first():
        conclude(console, directory, prepared, results)


def begin() -> tuple[RunDirectory, Prepared]:
    """The folder to write to and the sweep, before anything is written.

    Raises:
        UsageError: for whatever cannot work.
    """
    directory = open_directory("sweep", "ablation", FLAGS.plan)
    prepared = prepare()
    if FLAGS.resume:
        directory.check_same(describe(prepared))
    return directory, prepared


def prepare() -> Prepared:
    """Reads flags and data and plans every cell; refuses whatever cannot work.

    Raises:
        UsageError: for impossible flags or data.
    """
    study = axes.read_study(FLAGS.vary, FLAGS.tune, FLAGS.seeds, options.given())
    if FLAGS.prune and not study.tuned:
        raise UsageError(
            "--prune stops tuned values that fall behind, but nothing is tuned, and the rows that "
            "are compared all train to the end; give --tune=learning_rate, or leave --prune out"
        )
    baseline = axes.find_variant(FLAGS.baseline, study) if FLAGS.baseline else 0
    loaded = ablation_plan.load_data(study.grid)
    if study.tuned and not all(len(item.validation) for item in loaded.values()):
        raise UsageError(
            "--tune chooses on the validation split, but --validation_fraction=0 leaves none"
        )
    plans = ablation_plan.plan_cells(study.grid, loaded, FLAGS.trials_per_program)
    return Prepared(study, baseline, loaded, plans)


def measure(console: Console, prepared: Prepared) -> list[CellCost]:
    """Compiles and times what every cell needs."""
    costs = []
    with console.status("compiling"):
        for item in prepared.plans:
            costs.append(
                ablation_costs.cost_of_cell(
                    item,
                    prepared.loaded[item.cell.data],
                    vectorization(),
                    FLAGS.shard_data,
                    FLAGS.trials_per_program,
                )
            )
    return costs


def vectorization() -> Vectorization:
    """How trials run together: as the flag says, or as is fastest here."""
    return FLAGS.vectorization or default_vectorization()


def describe(prepared: Prepared) -> dict[str, Any]:
    """What must be the same to go on with a sweep: its rows, and its trials cell by cell."""
    grid = prepared.study.grid
    described: dict[str, Any] = {
        "rows": grid.variants,
        "baseline": prepared.baseline,
        "prune": FLAGS.prune,
        "vectorization": FLAGS.vectorization,
    }
    for index, cell in enumerate(grid.cells, start=1):
        described[f"cell {index}"] = {
            "choices": options.describe(dict(cell.data), cell.config, {}),
            "trials": [[trial.variant, trial.seed, trial.hparams] for trial in cell.trials],
        }
    return described


def conclude(
    console: Console,
    directory: RunDirectory,
    prepared: Prepared,
    results: list[dict[str, Any]],
) -> None:
    """Writes the tables and the report."""
    from cnn_jax.analysis import ablation, figures

    record = _record(directory, prepared, results)
    with console.status("writing the report"):
        directory.write(RESULTS_FILE, ablation.results_csv(record))
        directory.write(SUMMARY_FILE, ablation.summary_csv(record))
        directory.write(MARKDOWN_FILE, ablation.markdown_table(record))
        directory.write(LATEX_FILE, ablation.latex_table(record))
        directory.write(FIGURE_FILE, figures.png_bytes(ablation.dot_plot(record)))
        directory.write(REPORT_FILE, ablation.render_ablation_report(record))
    console.print(Markdown(ablation.markdown_table(record)), soft_wrap=False)
    console.print(
        f"{len(record.trials)} networks in {record.programs} programs; compiled and trained in "
        f"{duration(record.total_seconds)}"
    )
    console.print(f"report: {directory.path / REPORT_FILE}")
    console.print(f"repeat it: {command('ablation')} --flagfile={directory.path / FLAGS_FILE}")


def _record(directory: RunDirectory, prepared: Prepared, results: list[dict[str, Any]]) -> Any:
    from cnn_jax.analysis.ablation import SweepRecord, Trial

    study, grid = prepared.study, prepared.study.grid
    trials = [trial for result in results for trial in result["trials"]]
    spent = [0.0] * len(grid.variants)
    parameters = [0] * len(grid.variants)
    for result in results:
        for trial in result["trials"]:
            spent[trial["variant"]] += trial["seconds"]
            parameters[trial["variant"]] = result["parameters"]
    loaded = next(iter(prepared.loaded.values()))
    return SweepRecord(
        dataset=" / ".join(dict.fromkeys(d.dataset.name for d in prepared.loaded.values())),
        model=" / ".join(dict.fromkeys(c.config.architecture.model for c in grid.cells)),
        axes={axis.name: _values(axis.name, grid.variants) for axis in study.compared},
        variants=grid.variants,
        tuned={
            name: sorted({trial["tuned"][name] for trial in trials if name in trial["tuned"]})
            for name in study.tuned
        },
        seeds=study.seeds,
        baseline=prepared.baseline if len(grid.variants) > 1 else None,
        trials=[
            Trial(
                variant=trial["variant"],
                tuned=trial["tuned"],
                seed=trial["seed"],
                history=trial["history"],
                status=trial["status"],
                chosen=trial["chosen"],
                test_accuracy=trial["test"] and trial["test"]["accuracy"],
                test_loss=trial["test"] and trial["test"]["loss"],
            )
            for trial in trials
        ],
        seconds=spent,
        test_examples=len(loaded.dataset.test),
        validation_examples=len(loaded.validation),
        programs=sum(result["programs"] for result in results),
        total_seconds=sum(spent) + sum(result["compile_seconds"] for result in results),
        parameters=parameters,
        flags=(directory.path / FLAGS_FILE).read_text(),
        environment=environment(),
    )


def _values(name: str, variants: tuple[dict[str, str], ...]) -> list[str]:
    return list(dict.fromkeys(variant[name] for variant in variants))


if __name__ == "__main__":
    launch(main)
