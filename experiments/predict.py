"""Guesses what pictures show: `python -m experiments.predict --run=DIR photo.png more.jpg folder/`.

Pictures of any size and kind, and folders of them, go through the network of a trained run. The
guesses are printed as bars, drawn (--picture=guesses.png), or given to another program (--json,
--csv). Where a picture lies in a folder with the name of a class, that is taken as its true class.
Of a run whose images have several labels, each label over its threshold is listed.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from absl import flags

from cnn_jax.analysis import pictures
from cnn_jax.analysis.predictions import ranked, there
from cnn_jax.data.progress import progress
from cnn_jax.errors import UsageError

from . import command
from .launch import launch, terminal
from .runs import saved_run
from .runs.picture_files import Skipped, find_pictures, read_picture, true_class
from .runs.predictions_output import Meaning, Prediction, print_bars, print_csv, print_json
from .runs.saved_run import SavedRun

FLAGS = flags.FLAGS
for _name in ("run", "top", "json", "invert"):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("csv", False, "Print CSV and nothing else, one line for each picture.")
flags.DEFINE_string(
    "picture", None, "Draw the first 24 pictures and their guesses: a .png or .svg."
)

BATCH = 256
DRAWN = 24
_MOST_LABELS = 8
_DRAWINGS = (".pdf", ".png", ".svg")


def main(paths: list[str]) -> None:
    """Predicts as the flags say."""
    saved_run.check_flags("picture")
    if FLAGS.json and FLAGS.csv:
        raise UsageError("--json and --csv are two formats; give one of them")
    if FLAGS.picture:
        _check_drawing(Path(FLAGS.picture))
    if not paths:
        raise UsageError(
            f"give pictures, or folders of pictures: {command('predict')} --run=DIR a.png"
        )
    saved = saved_run.load()
    meaning = read_meaning(saved)
    skipped = Skipped()
    files = find_pictures(paths, skipped)
    drawn: list[Prediction] = []
    predictions = keep_first(predict(saved, meaning, files, skipped), drawn)
    first = next(predictions, None)
    if first is None:
        skipped.fail()
    predictions = itertools.chain([first] if first else [], predictions)
    try:
        if FLAGS.json:
            print_json(predictions, meaning)
        elif FLAGS.csv:
            print_csv(predictions, meaning)
        else:
            print_bars(terminal(), predictions, len(files), meaning)
            if not saved.calibrated:
                terminal().print(saved_run.UNCALIBRATED.format(saved.config.loss))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has enough; Python would still complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if FLAGS.picture:
        draw(Path(FLAGS.picture), drawn, meaning)
        if not (FLAGS.json or FLAGS.csv):
            terminal().print(f"picture: {FLAGS.picture}, of {len(drawn)} of {len(files)} files")


def read_meaning(saved: SavedRun) -> Meaning:
    """What the outputs of the run are.

    Raises:
        UsageError: if guesses are to be ranked where there are labels.
    """
    several = saved.task.multi_label
    if several and FLAGS["top"].present:
        raise UsageError(
            f"--top has no effect here: images of {saved.dataset.name} have several labels, and "
            "each one over its threshold is listed"
        )
    return Meaning(
        saved.dataset.class_names,
        FLAGS.top,
        saved_run.thresholds(saved) if several else None,
        saved.calibrated,
    )


def predict(
    saved: SavedRun, meaning: Meaning, files: list[Path], skipped: Skipped
) -> Iterator[Prediction]:
    """The predictions for files one after the other; no more than a batch is in memory."""
    style = pictures.learn_style(saved.dataset.train.images)
    size = min(BATCH, 1 << (len(files) - 1).bit_length()) if files else 1
    compiled = jax.jit(lambda state, images: saved.probabilities(saved.run.predict(state, images)))

    something = False
    with ThreadPoolExecutor() as pool, progress("Looking", len(files)) as advance:
        for start in range(0, len(files), size):
            chosen = files[start : start + size]
            good = []
            for path, found in zip(
                chosen, pool.map(lambda path: read_picture(path, style), chosen), strict=True
            ):
                if isinstance(found, str):
                    skipped.add(path, found)
                else:
                    good.append((path, found))
            images = np.zeros((size, *style.shape), np.uint8)
            for index, (_, fitted) in enumerate(good):
                images[index] = fitted.image
            advance(len(chosen))
            if not good:
                continue
            something = True
            skipped.tell()
            rows = np.asarray(compiled(saved.state, images))[: len(good)]
            guessed = (
                ranked(rows, meaning.names, meaning.top)
                if meaning.thresholds is None
                else there(rows, meaning.names, meaning.thresholds)
            )
            for (path, fitted), row, guesses in zip(good, rows, guessed, strict=True):
                yield Prediction(path, true_class(path, saved.dataset), fitted, row, guesses)
    if something:
        skipped.tell()


def keep_first(predictions: Iterator[Prediction], kept: list[Prediction]) -> Iterator[Prediction]:
    """The same predictions; those that will be drawn are kept."""
    for prediction in predictions:
        if len(kept) < DRAWN:
            kept.append(prediction)
        yield prediction


def _check_drawing(path: Path) -> None:
    if path.suffix.lower() not in _DRAWINGS:
        raise UsageError(f"--picture={path} must end in {', '.join(_DRAWINGS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--picture={path}: there is no folder {path.parent}")


def draw(path: Path, predictions: list[Prediction], meaning: Meaning) -> None:
    """Writes the images as the network saw them, with their ranked guesses."""
    from cnn_jax.analysis.report.charts import ranked_guesses

    names = meaning.names
    labels = [names.index(each.label) for each in predictions if each.label is not None]
    figure = ranked_guesses(
        np.stack([each.fitted.image for each in predictions]),
        np.array(labels) if len(labels) == len(predictions) else None,
        np.stack([each.probabilities for each in predictions]),
        names,
        meaning.top if meaning.thresholds is None else _MOST_LABELS,
        meaning.thresholds,
    )
    try:
        figure.savefig(path, dpi=144)
    except OSError as error:
        raise UsageError(f"cannot write --picture={path}: {error.strerror}") from error


if __name__ == "__main__":
    launch(main, takes_paths=True)
