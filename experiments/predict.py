"""Guesses what pictures show: `python -m experiments.predict --run=DIR photo.png more.jpg folder/`.

Pictures of any size and kind, and folders of them, go through the network of a trained run. The
guesses are printed as bars, drawn (--picture=guesses.png), or given to another program (--json,
--csv). Where a picture lies in a folder with the name of a class, that is taken as its true class.
"""

import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.text import Text

from cnn_jax.analysis import pictures
from cnn_jax.analysis.predictions import Guess, ranked
from cnn_jax.data.progress import progress
from cnn_jax.errors import UsageError
from experiments import saved_run
from experiments.launch import launch, terminal
from experiments.picture_files import Skipped, find_pictures, read_picture, true_class
from experiments.saved_run import SavedRun

FLAGS = flags.FLAGS
for _name in ("run", "top", "json", "invert"):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("csv", False, "Print CSV and nothing else, one line for each picture.")
flags.DEFINE_string(
    "picture", None, "Draw the first 24 pictures and their guesses: a .png or .svg."
)

BATCH = 256
DRAWN = 24
# Up to this many pictures have bars; of more, each has a line.
IN_FULL = 20
_DRAWINGS = (".pdf", ".png", ".svg")


class Prediction(NamedTuple):
    """A picture, what was done to it, and what the network says.

    Attributes:
      path: of the file.
      label: true class, where the folder says so.
      fitted: the image that the network saw.
      probabilities: one for each class.
      guesses: the best of them.
    """

    path: Path
    label: str | None
    fitted: pictures.Fitted
    probabilities: np.ndarray
    guesses: list[Guess]


def main(paths: list[str]) -> None:
    """Predicts as the flags say."""
    saved_run.check_flags("picture")
    if FLAGS.json and FLAGS.csv:
        raise UsageError("--json and --csv are two formats; give one of them")
    if FLAGS.picture:
        _check_drawing(Path(FLAGS.picture))
    if not paths:
        raise UsageError(
            "give pictures, or folders of pictures: python -m experiments.predict --run=DIR a.png"
        )
    saved = saved_run.load()
    skipped = Skipped()
    files = find_pictures(paths, skipped)
    drawn: list[Prediction] = []
    predictions = keep_first(predict(saved, files, skipped), drawn)
    first = next(predictions, None)
    if first is None:
        skipped.fail()
    predictions = itertools.chain([first] if first else [], predictions)
    try:
        if FLAGS.json:
            print_json(predictions, saved.calibrated)
        elif FLAGS.csv:
            print_csv(predictions, FLAGS.top, saved)
        else:
            print_bars(terminal(), predictions, len(files), saved)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has enough; Python would still complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if FLAGS.picture:
        draw(Path(FLAGS.picture), drawn, saved)
        if not (FLAGS.json or FLAGS.csv):
            terminal().print(f"picture: {FLAGS.picture}, of {len(drawn)} of {len(files)} files")


def predict(saved: SavedRun, files: list[Path], skipped: Skipped) -> Iterator[Prediction]:
    """The predictions for files one after the other; no more than a batch is in memory."""
    style = pictures.learn_style(saved.dataset.train.images)
    names = saved.dataset.class_names
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
            for (path, fitted), row, guesses in zip(
                good, rows, ranked(rows, names, FLAGS.top), strict=True
            ):
                yield Prediction(path, true_class(path, names), fitted, row, guesses)
    if something:
        skipped.tell()


def keep_first(predictions: Iterator[Prediction], kept: list[Prediction]) -> Iterator[Prediction]:
    """The same predictions; those that will be drawn are kept."""
    for prediction in predictions:
        if len(kept) < DRAWN:
            kept.append(prediction)
        yield prediction


def print_json(predictions: Iterator[Prediction], calibrated: bool) -> None:
    """One array, an object on each line."""
    before = "["
    for prediction in predictions:
        record = {
            "path": str(prediction.path),
            "label": prediction.label,
            "guesses": [
                {"class": name, "probability": probability}
                for name, probability in prediction.guesses
            ],
            "calibrated": calibrated,
            "inverted": prediction.fitted.inverted,
            "centered": prediction.fitted.centered,
        }
        print(before + json.dumps(record), end="")
        before = ",\n"
    print("]")


