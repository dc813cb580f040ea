"""Measures a trained run on a split: `python -m experiments.evaluate --run=DIR --split=validation`.

Accuracy with its interval, scores and confusions of each class (or the scores of each label, at a
threshold chosen on validation), calibration before and after temperature scaling, and speed, on the
terminal (or as --json) and as a page. With --dataset the run is tried on another data set of the
same shape and as many classes: a test of what a shift of the data does.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import flags
from rich.text import Text

from cnn_jax import data, training
from cnn_jax.errors import UsageError

from .flags import options
from .launch import launch, terminal
from .runs import saved_run
from .runs.evaluate_classes import of_classes
from .runs.evaluate_labels import of_labels
from .runs.measured import Subject
from .runs.saved_run import SavedRun

FLAGS = flags.FLAGS
for _name in ("run", "split", "top", "json", "out", "dataset", "data_dir", "download"):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("page", True, "Write the page evaluation-<split>.html.")

# Calls are timed until there are three, or until this many seconds have gone.
_CALLS, _SECONDS = 3, 5.0


def main() -> None:
    """Evaluates as the flags say."""
    saved_run.check_flags("page")
    saved = saved_run.load()
    if saved.task.multi_label and FLAGS["top"].present:
        raise UsageError(
            f"--top has no effect here: images of {saved.dataset.name} have several labels"
        )
    subject = choose(saved)
    if not saved.calibrated:
        note = saved_run.UNCALIBRATED.format(saved.config.loss)
        subject.notes.append(f"{note[0].upper()}{note[1:]}.")
    logits, speed = measure(saved, subject.examples)
    held_out = saved_run.held_out(saved)
    measured = (
        of_labels(saved, subject, logits, held_out)
        if saved.task.multi_label
        else of_classes(saved, subject, logits, held_out, FLAGS.top)
    )
    if FLAGS.page:
        page = Path(FLAGS.out or saved.path / f"evaluation-{subject.slug}.html")
        epochs = {"Epochs trained": str(saved.state.epoch)}
        write(page, measured.render({"Images per second": f"{speed:,.0f}"} | epochs))
    if FLAGS.json:
        record = {"run": str(saved.path), "evaluated_on": subject.name, "notes": subject.notes}
        record |= measured.numbers | {"images_per_second": speed}
        print(json.dumps(record, indent=2))
        return
    console = terminal()
    console.print(measured.headline)
    console.print(f"{speed:,.0f} images a second, once compiled")
    for note in subject.notes:
        console.print(Text(note, style="yellow"))
    measured.print_tables(console)
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
            fitted = (
                "thresholds and temperatures were" if saved.task.multi_label else "temperature was"
            )
            notes.append(f"The {fitted} fitted to these same examples.")
        return Subject(
            f"{saved.dataset.name}, {FLAGS.split}", FLAGS.split, saved.split(FLAGS.split), notes
        )
    given = {name: FLAGS[name].value for name in ("dataset", "data_dir", "download")}
    # How many examples the run was given says nothing of another data set.
    kept = {name: value for name, value in saved.choices.items() if name != "train_examples"}
    other, validation = options.read_dataset(kept | given, test_only=FLAGS.split == "test")
    if other.image_shape != saved.task.image_shape:
        raise UsageError(
            f"--dataset={FLAGS.dataset} has images of {_shape(other.image_shape)}, but the run in "
            f"{saved.path} takes {_shape(saved.task.image_shape)}"
        )
    if other.multi_label != saved.task.multi_label:
        kinds = {True: "several labels", False: "one class"}
        raise UsageError(
            f"--dataset={FLAGS.dataset} has {kinds[other.multi_label]} an image, but the run in "
            f"{saved.path} was trained on images with {kinds[saved.task.multi_label]}"
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


def write(path: Path, page: str) -> None:
    """Writes a page.

    Raises:
        UsageError: if it cannot be written there.
    """
    try:
        path.write_text(page)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give another --out") from error


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    launch(main)
