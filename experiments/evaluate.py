"""Measures a trained run on a split: `python -m experiments.evaluate --run=DIR --split=validation`.

Accuracy with its interval, scores and confusions of each class (or the scores of each label, at a
threshold chosen on validation), calibration before and after temperature scaling, and speed, on the
terminal (or as --json) and as a page. With --dataset the run is tried on another data set of the
same shape, whose classes are matched by name: a test of what a shift of the data does.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cnn_jax import compilation, data, training
from cnn_jax.analysis.evaluate import EVEN, Evaluation, as_json, calibrate, render_evaluation
from cnn_jax.analysis.evaluate import evaluate as measure
from cnn_jax.display import count, shown
from cnn_jax.errors import UsageError
from cnn_jax.storage import strict_json
from cnn_jax.studies.choices import PLACE, data_choices, divide, read_pool
from cnn_jax.studies.data_record import Found, find
from cnn_jax.studies.saved_run import SavedRun

from .launch import launch, terminal
from .output import file_for
from .runs import saved_run

FLAGS = flags.FLAGS
# What is read of another data set as it is given here, and not as the run read its own.
_OF_THE_OTHER = (*sorted(PLACE), "on_error", "labels", "class_pattern")
for _name in ("run", "split", "top", "json", "out", "extend", *_OF_THE_OTHER):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("page", True, "Write the page evaluation-<split>.html.")

# Calls are timed until there are three, or until this many seconds have gone.
_CALLS, _SECONDS = 3, 5.0
# The confusion matrix of more classes does not fit a terminal.
_NARROW = 12


class EvaluationSet(NamedTuple):
    """What is evaluated on.

    Attributes:
        name: of the data set and the split.
        slug: likewise, as part of a file's name.
        examples: the split.
        notes: what a reader should know of it.
        read: likewise, of how it was read.
    """

    name: str
    slug: str
    examples: data.Split
    notes: list[str]
    read: tuple[str, ...] = ()


def main() -> None:
    """Evaluates as the flags say."""
    saved_run.check_flags(main)
    saved = saved_run.load()
    if FLAGS.out and not FLAGS.page:
        raise UsageError("--out names the page, and --nopage leaves it out; give one of them")
    if FLAGS.page:
        path = file_for("out", FLAGS.out or saved.path / f"evaluation-{FLAGS.split}.html")
    if saved.task.multi_label and FLAGS["top"].present:
        raise UsageError(
            f"--top has no effect here: images of {saved.record.name} have several labels"
        )
    chosen = choose(saved)
    if not saved.calibrated:
        note = saved_run.UNCALIBRATED.format(saved.config.loss)
        chosen.notes.append(f"{note[0].upper()}{note[1:]}.")
    logits, speed = run_timed(saved, chosen.examples)
    held_out, names = saved.held_out, saved.class_names
    found = measure(logits, chosen.examples.labels, names, saved.output, held_out, FLAGS.top)
    found = calibrate(found, logits, saved.output, held_out)
    if FLAGS.page:
        path = path if FLAGS.out else path.with_stem(f"evaluation-{chosen.slug}")
        facts = {"Images per second": f"{speed:,.0f}", "Epochs trained": str(saved.state.epoch)}
        title = f"{saved.config.architecture.model} of {saved.name}", chosen.name
        saved_run.write_page(
            path, render_evaluation(found, title=title, notes=chosen.notes, facts=facts)
        )
    if FLAGS.json:
        record = {"run": str(saved.path), "evaluated_on": chosen.name, "notes": chosen.notes}
        record |= {"read": list(chosen.read)} if chosen.read else {}
        record |= as_json(found) | {"images_per_second": speed}
        print(strict_json(record, indent=2))
        return
    console = terminal()
    console.print(Text(_headline(found, chosen.name)))
    console.print(f"{speed:,.0f} images a second, once compiled")
    for note in chosen.read:
        console.print(Text(note))
    for note in chosen.notes:
        console.print(Text(note, style="yellow"))
    print_tables(console, found)
    if FLAGS.page:
        console.print(Text(f"page: {path}"))


def _headline(found: Evaluation, name: str) -> str:
    low, high = found.interval
    text = (
        f"{found.accuracy:.2%} {'of the labels right' if found.several else 'accuracy'} "
        f"on {name} (95% interval {low:.2%} to {high:.2%}, {count(len(found.labels), 'image')})"
    )
    if found.balanced_accuracy is not None:
        text += f"; balanced accuracy {found.balanced_accuracy:.2%}"
    return f"{text}; every label right: {found.exact:.2%}" if found.several else text


def choose(saved: SavedRun) -> EvaluationSet:
    """The split that --split and --dataset name.

    Raises:
        UsageError: if there is none, or it does not fit the run.
    """
    given = {name: FLAGS[name].value for name in _OF_THE_OTHER if FLAGS[name].present}
    if not given:
        return _own(saved, saved.split(FLAGS.split), saved.found.differences)
    # How many examples the run was given says nothing of another data set.
    kept = {name: value for name, value in saved.choices.items() if name != "train_examples"}
    as_of_the_run = kept | given
    as_given = kept | {name: FLAGS[name].value for name in _OF_THE_OTHER}
    alike = data_choices(as_of_the_run) == data_choices(as_given)
    try:
        pool = _read(saved, as_of_the_run)
        found = find(saved.record, pool) if saved.record.splits else Found({}, [])
        if len(found.splits.get(FLAGS.split, ())):
            return _own(saved, found.splits[FLAGS.split], found.differences)
    except UsageError:
        if alike:
            raise
    if not alike:
        pool = _read(saved, as_given)
    return _other(saved, *divide(pool, as_given))


def _read(saved: SavedRun, choices: dict[str, Any]) -> data.Dataset:
    return read_pool(choices, test_only=FLAGS.split == "test", rule=saved.record.rule)


def _own(saved: SavedRun, split: data.Split, differences: list[str]) -> EvaluationSet:
    """A split of the run's own data, wherever they are now."""
    notes = []
    if differences:
        notes.append(
            f"The data are not what they were: {'; '.join(differences)}. These are the examples "
            "and the names that the run knows."
        )
        print(f"note: {shown(notes[0])}", file=sys.stderr)
    if FLAGS.split == "train":
        notes.append("These are the examples that the run was trained on.")
    if FLAGS.split == "validation":
        fitted = "thresholds and temperatures were" if saved.task.multi_label else "temperature was"
        notes.append(f"The {fitted} fitted to these same examples.")
    return EvaluationSet(f"{saved.record.name}, {FLAGS.split}", FLAGS.split, split, notes)