def print_csv(predictions: Iterator[Prediction], top: int, saved: SavedRun) -> None:
    """A heading, and a line for each picture: path, true class, what was done, and the guesses."""
    ranks = range(1, min(top, saved.dataset.num_classes) + 1)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["path", "label", "inverted", "centered"]
        + [f"{what}_{rank}" for rank in ranks for what in ("guess", "probability")]
    )
    for prediction in predictions:
        writer.writerow(
            [prediction.path, prediction.label or "", *map(str, prediction.fitted[1:])]
            + [value for guess in prediction.guesses for value in guess]
        )


def print_bars(
    console: Console, predictions: Iterator[Prediction], total: int, saved: SavedRun
) -> None:
    """Bars for a few pictures, a line for each of many; at the end what it came to."""
    known = right = 0
    for prediction in predictions:
        known += prediction.label is not None
        right += prediction.label == prediction.guesses[0].name
        if total > IN_FULL:
            guesses = ", ".join(
                f"{guess.name} {guess.probability:.1%}" for guess in prediction.guesses
            )
            console.print(Text(f"{prediction.path}  {guesses}"), soft_wrap=True)
        else:
            _print_in_full(console, prediction)
    if known > 1:
        from cnn_jax.analysis.report import wilson_interval

        low, high = wilson_interval(right, known)
        console.print(
            f"{right:,} of {known:,} whose class is known are right: {right / known:.2%} "
            f"(95% interval {low:.2%} to {high:.2%})"
        )
    if not saved.calibrated:
        console.print(saved_run.UNCALIBRATED.format(saved.config.loss))


def _print_in_full(console: Console, prediction: Prediction) -> None:
    heading = Text(str(prediction.path), style="bold")
    done = []
    if prediction.label is not None:
        done.append(f"true class {prediction.label}")
    if prediction.fitted.inverted:
        done.append("light and dark exchanged")
    if prediction.fitted.centered:
        done.append("cut out and centered as the training images are")
    if done:
        heading.append(f"  {'; '.join(done)}", style="not bold dim")
    console.print(heading)
    width = max(len(guess.name) for guess in prediction.guesses)
    for rank, guess in enumerate(prediction.guesses):
        right = prediction.label in (None, guess.name)
        line = Text(f"  {guess.name:>{width}} ", style="bold" if rank == 0 else "")
        line.append(_bar(guess.probability, console.encoding), style="blue" if right else "yellow")
        line.append(f" {guess.probability:6.1%}")
        console.print(line)
    console.print()


def _bar(share: float, encoding: str) -> str:
    """A bar of 32 characters at most, and spaces up to them."""
    width = 32
    if not encoding.lower().startswith("utf"):
        return ("#" * round(width * share)).ljust(width)
    whole, part = divmod(round(8 * width * share), 8)
    return ("█" * whole + " ▏▎▍▌▋▊▉"[part] * (part > 0)).ljust(width)


def _check_drawing(path: Path) -> None:
    if path.suffix.lower() not in _DRAWINGS:
        raise UsageError(f"--picture={path} must end in {', '.join(_DRAWINGS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--picture={path}: there is no folder {path.parent}")


def draw(path: Path, predictions: list[Prediction], saved: SavedRun) -> None:
    """Writes the images as the network saw them, with their ranked guesses."""
    from cnn_jax.analysis.plots import ranked_guesses

    names = saved.dataset.class_names
    labels = [names.index(each.label) for each in predictions if each.label is not None]
    figure = ranked_guesses(
        np.stack([each.fitted.image for each in predictions]),
        np.array(labels) if len(labels) == len(predictions) else None,
        np.stack([each.probabilities for each in predictions]),
        names,
        FLAGS.top,
    )
    try:
        figure.savefig(path, dpi=144)
    except OSError as error:
        raise UsageError(f"cannot write --picture={path}: {error.strerror}") from error


if __name__ == "__main__":
    launch(main, takes_paths=True)
