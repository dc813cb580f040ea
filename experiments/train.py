"""Trains one network and writes a report: `python -m experiments.train --dataset=mnist`.

Every choice is a flag. The run directory holds flags.txt (a flagfile that repeats the run),
metrics.jsonl (one line an epoch), steps.jsonl (about 100 an epoch), the checkpoint,
environment.json, result.json and report.html.
"""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from absl import flags
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from cnn_jax import storage
from cnn_jax.analysis.evaluate import Evaluation
from cnn_jax.analysis.index import with_way_back
from cnn_jax.analysis.pages import duration
from cnn_jax.display import count
from cnn_jax.errors import DivergedError, UsageError
from cnn_jax.models import MODELS, Architecture
from cnn_jax.studies import tracking
from cnn_jax.studies.axes import lone_study
from cnn_jax.studies.choices import OF_RUN, every_choice
from cnn_jax.studies.lone_run import Keep, LoneRun, read_test_split, write_result
from cnn_jax.studies.overview import write_index
from cnn_jax.studies.planning import CellPlan, Placed, Prepared
from cnn_jax.studies.run_directory import (
    FLAGS_FILE,
    REPORT_FILE,
    RunDirectory,
    environment,
    planned_epochs,
)
from cnn_jax.studies.tracking import Tracker
from cnn_jax.training import checkpoints
from cnn_jax.training.devices import mesh_shape
from cnn_jax.training.processes import is_first
from cnn_jax.training.step import constant_rate

from . import as_started, command
from .flags import machine, options, page_weights
from .launch import launch, terminal
from .runs import hosts, plan, study
from .runs.next_steps import what_next
from .runs.progress import MovingBar, move, pace
from .runs.serving import serving
from .runs.study import begin, underway
from .runs.workdir import flags_text

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(study)
flags.adopt_module_key_flags(page_weights)
flags.DEFINE_integer(
    "checkpoint_every", 1, "Epochs between checkpoints; there is always one at the end.",
    lower_bound=1,
)  # fmt: skip
flags.DEFINE_list(
    "track",
    [],
    f"Tell these of the run, with commas between: {', '.join(tracking.TRACKERS)}. TensorBoard's "
    "files are in the run directory; the others are told through their own packages.",
)


def main() -> None:
    """Trains as the flags say: the study of one trial."""
    console = terminal()
    tracking.check(FLAGS.track)
    most = page_weights.most_bytes()
    hosts.join(console)
    directory, prepared = begin(
        "run",
        f"{Path(FLAGS.dataset).name.split(':')[0]}-{FLAGS.model}",
        lambda: lone_study(options.given()),
        choices,
        lambda trials, together: machine.shape_for_run(together),
    )
    (lone,) = prepared.plans
    print_run(console, lone)
    if FLAGS.plan:
        plan.print_plan(console, [lone], [plan.measure(lone, "map")])
        return
    (trial,), config = lone.cell.trials, lone.cell.config
    content = flags_text({**trial.hparams, "loss": config.loss, "precision": config.precision})
    if FLAGS.resume:
        study.print_going_on(console, directory.path)
        content = _goes_on(console, directory, lone) + content
    with (
        serving(console, directory.path),
        underway("train", directory, content, choices(prepared), prepared),
    ):
        placed = lone.place(FLAGS.shard_data)
        run = LoneRun(lone, placed, directory, FLAGS.resume, Keep.of(options.given()))
        told = tracking.Told(directory.path.name, directory.path, choices(prepared))
        with tracking.tracking(FLAGS.track if is_first() else (), told) as trackers:
            train(console, run, trackers)
            conclude(console, directory, run, placed, trackers, most)
    if run.diverged:
        raise DivergedError(
            f"the loss is not finite after epoch {run.done} of {run.epochs}, where training "
            "stopped; a lower --learning_rate or --clip_norm may help; report: "
            f"{directory.path / REPORT_FILE}"
        )


def _goes_on(console: Console, directory: RunDirectory, lone: CellPlan) -> str:
    """Says what it means to train longer, where the schedule minds; as comments of the flagfile.

    Raises:
        UsageError: if it would be shorter.
    """
    path = directory.path / FLAGS_FILE
    lines = storage.read(path).decode().splitlines(keepends=True)
    said = "".join(line for line in lines if line.startswith("#"))
    before, now = planned_epochs(directory.path), lone.cell.config.epochs
    done = checkpoints.latest(directory.checkpoints)
    if now < (int(done.stem[-5:]) if done else 0):
        raise UsageError(f"--epochs={now}: the run in {directory.path} has trained longer already")
    if before == now or constant_rate(lone.cell.config, lone.cell.trials[0].hparams):
        return said
    text = (
        f"it was planned for {before} epochs and goes on to {now}; the schedule "
        f"{lone.cell.config.schedule} is that of {now} from here on, so this is not a run of {now} "
        "from the start"
    )
    console.print(f"[yellow]note:[/] {text}")
    return f"{said}# {text}\n"


def choices(prepared: Prepared) -> dict[str, Any]:
    """What must be the same to go on with a run."""
    (cell,) = prepared.study.grid.cells
    (trial,) = cell.trials
    of_run = {name: FLAGS[name].value for name in OF_RUN}
    given = {**dict(cell.data), **of_run, "seed": trial.seed}
    return every_choice(given, cell.config, trial.hparams)