def _other(saved: SavedRun, other: data.Dataset, validation: data.Split) -> EvaluationSet:
    """A split of another data set, if it fits the run."""
    where = f"--dataset={FLAGS.dataset}"
    if other.image_shape != saved.task.image_shape:
        raise UsageError(
            f"{where} has images of {_shape(other.image_shape)}, but the run in "
            f"{saved.path} takes {_shape(saved.task.image_shape)}"
        )
    if other.multi_label != saved.task.multi_label:
        kinds = {True: "several labels", False: "one class"}
        raise UsageError(
            f"{where} has {kinds[other.multi_label]} an image, but the run in "
            f"{saved.path} was trained on images with {kinds[saved.task.multi_label]}"
        )
    notes = [f"The run was trained on {saved.record.name}, and not on this."]
    other, matched = data.in_order_of(replace(other, validation=validation), saved.class_names)
    split = other.splits[FLAGS.split]
    if not len(split):
        raise UsageError(f"--split={FLAGS.split} of {where} has no examples; give another split")
    name = Path(other.name).name.replace(":", "-")
    title, slug = f"{other.name}, {FLAGS.split}", f"{name}-{FLAGS.split}"
    return EvaluationSet(title, slug, split, [*notes, *matched], other.notes)


def run_timed(saved: SavedRun, examples: data.Split) -> tuple[np.ndarray, float]:
    """The logits of all examples, and how many images a second the compiled program takes."""
    images = training.to_device(examples).images
    predict: Callable[..., jax.Array] = (
        compilation.jit(saved.run.predict).lower(saved.state, images).compile()
    )
    logits = jax.block_until_ready(predict(saved.state, images))
    seconds: list[float] = []
    while len(seconds) < _CALLS and sum(seconds) < _SECONDS:
        start = time.perf_counter()
        jax.block_until_ready(predict(saved.state, images))
        seconds.append(time.perf_counter() - start)
    return np.asarray(logits), len(examples) / float(np.median(seconds))


