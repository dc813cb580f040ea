"""Trains one network and writes a report: `python -m experiments.train --dataset=mnist`.

Every choice is a flag. The run directory holds flags.txt (a flagfile that repeats the run),
metrics.jsonl (one line an epoch), the checkpoint, environment.json, result.json and report.html.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from cnn_jax import compilation, training
from cnn_jax.analysis import report
from cnn_jax.analysis.evaluate import Evaluation, evaluate, labels_json
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.analysis.pages import duration
from cnn_jax.errors import DivergedError
from cnn_jax.models import MODELS, Architecture, build_abstract
from cnn_jax.ops import CALIBRATED, LOSS_OUTPUT, OUTPUT_ACTIVATIONS
from cnn_jax.training.devices import mesh_shape
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import Standing
from cnn_jax.training.processes import fetch, is_first
from cnn_jax.training.sweep import SweepState
from cnn_jax.training.task import normalize

from . import command
from .flags import axes, machine, options
from .launch import launch, terminal
from .runs import hosts, plan, study
from .runs.run_directory import FLAGS_FILE, REPORT_FILE, RunDirectory, environment, flags_text
from .runs.study import CellPlan, Placed, Prepared, begin, underway

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(study)
flags.DEFINE_integer(
    "checkpoint_every", 1, "Epochs between checkpoints; there is always one at the end.",
    lower_bound=1,
)  # fmt: skip
flags.DEFINE_bool("tensorboard", False, "Write TensorBoard event files to the run directory too.")


def main() -> None:
    """Trains as the flags say: the study of one trial."""
    console = terminal()
    hosts.join(console)
    directory, prepared = begin(
        "run",
        f"{Path(FLAGS.dataset).name.split(':')[0]}-{FLAGS.model}",
        lambda: axes.lone_study(options.given()),
        choices,
        lambda trials, together: machine.shape_for_run(together),
    )
    (lone,) = prepared.plans
    print_run(console, lone)
    if FLAGS.plan:
        plan.print_plan(console, [lone], [plan.measure(lone, "map")])
        return
    (trial,), config = lone.cell.trials, lone.cell.config
    content = flags_text({**trial.hparams, "loss": config.loss})
    with underway("train", directory, content, choices(prepared)):
        placed = lone.place()
        state, trial, seconds = train(console, directory, lone, placed)
        conclude(console, directory, lone, placed, state, trial, seconds)
    if trial.status == "diverged":
        raise DivergedError(
            f"the loss is not finite after epoch {len(trial.history)} of {config.epochs}, where "
            f"training stopped; a lower --learning_rate or --clip_norm may help; report: "
            f"{directory.path / REPORT_FILE}"
        )


def choices(prepared: Prepared) -> dict[str, Any]:
    """What must be the same to go on with a run."""
    (cell,) = prepared.study.grid.cells
    (trial,) = cell.trials
    given = {**dict(cell.data), "seed": trial.seed}
    return options.every_choice(given, cell.config, trial.hparams)


def print_run(console: Console, lone: CellPlan) -> None:
    """Prints the data set, the parameter table and what the devices share."""
    dataset, validation, _ = lone.loaded
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
        f"batches of {config.batch_size}{_initialization(config.architecture)}"
    )
    if devices := machine.describe_shape(mesh_shape(lone.mesh)):
        console.print(devices)


def _initialization(architecture: Architecture) -> str:
    read = "init" in MODELS[architecture.model].options
    return f", {architecture.init} initialization" if read else ""


def train(
    console: Console, directory: RunDirectory, lone: CellPlan, placed: Placed
) -> tuple[training.TrainState, Trial, float]:
    """Trains to the last epoch or until the loss is not finite, writing metrics and checkpoints.

    Returns:
        The state, the trial with its history, and the seconds of compilation.
    """
    trainer = training.Trainer(lone.run, placed.train, placed.validation, mesh=lone.mesh)
    state, standing = _begin(console, directory, trainer, lone.cell.trials[0])
    epochs, images = lone.cell.config.epochs, len(lone.loaded.dataset.train)
    with console.status("compiling"):
        trainer.compile(standing)
    console.print(f"compiled in {trainer.compile_seconds:.1f} s")
    columns = (
        SpinnerColumn(),
        TextColumn("epoch {task.completed:.0f} of {task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    with (
        _tensorboard(directory) as write_scalars,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        bar = progress.add_task("", total=epochs, completed=standing.epoch, left="")
        for end in trainer.fit(state, standing, epochs):
            state, standing = end.state, end.standing
            done, metrics = standing.epoch, standing.trials[0].history[-1]
            rate = images / end.train_seconds
            timing = {"epoch": done, "seconds": end.train_seconds, "images_per_second": rate}
            directory.append(METRICS_FILE, metrics)
            directory.append(TIMINGS_FILE, timing)
            stop = hosts.must_stop()
            last = done == epochs or not standing.alive
            if stop or last or done % FLAGS.checkpoint_every == 0:
                directory.save(trainer.alone(state))
            write_scalars(metrics)
            progress.console.print(_line(metrics, epochs, rate))
            left = duration((epochs - done) * end.seconds)
            progress.update(bar, completed=done, left=f"about {left} left")
            if stop:
                raise KeyboardInterrupt
    return trainer.alone(state), standing.trials[0], trainer.compile_seconds


def _begin(
    console: Console, directory: RunDirectory, trainer: training.Trainer, trial: Trial
) -> tuple[SweepState, Standing]:
    """Before the first epoch, or with --resume after the last checkpoint."""
    held = directory.restore(trainer.like_alone(trial)) if FLAGS.resume else None
    done = 0 if held is None else int(held.epoch)
    directory.history(TIMINGS_FILE, done)
    trial = replace(trial, history=tuple(directory.history(METRICS_FILE, done)))
    if held is None:
        return trainer.start([trial])
    if any(math.isnan(value) for value in trial.history[-1].values()):
        return trainer.resume(held, replace(trial, status="diverged"))
    console.print(f"going on after epoch {done} of {len(trainer.sizes)}")
    return trainer.resume(held, trial)


def conclude(
    console: Console,
    directory: RunDirectory,
    lone: CellPlan,
    placed: Placed,
    state: training.TrainState,
    trial: Trial,
    compile_seconds: float,
) -> None:
    """Reads the test split, once, and writes the result and the report."""
    config, dataset = lone.cell.config, lone.loaded.dataset
    predict = compilation.jit(lone.run.predict)

    def logits_of(examples: training.Examples) -> jax.Array:
        return jnp.asarray(fetch(predict(state, examples.images))[: len(examples)])

    output = "sigmoid" if dataset.multi_label else LOSS_OUTPUT[config.loss]
    logits = logits_of(placed.test)
    hparams = {name: jnp.float32(value) for name, value in trial.hparams.items()}
    scores = lone.run.score(logits, jnp.asarray(dataset.test.labels), hparams)
    held_out = None
    if dataset.multi_label and placed.validation is not None:
        held_out = np.asarray(logits_of(placed.validation)), lone.loaded.validation.labels
    found = evaluate(np.asarray(logits), dataset.test.labels, dataset.class_names, output, held_out)
    if not is_first():
        return
    timings = directory.history(TIMINGS_FILE, config.epochs)
    seconds = sum(line["seconds"] for line in timings)
    low, high = found.interval
    directory.write_json(
        "result.json",
        {
            "status": "diverged" if trial.status == "diverged" else "finished",
            "test_accuracy": found.accuracy,
            "test_accuracy_interval_95": [low, high],
            "test_balanced_accuracy": found.balanced_accuracy,
            "test_loss": float(scores["loss"]),
            "test_examples": len(dataset.test),
            "train_seconds": seconds,
            "compile_seconds": compile_seconds,
            **labels_json(found),
        },
    )
    headline = (
        f"{_of_labels(found)} (95% interval {low:.2%} to {high:.2%}, {len(dataset.test):,} images) "
        f"after {seconds:.1f} s of training"
    )
    if found.balanced_accuracy is not None:
        headline += f"; balanced accuracy {found.balanced_accuracy:.2%}"
    console.print(Text.assemble((f"test accuracy {found.accuracy:.2%}", "bold"), headline))
    with console.status("writing the report"):
        probabilities = np.asarray(OUTPUT_ACTIVATIONS[output](logits))
        seen = report.look(
            _network(lone, state),
            dataset.test.images,
            probabilities,
            dataset.test.labels,
            found.thresholds,
        )
        record = report.RunRecord(
            dataset=dataset.name,
            model=config.architecture.model,
            class_names=dataset.class_names,
            history=[m | t for m, t in zip(trial.history, timings, strict=True)],
            test_loss=float(scores["loss"]),
            test_probabilities=probabilities,
            test_labels=dataset.test.labels,
            test_images=dataset.test.images,
            parameters=lone.rows,
            flags=(directory.path / FLAGS_FILE).read_text(),
            environment=environment(),
            train_seconds=seconds,
            compile_seconds=compile_seconds,
            calibrated=config.loss in CALIBRATED,
            insight=seen,
        )
        directory.write(REPORT_FILE, report.render_report(record, found))
    console.print(Text(f"report: {directory.path / REPORT_FILE}"))
    repeat = f"repeat it: {command('train')} --flagfile={quote(str(directory.path / FLAGS_FILE))}"
    console.print(Text(repeat))


def _of_labels(found: Evaluation) -> str:
    """What the accuracy of several labels is the mean of; nothing with one class an image."""
    if not found.several:
        return ""
    f1 = ", ".join(f"{row.name} {row.f1:.3f}" for row in found.rows)
    return f", the mean over {len(found.rows)} labels, F1 of {f1}"


def _network(lone: CellPlan, state: training.TrainState) -> TrainedNetwork:
    """What the report looks into."""
    dataset, _, task = lone.loaded
    model = build_abstract(lone.cell.config.architecture, task.image_shape, task.num_classes)
    return trained_network(model, state.weights, partial(normalize, task), dataset.train.images)


def _line(metrics: dict[str, float], epochs: int, rate: float) -> str:
    text = f"epoch {metrics['epoch']:>{len(str(epochs))}} of {epochs}"
    for split, name in (("train", ""), ("validation", "validation ")):
        if f"{split}_loss" in metrics:
            loss, accuracy = metrics[f"{split}_loss"], metrics[f"{split}_accuracy"]
            text += f"  {name}loss {loss:.4f}  accuracy {accuracy:.2%}"
    return f"{text}  {rate:,.0f} images/s"


@contextlib.contextmanager
def _tensorboard(directory: RunDirectory) -> Iterator[Callable[[dict[str, float]], None]]:
    """Writes the metrics of an epoch for TensorBoard, with --tensorboard and on one process."""
    if not (FLAGS.tensorboard and is_first()):
        yield lambda metrics: None
        return
    from tensorboardX import SummaryWriter

    def write(metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            board.add_scalar(name, value, int(metrics["epoch"]))

    with SummaryWriter(str(directory.path / "tensorboard")) as board:
        yield write


if __name__ == "__main__":
    launch(main)
