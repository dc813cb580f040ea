"""Guesses what pictures show: `python -m experiments.predict --run=DIR photo.png more.jpg folder/`.

Pictures of any size and kind, and folders of them, go through the network of a trained run. The
guesses are printed as bars, drawn (--picture=guesses.png), or given to another program (--json,
--csv). Where a picture lies in a folder with the name of a class, that is taken as its true class.
Of a run whose images have several labels, each label over its threshold is listed.
"""

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from rich.console import Console
from rich.text import Text

from cnn_jax import compilation, storage
from cnn_jax.analysis import figures, pictures
from cnn_jax.analysis.likeness import unit_features
from cnn_jax.analysis.predictions import Guess, ranked, there
from cnn_jax.analysis.statistics import wilson_interval
from cnn_jax.data.cache import progress
from cnn_jax.display import cell
from cnn_jax.errors import UsageError
from cnn_jax.storage import strict_json
from cnn_jax.studies.saved_run import SavedRun

from . import command
from .launch import launch, terminal
from .output import DRAWINGS, file_for
from .runs import saved_run
from .runs.picture_files import Skipped, find_pictures, read_fitted, true_class

FLAGS = flags.FLAGS
for _name in ("run", "top", "json", "invert", "extend"):
    flags.declare_key_flag(_name)
flags.DEFINE_bool("csv", False, "Print CSV and nothing else, one line for each picture.")
flags.DEFINE_string(
    "picture", None, "Draw the first 24 pictures and their guesses: a .png, .svg or .pdf."
)

BATCH = 256
DRAWN = 24
_MOST_LABELS = 8
# Up to this many pictures have bars; of more, each has a line.
_IN_FULL = 20
_NONE = "no label reaches its threshold"
_TRUNCATED = "truncated: gray stands for what is missing"
_UNLIKE = "unlike the training images: farther from them than 99% of those held out"


class Prediction(NamedTuple):
    """A picture, what was done to it, and what the network says.

    Attributes:
        path: of the file.
        label: true class, where the folder says so.
        fitted: the image that the network saw.
        probabilities: one for each class or label.
        guesses: the best classes; or the labels that reach their thresholds.
        unlike: whether it is farther from the training images, in feature space, than 99% of the
            held-out ones; None where that is not known.
    """

    path: Path
    label: str | None
    fitted: pictures.Fitted
    probabilities: np.ndarray
    guesses: list[Guess]
    unlike: bool | None = None


# The probability from which on each label is said to be there; None where images have one class.
Thresholds = dict[str, float] | None


def main(paths: list[str]) -> None:
    """Predicts as the flags say."""
    saved_run.check_flags(main)
    if FLAGS.json and FLAGS.csv:
        raise UsageError("--json and --csv are two formats; give one of them")
    if FLAGS.picture:
        file_for("picture", FLAGS.picture, DRAWINGS)
    if not paths:
        raise UsageError(
            f"give pictures, or folders of pictures: {command('predict')} --run=DIR a.png"
        )
    saved = saved_run.load()
    thresholds = read_thresholds(saved)
    skipped = Skipped()
    files = find_pictures(paths, skipped)
    predictions = predict(saved, thresholds, files, skipped)
    first = list(itertools.islice(predictions, DRAWN))
    if not first:
        skipped.fail()
    predictions = itertools.chain(first, predictions)
    if FLAGS.json:
        print_json(predictions, saved, thresholds)
    elif FLAGS.csv:
        print_csv(predictions, saved, thresholds)
    else:
        print_bars(terminal(), predictions, len(files), thresholds)
        if not saved.calibrated:
            terminal().print(saved_run.UNCALIBRATED.format(saved.config.loss))
    skipped.tell()
    if FLAGS.picture:
        draw(Path(FLAGS.picture), first, saved, thresholds)
        if not (FLAGS.json or FLAGS.csv):
            said = f"picture: {FLAGS.picture}, of {len(first)} of {len(files)} files"
            terminal().print(said, markup=False)