def print_run(console: Console, lone: CellPlan) -> None:
    """Prints the data set, the parameter table and what the devices share."""
    dataset, validation, *_ = lone.loaded
    height, width, channels = dataset.image_shape
    kinds = f"{dataset.num_classes} classes"
    if dataset.multi_label:
        kinds = f"any of {dataset.num_classes} labels each: {', '.join(dataset.class_names)}"
    said = (
        f": {len(dataset.train):,} training, {len(validation):,} validation and "
        f"{len(dataset.test):,} test images, {height}x{width}x{channels}, {kinds}"
    )
    console.print(Text.assemble((dataset.name, "bold"), said))
    study.print_notes(console, dataset)
    study.print_batches(console, lone)
    numbers = (Column(heading, justify="right") for heading in ("formula", "parameters", "counted"))
    table = Table("layer", "kind", "output", *numbers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in lone.rows:
        shape = "x".join(map(str, row.output_shape))
        table.add_row(row.name, row.kind, shape, row.formula, f"{row.count:,}", f"{row.counted:,}")
    table.add_section()
    total = sum(row.count for row in lone.rows)
    table.add_row("total", "", "", "", f"{total:,}", f"{lone.parameters:,}")
    console.print(table, soft_wrap=False)
    (trial,), config = lone.cell.trials, lone.config
    hparams = ", ".join(f"{name} {value:g}" for name, value in trial.hparams.items())
    console.print(
        f"{config.loss}, {config.optimizer} ({hparams}), {config.schedule} schedule, "
        f"{config.precision}, batches of {config.batch_size}{_initialization(config.architecture)}"
    )
    if FLAGS.init_from and not FLAGS.resume:
        console.print(Text(f"starting from the weights of {FLAGS.init_from}"))
    if config.freeze:
        console.print(Text(f"frozen: {', '.join(config.freeze)}"))
    if devices := machine.describe_shape(mesh_shape(lone.mesh)):
        console.print(devices)


def _initialization(architecture: Architecture) -> str:
    read = "init" in MODELS[architecture.model].options
    return f", {architecture.init} initialization" if read else ""


def train(console: Console, run: LoneRun, trackers: Sequence[Tracker]) -> None:
    """Trains as far as it goes, with a bar, and a line for each epoch."""
    if run.done and not run.diverged:
        console.print(f"going on after epoch {run.done} of {run.epochs}")
    for name in run.remade:
        console.print(f"{name} had lost lines and is made again from the checkpoint")
    with console.status("compiling"):
        run.compile()
    console.print(f"compiled in {run.compile_seconds:.1f} s")
    columns = (
        SpinnerColumn(),
        TextColumn("epoch {task.completed:.0f} of {task.total:.0f}"),
        MovingBar(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        expected = pace(1, plan.estimate_seconds([run.lone]) / run.epochs)
        bar = progress.add_task("", total=run.epochs, completed=run.done, left="", **expected)
        for end in run.fit(FLAGS.checkpoint_every, hosts.must_stop):
            for tracker in trackers:
                tracker.points(end.points)
                tracker.epoch(end.metrics)
            rate = end.timing["images_per_second"]
            progress.console.print(_line(end.metrics, run.epochs, rate))
            if end.problem:
                progress.console.print(
                    Text(f"{end.problem}; it is tried again after the next epoch")
                )
            left = duration((run.epochs - run.done) * end.seconds)
            move(progress, bar, run.done, left=f"about {left} left")


def conclude(
    console: Console,
    directory: RunDirectory,
    run: LoneRun,
    placed: Placed,
    trackers: Sequence[Tracker],
    most: int,
) -> None:
    """Reads the test split, once, and writes the result and the report, with `most` of weights."""
    tested = read_test_split(run, placed)
    if not is_first():
        return
    found = tested.evaluation
    low, high = found.interval
    write_result(directory, tested)
    headline = (
        f"{_of_labels(found)} (95% interval {low:.2%} to {high:.2%}, "
        f"{count(len(found.labels), 'image')}) after {tested.train_seconds:.1f} s of training"
    )
    if found.balanced_accuracy is not None:
        headline += f"; balanced accuracy {found.balanced_accuracy:.2%}"
    console.print(Text.assemble((f"test accuracy {found.accuracy:.2%}", "bold"), headline))
    if about := tested.about_epochs():
        console.print(about)
    with console.status("writing the report"):
        shown = storage.read(directory.path / FLAGS_FILE).decode()
        page = tested.report(shown, environment(as_started()), most)
        directory.write(REPORT_FILE, with_way_back(page))
        write_index(directory.path, what_next(directory.path))
    for tracker in trackers:
        tracker.end(found.accuracy, found.interval, directory.path / REPORT_FILE)
    console.print(Text(f"report: {directory.path / REPORT_FILE}"))
    repeat = f"repeat it: {command('train')} --flagfile={quote(str(directory.path / FLAGS_FILE))}"
    console.print(Text(repeat))


def _of_labels(found: Evaluation) -> str:
    """What the accuracy of several labels is the mean of; nothing with one class an image."""
    if not found.several:
        return ""
    f1 = ", ".join(f"{row.name} {row.f1:.3f}" for row in found.rows)
    return f", the mean over {len(found.rows)} labels, F1 of {f1}"


def _line(metrics: dict[str, float], epochs: int, rate: float) -> str:
    text = f"epoch {metrics['epoch']:>{len(str(epochs))}} of {epochs}"
    for split, name in (("train", ""), ("validation", "validation ")):
        if f"{split}_loss" in metrics:
            loss, accuracy = metrics[f"{split}_loss"], metrics[f"{split}_accuracy"]
            text += f"  {name}loss {loss:.4f}  accuracy {accuracy:.2%}"
    return f"{text}  {rate:,.0f} images/s"


if __name__ == "__main__":
    launch(main, goes_on=True)
