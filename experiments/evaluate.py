"""Measures a trained run on a split: `python -m experiments.evaluate --run=DIR --split=validation`.

Accuracy with its interval, scores and confusions of each class, calibration before and after
temperature scaling, and speed, on the terminal (or as --json) and as a page. With --dataset the
run is tried on another data set of the same shape and as many classes: a test of what a shift of
the data does.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn_jax import data, training
from cnn_jax.analysis import evaluation
from cnn_jax.analysis.evaluation import Evaluation
from cnn_jax.errors import UsageError
from experiments import options, saved_run
from experiments.launch import launch, terminal
from experiments.saved_run import SavedRun

FLAGS = flags.FLAGS
for _name in ("run", "split", "top", "json", "out", "dataset", "data_dir", "download"):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("page", True, "Write the page evaluation-<split>.html.")

# The confusion matrix of more classes does not fit a terminal.
_NARROW = 12
# Calls are timed until there are three, or until this many seconds have gone.
_CALLS, _SECONDS = 3, 5.0


class Subject(NamedTuple):
    """What is evaluated on.

    Attributes:
      name: of the data set and the split.
      slug: likewise, as part of a file's name.
      examples: the split.
      notes: what a reader should know of it.
    """

    name: str
    slug: str
    examples: data.Split
    notes: list[str]


def main() -> None:
    """Evaluates as the flags say."""
    saved_run.check_flags("page")
    saved = saved_run.load()
    saved_run.require_one_class(saved)
    subject = choose(saved)
    if not saved.calibrated:
        note = saved_run.UNCALIBRATED.format(saved.config.loss)
        subject.notes.append(f"{note[0].upper()}{note[1:]}.")
    logits, speed = measure(saved, subject.examples)
    result = evaluation.evaluate(
        logits,
        subject.examples.labels,
        saved.dataset.class_names,
        output=saved.output,
        top=FLAGS.top,
        held_out=held_out(saved),
    )
    if FLAGS.page:
        page = Path(FLAGS.out or saved.path / f"evaluation-{subject.slug}.html")
        write(page, render(saved, subject, result, speed))
    if FLAGS.json:
        record = {"run": str(saved.path), "evaluated_on": subject.name, "notes": subject.notes}
        record |= evaluation.as_json(result) | {"images_per_second": speed}
        print(json.dumps(record, indent=2))
        return
    console = terminal()
    print_result(console, saved, subject, result, speed)
    if FLAGS.page:
        console.print(f"page: {page}")


def choose(saved: SavedRun) -> Subject:
    """The split that --split and --dataset name.

    Raises:
      UsageError: if there is none, or it does not fit the run.
    """
    if not FLAGS["dataset"].present:
        notes = []
        if FLAGS.split == "train":
            notes.append("These are the examples that the run was trained on.")
        if FLAGS.split == "validation":
            notes.append("The temperature was fitted to these same examples.")
        return Subject(
            f"{saved.dataset.name}, {FLAGS.split}", FLAGS.split, saved.split(FLAGS.split), notes
        )
    given = {name: FLAGS[name].value for name in ("dataset", "data_dir", "download")}
    # How many examples the run was given says nothing of another data set.
    kept = {name: value for name, value in saved.choices.items() if name != "train_examples"}
    other, validation = options.read_dataset(kept | given)
    if other.image_shape != saved.task.image_shape:
        raise UsageError(
            f"--dataset={FLAGS.dataset} has images of {_shape(other.image_shape)}, but the run in "
            f"{saved.path} takes {_shape(saved.task.image_shape)}"
        )
    if other.num_classes != saved.task.num_classes:
        raise UsageError(
            f"--dataset={FLAGS.dataset} has {other.num_classes} classes, but the run in "
            f"{saved.path} tells {saved.task.num_classes} apart"
        )
    notes = [f"The run was trained on {saved.dataset.name}, and not on this."]
    if other.class_names != saved.dataset.class_names:
        notes.append("The classes have other names here; they are compared by their number.")
    name = Path(other.name).name.replace(":", "-")
    return Subject(
        f"{other.name}, {FLAGS.split}",
        f"{name}-{FLAGS.split}",
        saved_run.choose_split(other, validation, FLAGS.split),
        notes,
    )


def measure(saved: SavedRun, examples: data.Split) -> tuple[np.ndarray, float]:
    """The logits of all examples, and how many images a second the compiled program takes."""
    images = training.to_device(examples).images
    predict: Callable[..., jax.Array] = (
        jax.jit(saved.run.predict).lower(saved.state, images).compile()
    )
    logits = jax.block_until_ready(predict(saved.state, images))
    seconds: list[float] = []
    while len(seconds) < _CALLS and sum(seconds) < _SECONDS:
        start = time.perf_counter()
        jax.block_until_ready(predict(saved.state, images))
        seconds.append(time.perf_counter() - start)
    return np.asarray(logits), len(examples) / float(np.median(seconds))


def held_out(saved: SavedRun) -> tuple[np.ndarray, np.ndarray] | None:
    """Logits and labels of the run's validation split, if it has one."""
    if not len(saved.validation):
        return None
    images = training.to_device(saved.validation).images
    return np.asarray(jax.jit(saved.run.predict)(saved.state, images)), saved.validation.labels


