"""Trains one network and writes a report: `python -m experiments.train --dataset=mnist`.

Every choice is a flag. The run directory holds flags.txt (a flagfile that repeats the run),
metrics.jsonl (one line an epoch), the checkpoint, environment.json, result.json and report.html.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cnn_jax import data, training
from cnn_jax.analysis import report
from cnn_jax.analysis.evaluate import Evaluation, evaluate, labels_json
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.models import build_abstract
from cnn_jax.ops.activations import OUTPUT_ACTIVATIONS
from cnn_jax.ops.losses import CALIBRATED, LOSS_OUTPUT
from cnn_jax.training.devices import mesh_shape
from cnn_jax.training.processes import fetch, is_first, together
from cnn_jax.training.task import normalize

from . import command, command_line
from .flags import hosts, machine, options
from .launch import launch, terminal
from .runs import plan, run_directory, train_plan
from .runs.prepared import Prepared, prepare
from .runs.run_directory import (
    FLAGS_FILE,
    METRICS_FILE,
    REPORT_FILE,
    RESULT_FILE,
    TIMINGS_FILE,
    RunDirectory,
    environment,
    flags_text,
    open_directory,
)

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(command_line)
flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(machine)
flags.adopt_module_key_flags(hosts)
flags.adopt_module_key_flags(plan)
flags.adopt_module_key_flags(run_directory)
flags.DEFINE_integer(
    "checkpoint_every", 1, "Epochs between checkpoints; there is always one at the end.",
    lower_bound=1,
)  # fmt: skip
flags.DEFINE_bool("tensorboard", False, "Write TensorBoard event files to the run directory too.")


def main() -> None:
    """Trains as the flags say."""
    console = terminal()
    hosts.join(console)
    directory, prepared = together(begin)
    hosts.check_data([prepared.dataset])
    describe(console, prepared)
    if FLAGS.plan:
        train_plan.print_plan(console, prepared, train_plan.plan_run(prepared))
        return
    if not FLAGS.resume:
        resolved: dict[str, float | str] = {**prepared.hparams, "loss": prepared.config.loss}
        content = flags_text(options.__name__, resolved)
        together(lambda: directory.create(content, prepared.choices))
    together(directory.check_there)
    with hosts.going_on_with(
        f"{command('train')} --workdir={directory.path} --resume{machine.given_text()}"
    ):
        state, timing = train(console, directory, prepared)
        conclude(console, directory, prepared, state, timing)


def begin() -> tuple[RunDirectory, Prepared]:
    """The folder to write to and the run, before anything is written.

    Raises:
        UsageError: for whatever cannot work.
    """
    directory = open_directory(
        "run", f"{Path(FLAGS.dataset).name.split(':')[0]}-{FLAGS.model}", FLAGS.plan
    )
    prepared = prepare()
    if FLAGS.resume:
        directory.check_same(prepared.choices)
    return directory, prepared


def describe(console: Console, prepared: Prepared) -> None:
    """Prints the data set, the parameter table and what the devices share."""
    dataset = prepared.dataset
    height, width, channels = dataset.image_shape
    kinds = f"{dataset.num_classes} classes"
    if dataset.multi_label:
        kinds = f"any of {dataset.num_classes} labels each: {', '.join(dataset.class_names)}"
    console.print(
        f"[bold]{dataset.name}[/]: {len(dataset.train):,} training, "
        f"{len(prepared.validation):,} validation and {len(dataset.test):,} test images, "
        f"{height}x{width}x{channels}, {kinds}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("layer", "kind", "output"):
        table.add_column(heading)
    for heading in ("formula", "parameters", "counted"):
        table.add_column(heading, justify="right")
    for row in prepared.parameters:
        shape = "x".join(map(str, row.output_shape))
        table.add_row(row.name, row.kind, shape, row.formula, f"{row.count:,}", f"{row.counted:,}")
    table.add_section()
    total = sum(row.count for row in prepared.parameters)
    counted = sum(row.counted for row in prepared.parameters)
    table.add_row("total", "", "", "", f"{total:,}", f"{counted:,}")
    console.print(table, soft_wrap=False)
    numbers = ", ".join(f"{name} {value:g}" for name, value in prepared.hparams.items())
    config = prepared.config
    console.print(
        f"{config.loss}, {config.optimizer} ({numbers}), {config.schedule} schedule, "
        f"batches of {config.batch_size}"
    )
    if devices := machine.describe_shape(mesh_shape(prepared.mesh)):
        console.print(devices)


class Timing(NamedTuple):
    """Seconds of wall time: training passes without compilation, and compilation."""

    train: float
    compilation: float


def train(
    console: Console, directory: RunDirectory, prepared: Prepared
) -> tuple[training.TrainState, Timing]:
    """Trains to the last epoch, writing metrics and checkpoints after each."""
    config = prepared.config
    state, hparams, key, examples, held_out = prepared.begin()
    if FLAGS.resume:
        state = directory.restore(state)
    done = int(state.epoch)
    directory.history(METRICS_FILE, done)
    seconds = sum(line["seconds"] for line in directory.history(TIMINGS_FILE, done))
    if done:
        console.print(f"going on after epoch {done} of {config.epochs}")
    with console.status("compiling"):
        programs = training.compile_programs(prepared.run, state, hparams, key, examples, held_out)
    console.print(f"compiled in {programs.seconds:.1f} s")
    board = _tensorboard(directory) if FLAGS.tensorboard and is_first() else None
    columns = (
        SpinnerColumn(),
        TextColumn("epoch {task.completed:.0f} of {task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=config.epochs, completed=done, left="")
            for epoch in training.fit(
                programs, state, hparams, key, examples, held_out, config.epochs
            ):
                state, done = epoch.state, int(epoch.metrics["epoch"])
                seconds += epoch.seconds
                rate = len(prepared.dataset.train) / epoch.seconds
                timing = {"epoch": done, "seconds": epoch.seconds, "images_per_second": rate}
                directory.append(METRICS_FILE, epoch.metrics)
                directory.append(TIMINGS_FILE, timing)
                stop = hosts.must_stop()
                if stop or done % FLAGS.checkpoint_every == 0 or done == config.epochs:
                    directory.save(state)
                if board is not None:
                    for name, value in epoch.metrics.items():
                        board.add_scalar(name, value, done)
                progress.console.print(_line(epoch.metrics, config.epochs, rate))
                left = (config.epochs - done) * epoch.seconds
                progress.update(bar, completed=done, left=f"about {left:.0f} s left")
                if stop:
                    raise KeyboardInterrupt
    finally:
        if board is not None:
            board.close()
    return state, Timing(seconds, programs.seconds)


def conclude(
    console: Console,
    directory: RunDirectory,
    prepared: Prepared,
    state: training.TrainState,
    timing: Timing,
) -> None:
    """Reads the test split, once, and writes the result and the report."""
    config, dataset = prepared.config, prepared.dataset
    predict = jax.jit(prepared.run.predict)

    def logits_of(split: data.Split) -> jax.Array:
        return jnp.asarray(fetch(predict(state, prepared.place(split).images))[: len(split)])

    output = "sigmoid" if dataset.multi_label else LOSS_OUTPUT[config.loss]
    logits = logits_of(dataset.test)
    scores = prepared.run.score(logits, jnp.asarray(dataset.test.labels), prepared.traced())
    held_out = None
    if dataset.multi_label and len(prepared.validation):
        held_out = np.asarray(logits_of(prepared.validation)), prepared.validation.labels
    found = evaluate(np.asarray(logits), dataset.test.labels, dataset.class_names, output, held_out)
    if not is_first():
        return
    low, high = found.interval
    directory.write_json(
        RESULT_FILE,
        {
            "test_accuracy": found.accuracy,
            "test_accuracy_interval_95": [low, high],
            "test_loss": float(scores["loss"]),
            "test_examples": len(dataset.test),
            "train_seconds": timing.train,
            "compile_seconds": timing.compilation,
            **labels_json(found),
        },
    )
    console.print(
        f"[bold]test accuracy {found.accuracy:.2%}[/]{_of_labels(found)} "
        f"(95% interval {low:.2%} to {high:.2%}, {len(dataset.test):,} images) "
        f"after {timing.train:.1f} s of training"
    )
    with console.status("writing the report"):
        probabilities = np.asarray(OUTPUT_ACTIVATIONS[output](logits))
        seen = report.look(
            _network(prepared, state),
            dataset.test.images,
            probabilities,
            dataset.test.labels,
            found.thresholds,
        )
        record = _record(directory, prepared, probabilities, float(scores["loss"]), timing, seen)
        directory.write(REPORT_FILE, report.render_report(record, found))
    console.print(f"report: {directory.path / REPORT_FILE}")
    console.print(f"repeat it: {command('train')} --flagfile={directory.path / FLAGS_FILE}")


def _of_labels(found: Evaluation) -> str:
    """What the accuracy of several labels is the mean of; nothing with one class an image."""
    if not found.several:
        return ""
    f1 = ", ".join(f"{row.name} {row.f1:.3f}" for row in found.rows)
    return f", the mean over {len(found.rows)} labels, F1 of {f1}"


def _network(prepared: Prepared, state: training.TrainState) -> TrainedNetwork:
    """What the report looks into."""
    task = prepared.task
    model = build_abstract(prepared.config.architecture, task.image_shape, task.num_classes)
    images = prepared.dataset.train.images
    return trained_network(model, state.weights, partial(normalize, task), images)


def _record(
    directory: RunDirectory,
    prepared: Prepared,
    probabilities: np.ndarray,
    test_loss: float,
    timing: Timing,
    seen: report.Insight,
) -> report.RunRecord:
    metrics = directory.history(METRICS_FILE, prepared.config.epochs)
    timings = directory.history(TIMINGS_FILE, prepared.config.epochs)
    return report.RunRecord(
        dataset=prepared.dataset.name,
        model=prepared.config.architecture.model,
        class_names=prepared.dataset.class_names,
        history=[m | t for m, t in zip(metrics, timings, strict=True)],
        test_loss=test_loss,
        test_probabilities=probabilities,
        test_labels=prepared.dataset.test.labels,
        test_images=prepared.dataset.test.images,
        parameters=prepared.parameters,
        flags=(directory.path / FLAGS_FILE).read_text(),
        environment=environment(),
        train_seconds=timing.train,
        compile_seconds=timing.compilation,
        calibrated=prepared.config.loss in CALIBRATED,
        insight=seen,
    )


def _line(metrics: dict[str, float], epochs: int, rate: float) -> str:
    text = (
        f"epoch {metrics['epoch']:>{len(str(epochs))}} of {epochs}  "
        f"loss {metrics['train_loss']:.4f}  accuracy {metrics['train_accuracy']:.2%}"
    )
    if "validation_accuracy" in metrics:
        text += (
            f"  validation loss {metrics['validation_loss']:.4f}  "
            f"accuracy {metrics['validation_accuracy']:.2%}"
        )
    return f"{text}  {rate:,.0f} images/s"


def _tensorboard(directory: RunDirectory) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(directory.path / "tensorboard"))


if __name__ == "__main__":
    launch(main)