def print_tables(console: Console, found: Evaluation) -> None:
    """Prints the scores of each class or label, their confusions, and the calibration."""
    for k, value in found.top.items():
        console.print(f"{value:.2%} have their class among the best {k} guesses")
    if found.several:
        _print_labels(console, found)
    else:
        rows = _table("class", "precision", "recall", "F1", "support")
        for row in found.rows:
            scores = [f"{score:.4f}" for score in (row.precision, row.recall, row.f1)]
            rows.add_row(Text(row.name), *scores, f"{row.support:,}")
        console.print(rows)
    if found.confusion is not None and len(found.rows) <= _NARROW:
        _print_confusion(console, found.names, found.confusion)
    _print_calibration(console, found)


def _print_labels(console: Console, found: Evaluation) -> None:
    scores = _table("label", "threshold", "accuracy", "precision", "recall", "F1", "AP")
    counts = _table("label", "found", "missed", "false alarms", "rightly denied")
    for row in found.rows:
        shares = row.threshold, row.accuracy, row.precision, row.recall, row.f1
        cells = [f"{share:.4f}" for share in (*shares, row.average_precision)]
        scores.add_row(Text(row.name), *cells)
        numbers = row.found, row.missed, row.false_alarms, row.denied
        counts.add_row(Text(row.name), *(f"{number:,}" for number in numbers))
    console.print(scores)
    console.print(counts)


def _print_confusion(console: Console, names: list[str], confusion: np.ndarray) -> None:
    short = (name if len(name) <= 8 else f"{name[:7]}…" for name in names)
    rows = _table("true \\ guessed", *short)
    for index, (name, row) in enumerate(zip(names, confusion, strict=True)):
        cells = [
            Text(f"{count:,}" if count else "·", style="bold" if index == column else "")
            for column, count in enumerate(row)
        ]
        rows.add_row(Text(name), *cells)
    console.print(rows)


def _print_calibration(console: Console, found: Evaluation) -> None:
    """All classes have a line with and a line without temperature; each label has one."""
    fitted = found.calibrations[0].after is not None
    headings = ["ECE", "NLL"]
    if found.several and fitted:
        headings += ["temperature", "ECE with it", "NLL with it"]
    rows = _table("calibration", *headings)
    for each in found.calibrations:
        cells = [f"{each.before.ece:.2%}", f"{each.before.nll:.4f}"]
        after = [f"{each.after.ece:.2%}", f"{each.after.nll:.4f}"] if each.after else []
        if found.several:
            temperature = [f"{each.temperature:.3f}"] if fitted else []
            rows.add_row(Text(each.name), *cells, *temperature, *after)
        else:
            rows.add_row("as it is", *cells)
            if fitted:
                rows.add_row(f"temperature {each.temperature:.3f}", *after)
    console.print(rows)
    if not fitted:
        what, end = "temperature", "to fit it to"
        if found.several:
            what = "thresholds and temperatures"
            end = f"to fit them to; every threshold is {EVEN:.0%}"
        console.print(f"no {what}: the run held out no validation split {end}")


def _table(first: str, *others: str) -> Table:
    """An empty table for the terminal; all columns but the first hold numbers."""
    columns = (Column(Text(heading), justify="right") for heading in others)
    return Table(first, *columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    launch(main)