def read_thresholds(saved: SavedRun) -> Thresholds:
    """The thresholds of the run's labels, if it has labels.

    Raises:
        UsageError: if guesses are to be ranked where there are labels.
    """
    if not saved.task.multi_label:
        return None
    if FLAGS["top"].present:
        raise UsageError(
            f"--top has no effect here: images of {saved.record.name} have several labels, and "
            "each one over its threshold is listed"
        )
    return dict(zip(saved.class_names, saved.thresholds.tolist(), strict=True))


def predict(
    saved: SavedRun, thresholds: Thresholds, files: list[Path], skipped: Skipped
) -> Iterator[Prediction]:
    """The predictions for files one after the other; no more than a batch is in memory."""
    style = saved.record.style
    size = min(BATCH, 1 << (len(files) - 1).bit_length()) if files else 1
    compiled = compilation.jit(
        lambda state, images: saved.probabilities(
            saved.run.predict(state, images) / saved.temperature
        )
    )
    known = saved.likeness
    features = None if known is None else unit_features(saved.network)
    names = saved.class_names
    with ThreadPoolExecutor() as pool, progress("Looking", len(files)) as advance:
        for start in range(0, len(files), size):
            chosen = files[start : start + size]
            good = []
            fitted_all = pool.map(lambda path: read_fitted(path, saved.record), chosen)
            for path, found in zip(chosen, fitted_all, strict=True):
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
            skipped.note_frames([path for path, _ in good])
            skipped.tell()
            rows = np.asarray(compiled(saved.state, images))[: len(good)]
            far: list[bool | None] = [None] * len(rows)
            if known is not None and features is not None:
                far = (known.distances(features(images)[: len(good)]) > known.limit).tolist()
            guessed = (
                ranked(rows, names, FLAGS.top)
                if thresholds is None
                else there(rows, names, np.array(list(thresholds.values())))
            )
            for (path, fitted), row, guesses, unlike in zip(good, rows, guessed, far, strict=True):
                yield Prediction(path, true_class(path, saved), fitted, row, guesses, unlike)


def print_json(predictions: Iterator[Prediction], saved: SavedRun, thresholds: Thresholds) -> None:
    """One array, an object on each line."""
    before = "["
    for prediction in predictions:
        record: dict[str, Any] = {"path": str(prediction.path)}
        if thresholds is None:
            record["label"] = prediction.label
            record["guesses"] = [
                {"class": name, "probability": probability}
                for name, probability in prediction.guesses
            ]
        else:
            record["labels"] = [
                {"name": name, "probability": probability, "threshold": thresholds[name]}
                for name, probability in prediction.guesses
            ]
            record["probabilities"] = dict(
                zip(thresholds, prediction.probabilities.tolist(), strict=True)
            )
        record |= {
            "calibrated": saved.calibrated,
            "inverted": prediction.fitted.inverted,
            "centered": prediction.fitted.centered,
            "truncated": prediction.fitted.truncated,
            "unlike_training": prediction.unlike,
        }
        print(before + strict_json(record), end="")
        before = ",\n"
    print("]")