def render(saved: SavedRun, subject: Subject, result: Evaluation, speed: float) -> str:
    """The page."""
    return evaluation.render_evaluation(
        result,
        title=(f"{saved.config.architecture.model} of {saved.path.resolve().name}", subject.name),
        notes=subject.notes,
        facts={"Images per second": f"{speed:,.0f}", "Epochs trained": str(saved.state.epoch)},
    )


def write(path: Path, page: str) -> None:
    """Writes a page.

    Raises:
      UsageError: if it cannot be written there.
    """
    try:
        path.write_text(page)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give another --out") from error


def print_result(
    console: Console, saved: SavedRun, subject: Subject, result: Evaluation, speed: float
) -> None:
    """Prints the tables."""
    low, high = result.interval
    console.print(
        f"[bold]{result.accuracy:.2%}[/] accuracy on {subject.name} (95% interval {low:.2%} to "
        f"{high:.2%}, {len(result.labels):,} images)"
    )
    for k, value in result.top.items():
        console.print(f"{value:.2%} have their class among the best {k} guesses")
    console.print(f"{speed:,.0f} images a second, once compiled")
    for note in subject.notes:
        console.print(Text(note, style="yellow"))
    _print_classes(console, result)
    if len(result.classes) <= _NARROW:
        _print_confusion(console, result)
    _print_calibration(console, result)


def _print_classes(console: Console, result: Evaluation) -> None:
    table = _table("class", "precision", "recall", "F1", "support")
    for row in result.classes:
        scores = [f"{score:.4f}" for score in row[1:4]]
        table.add_row(Text(row.name), *scores, f"{row.support:,}")
    console.print(table)


def _print_confusion(console: Console, result: Evaluation) -> None:
    names = [row.name for row in result.classes]
    table = _table("true \\ guessed", *(_cut(name) for name in names))
    for index, (name, row) in enumerate(zip(names, result.confusion, strict=True)):
        cells = [
            Text(f"{count:,}" if count else "·", style="bold" if index == column else "")
            for column, count in enumerate(row)
        ]
        table.add_row(Text(name), *cells)
    console.print(table)


def _print_calibration(console: Console, result: Evaluation) -> None:
    table = _table("calibration", "ECE", "NLL")
    table.add_row("as it is", f"{result.before.ece:.2%}", f"{result.before.nll:.4f}")
    if result.after is not None:
        heading = f"temperature {result.temperature:.3f}"
        table.add_row(heading, f"{result.after.ece:.2%}", f"{result.after.nll:.4f}")
    console.print(table)
    if result.after is None:
        console.print("no temperature: the run held out no validation split to fit it to")


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for heading in others:
        table.add_column(Text(heading), justify="right")
    return table


def _cut(name: str) -> str:
    return name if len(name) <= 8 else f"{name[:7]}…"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    launch(main)
