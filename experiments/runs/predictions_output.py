"""Predictions for people, as bars, and for other programs, as JSON and CSV."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.text import Text

from cnn_jax.analysis import pictures
from cnn_jax.analysis.predictions import Guess
from cnn_jax.analysis.statistics import wilson_interval

# Up to this many pictures have bars; of more, each has a line.
IN_FULL = 20
_NONE = "no label reaches its threshold"


class Prediction(NamedTuple):
    """A picture, what was done to it, and what the network says.

    Attributes:
        path: of the file.
        label: true class, where the folder says so.
        fitted: the image that the network saw.
        probabilities: one for each class or label.
        guesses: the best classes; or the labels that reach their thresholds.
    """

    path: Path
    label: str | None
    fitted: pictures.Fitted
    probabilities: np.ndarray
    guesses: list[Guess]


class Meaning(NamedTuple):
    """What outputs are.

    Attributes:
        names: of the classes or labels.
        top: how many classes are guessed.
        thresholds: of each label, where images have several; None where they have one class.
        calibrated: whether outputs are meant as probabilities.
    """

    names: tuple[str, ...]
    top: int
    thresholds: Float[np.ndarray, "l"] | None
    calibrated: bool

    def threshold(self, name: str) -> float:
        """The probability from which on a label is said to be there."""
        assert self.thresholds is not None
        return float(self.thresholds[self.names.index(name)])


def print_json(predictions: Iterator[Prediction], meaning: Meaning) -> None:
    """One array, an object on each line."""
    before = "["
    for prediction in predictions:
        record: dict[str, Any] = {"path": str(prediction.path)}
        if meaning.thresholds is None:
            record["label"] = prediction.label
            record["guesses"] = [
                {"class": name, "probability": probability}
                for name, probability in prediction.guesses
            ]
        else:
            record["labels"] = [
                {"name": name, "probability": probability, "threshold": meaning.threshold(name)}
                for name, probability in prediction.guesses
            ]
            record["probabilities"] = dict(
                zip(meaning.names, prediction.probabilities.tolist(), strict=True)
            )
        record |= {
            "calibrated": meaning.calibrated,
            "inverted": prediction.fitted.inverted,
            "centered": prediction.fitted.centered,
        }
        print(before + json.dumps(record), end="")
        before = ",\n"
    print("]")


def print_csv(predictions: Iterator[Prediction], meaning: Meaning) -> None:
    """A heading, and a line for each picture: path, true class, what was done, and the guesses.

    Of several labels an image, those that are said to be there and the probability of each.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    done = ["inverted", "centered"]
    if meaning.thresholds is None:
        ranks = range(1, min(meaning.top, len(meaning.names)) + 1)
        guesses = [f"{what}_{rank}" for rank in ranks for what in ("guess", "probability")]
        writer.writerow(["path", "label", *done, *guesses])
    else:
        writer.writerow(["path", *done, "labels", *meaning.names])
    for prediction in predictions:
        fitted = map(str, prediction.fitted[1:])
        if meaning.thresholds is None:
            values = [value for guess in prediction.guesses for value in guess]
            writer.writerow([prediction.path, prediction.label or "", *fitted, *values])
        else:
            there = ";".join(guess.name for guess in prediction.guesses)
            row = prediction.probabilities.tolist()
            writer.writerow([prediction.path, *fitted, there, *row])


def print_bars(
    console: Console, predictions: Iterator[Prediction], total: int, meaning: Meaning
) -> None:
    """Bars for a few pictures, a line for each of many; at the end what it came to."""
    known = right = 0
    for prediction in predictions:
        if prediction.label is not None:
            known += 1
            right += prediction.label == prediction.guesses[0].name
        if total > IN_FULL:
            guesses = ", ".join(
                f"{guess.name} {guess.probability:.1%}" for guess in prediction.guesses
            )
            console.print(Text(f"{prediction.path}  {guesses or _NONE}"), soft_wrap=True)
        else:
            _print_in_full(console, prediction, meaning)
    if known > 1:
        low, high = wilson_interval(right, known)
        console.print(
            f"{right:,} of {known:,} whose class is known are right: {right / known:.2%} "
            f"(95% interval {low:.2%} to {high:.2%})"
        )


def _print_in_full(console: Console, prediction: Prediction, meaning: Meaning) -> None:
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
    width = max((len(guess.name) for guess in prediction.guesses), default=0)
    several = meaning.thresholds is not None
    for rank, guess in enumerate(prediction.guesses):
        right = prediction.label in (None, guess.name)
        line = Text(f"  {guess.name:>{width}} ", style="bold" if rank == 0 or several else "")
        line.append(_bar(guess.probability, console.encoding), style="blue" if right else "yellow")
        line.append(f" {guess.probability:6.1%}")
        if several:
            line.append(f"  from {meaning.threshold(guess.name):.0%} on", style="not bold dim")
        console.print(line)
    if several:
        _print_others(console, prediction, meaning)
    console.print()


def _print_others(console: Console, prediction: Prediction, meaning: Meaning) -> None:
    """The labels that are not said to be there."""
    there = {guess.name for guess in prediction.guesses}
    if not there:
        console.print(f"  {_NONE}")
    others = [
        f"{name} {probability:.1%}"
        for name, probability in zip(meaning.names, prediction.probabilities, strict=True)
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