def print_csv(predictions: Iterator[Prediction], saved: SavedRun, thresholds: Thresholds) -> None:
    """A heading, and a line for each picture: path, true class, what was done, and the guesses.

    Of several labels an image, those that are said to be there and the probability of each.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")

    def write(values: Iterable[object]) -> None:
        writer.writerow(cell(each) if isinstance(each, str) else each for each in values)

    done = ["inverted", "centered", "truncated", "unlike_training"]
    if thresholds is None:
        ranks = range(1, min(FLAGS.top, len(saved.class_names)) + 1)
        guesses = [f"{what}_{rank}" for rank in ranks for what in ("guess", "probability")]
        write(["path", "label", *done, *guesses])
    else:
        write(["path", *done, "labels", *thresholds])
    for prediction in predictions:
        unlike = "" if prediction.unlike is None else prediction.unlike
        fitted = map(str, (*prediction.fitted[1:], unlike))
        if thresholds is None:
            values = [value for guess in prediction.guesses for value in guess]
            write([str(prediction.path), prediction.label or "", *fitted, *values])
        else:
            there = ";".join(guess.name for guess in prediction.guesses)
            row = prediction.probabilities.tolist()
            write([str(prediction.path), *fitted, there, *row])


def print_bars(
    console: Console, predictions: Iterator[Prediction], total: int, thresholds: Thresholds
) -> None:
    """Bars for a few pictures, a line for each of many; at the end what it came to."""
    known = right = 0
    for prediction in predictions:
        if prediction.label is not None:
            known += 1
            right += prediction.label == prediction.guesses[0].name
        if total > _IN_FULL:
            guesses = ", ".join(
                f"{guess.name} {guess.probability:.1%}" for guess in prediction.guesses
            )
            cut = f" ({_TRUNCATED})" if prediction.fitted.truncated else ""
            unlike = f"  ({_UNLIKE})" if prediction.unlike else ""
            line = f"{prediction.path}{cut}  {guesses or _NONE}{unlike}"
            console.print(Text(line), soft_wrap=True)
        else:
            _print_in_full(console, prediction, thresholds)
    if known > 1:
        low, high = wilson_interval(right, known)
        console.print(
            f"{right:,} of {known:,} whose class is known are right: {right / known:.2%} "
            f"(95% interval {low:.2%} to {high:.2%})"
        )


def _print_in_full(console: Console, prediction: Prediction, thresholds: Thresholds) -> None:
    heading = Text(str(prediction.path), style="bold")
    done = []
    if prediction.label is not None:
        done.append(f"true class {prediction.label}")
    if prediction.fitted.inverted:
        done.append("light and dark exchanged")
    if prediction.fitted.centered:
        done.append("cut out and centered as the training images are")
    if prediction.fitted.truncated:
        done.append(_TRUNCATED)
    if done:
        heading.append(f"  {'; '.join(done)}", style="not bold dim")
    console.print(heading)
    if prediction.unlike:
        console.print(Text(f"  {_UNLIKE}", style="yellow"))
    width = max((len(guess.name) for guess in prediction.guesses), default=0)
    for rank, guess in enumerate(prediction.guesses):
        right = prediction.label in (None, guess.name)
        line = Text(f"  {guess.name:>{width}} ", style="bold" if rank == 0 or thresholds else "")
        line.append(_bar(guess.probability, console.encoding), style="blue" if right else "yellow")
        line.append(f" {guess.probability:6.1%}")
        if thresholds:
            line.append(f"  from {thresholds[guess.name]:.0%} on", style="not bold dim")
        console.print(line)
    if thresholds:
        _print_others(console, prediction, list(thresholds))
    console.print()


def _print_others(console: Console, prediction: Prediction, names: list[str]) -> None:
    """The labels that are not said to be there."""
    there = {guess.name for guess in prediction.guesses}
    if not there:
        console.print(f"  {_NONE}")
    others = [
        f"{name} {probability:.1%}"
        for name, probability in zip(names, prediction.probabilities, strict=True)
        if name not in there
    ]
    if others:
        console.print(Text(f"  below their thresholds: {', '.join(others)}", style="dim"))


def _bar(share: float, encoding: str) -> str:
    """A bar of 32 characters at most, and spaces up to them."""
    width = 32
    if not encoding.lower().startswith("utf"):
        return ("#" * round(width * share)).ljust(width)
    whole, part = divmod(round(8 * width * share), 8)
    return ("█" * whole + " ▏▎▍▌▋▊▉"[part] * (part > 0)).ljust(width)


def draw(
    path: Path, predictions: list[Prediction], saved: SavedRun, thresholds: Thresholds
) -> None:
    """Writes the images as the network saw them, with their ranked guesses."""
    from cnn_jax.analysis.charts import ranked_guesses

    names = saved.class_names
    labels = [names.index(each.label) for each in predictions if each.label is not None]
    figure = ranked_guesses(
        np.stack([each.fitted.image for each in predictions]),
        np.array(labels) if len(labels) == len(predictions) else None,
        np.stack([each.probabilities for each in predictions]),
        names,
        FLAGS.top if thresholds is None else _MOST_LABELS,
        None if thresholds is None else np.array(list(thresholds.values())),
    )
    with figures.missing_letters_said():
        storage.write(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=144))


if __name__ == "__main__":
    launch(main, takes_paths=True)
