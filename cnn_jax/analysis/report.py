"""The report of one training run: plain data in, one self-contained HTML page out.

Of images with one class each; `label_report` is its counterpart for several labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis import figures, plots
from cnn_jax.ops import metrics

if TYPE_CHECKING:
    from jinja2 import Template

GUESSES = 5
RANDOM_EXAMPLES = 12
MISTAKES = 12
CONFUSED_PAIRS = 10
CALIBRATION_BINS = 15
# The classes of the matrix that still fit a phone's width; a larger one scrolls.
NARROW_CLASSES = 12
# Class names of more characters stand above their bars, not beside them.
LONG_NAME = 9


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that the report of one run says, as numpy arrays and builtins.

    Attributes:
        dataset: name of the data set.
        model: name of the model.
        class_names: one per class (or label), in the order of the labels.
        history: one mapping per epoch: epoch, learning_rate, train_loss, train_accuracy,
            validation_loss, validation_accuracy (both absent without a validation split),
            seconds, images_per_second. Accuracies are fractions in [0, 1].
        test_loss: mean loss over the test examples.
        test_probabilities: one row per test example, each in [0, 1], NaN if the run diverged.
        test_labels: true classes; or multi-hot rows, where images have several labels.
        test_images: the images themselves, with 1, 3 or 4 channels.
        parameters: one mapping or named tuple per layer: name, kind, output_shape, formula,
            count (parameters by the formula) and counted (parameters in the model).
        flags: the command that repeats the run, ready to be copied.
        environment: names and versions of what it ran on.
        train_seconds: wall time of the training, without compilation.
        compile_seconds: wall time of the compilation.
        calibrated: whether the loss makes the model's outputs probabilities; if not, the page
            says that they rank but do not measure.

    Raises:
        ValueError: there is no test example, or the shapes disagree.
    """

    dataset: str
    model: str
    class_names: Sequence[str]
    history: Sequence[Mapping[str, float]]
    test_loss: float
    test_probabilities: Float[np.ndarray, "n c"]
    test_labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n c"]
    test_images: UInt8[np.ndarray, "n h w channels"]
    parameters: Sequence[Any]
    flags: str
    environment: Mapping[str, str]
    train_seconds: float
    compile_seconds: float
    calibrated: bool

    def __post_init__(self) -> None:
        examples = len(self.test_labels)
        expected = (examples, len(self.class_names))
        if self.test_probabilities.shape != expected:
            raise ValueError(
                f"test_probabilities must have shape {expected} (test examples, classes), "
                f"got {self.test_probabilities.shape}"
            )
        if self.test_labels.shape not in ((examples,), expected):
            raise ValueError(
                f"test_labels must have shape {expected[:1]} or be multi-hot of shape {expected}, "
                f"got {self.test_labels.shape}"
            )
        if len(self.test_images) != examples or not examples:
            raise ValueError(
                "test_images and test_labels must be equally many and at least one, "
                f"got {len(self.test_images)} and {examples}"
            )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95% interval of a proportion: Wilson, JASA 22, 1927.

    Args:
        successes: in 0 .. trials.
        trials: at least 1.

    Returns:
        Lower and upper end, in [0, 1].
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def render_report(record: RunRecord) -> str:
    """The page of one run, self-contained: it opens offline and asks for nothing from outside.

    The same record gives the same text.
    """
    predictions = _predictions(record.test_probabilities)
    labels = jnp.asarray(record.test_labels)
    confusion = np.asarray(
        metrics.confusion_matrix(labels, jnp.asarray(predictions), len(record.class_names))
    )
    return page_template("report.html").render(
        record=record,
        headline=_headline(record, predictions),
        warnings=_warnings(record, predictions),
        curves=curves(record.history),
        confusion_svg=figures.to_svg(
            plots.confusion_matrix(confusion, record.class_names), "confusion"
        ),
        confused_pairs=_confused_pairs(confusion, record.class_names),
        classes=_class_rows(confusion, record.class_names),
        reliability_svg=figures.to_svg(
            plots.reliability_diagram(
                record.test_probabilities, record.test_labels, CALIBRATION_BINS
            ),
            "reliability",
        ),
        galleries=_galleries(record, predictions),
        layout=_layout(record.class_names),
    )


def _layout(class_names: Sequence[str]) -> dict[str, Any]:
    """What of the page's form depends on the classes, and the constants it shares with plots."""
    longest_name = max(map(len, class_names))
    return {
        "bins": CALIBRATION_BINS,
        "wide": len(class_names) > NARROW_CLASSES,
        "fully_counted": len(class_names) <= plots.MAX_CLASSES_FULLY_COUNTED,
        "large_share": plots.LARGE_SHARE,
        "long_names": longest_name > LONG_NAME,
        "name_characters": longest_name + 3,  # room for the mark of the true class
    }


def _predictions(probabilities: np.ndarray) -> np.ndarray:
    """The first guess of each example; -1, which is no class, where an output is not finite."""
    finite = np.isfinite(probabilities).all(axis=1)
    return np.where(finite, probabilities.argmax(axis=1), -1).astype(np.int32)


class _Headline(NamedTuple):
    accuracy: float
    low: float
    high: float
    correct: int
    guessed: int
    examples: int
    calibration_error: float
    parameters: int


def _headline(record: RunRecord, predictions: np.ndarray) -> _Headline:
    correct = int(np.sum(predictions == record.test_labels))
    examples = len(predictions)
    calibration_error = metrics.expected_calibration_error(
        jnp.asarray(record.test_probabilities),
        jnp.asarray(record.test_labels),
        bins=CALIBRATION_BINS,
    )
    return _Headline(
        correct / examples,
        *wilson_interval(correct, examples),
        correct,
        int(np.sum(predictions >= 0)),
        examples,
        float(calibration_error),
        counted_parameters(record),
    )


def counted_parameters(record: RunRecord) -> int:
    """How many parameters the model of a run has."""
    return sum(
        int(row["counted"] if isinstance(row, Mapping) else row.counted)
        for row in record.parameters
    )


def _warnings(record: RunRecord, predictions: np.ndarray) -> list[str]:
    """What a reader has to know before believing a number of the page."""
    warnings = divergence(record.history)
    undefined = int(np.sum(predictions < 0))
    if undefined:
        warnings.append(
            f"The outputs of {undefined:,} of {len(predictions):,} test examples are not finite. "
            "They count as mistakes in the accuracy; the confusion matrix, the scores per class "
            "and the reliability diagram leave them out."
        )
    if not record.calibrated:
        warnings.append(
            "The loss of this run does not make the outputs probabilities: they rank the guesses, "
            "but their size, and so the length of a bar, is not calibrated."
        )
    return warnings


def curves(history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    """Learning curves, a figure for each panel, so that a narrow page can stack them."""
    return [
        (panel, figures.to_svg(plots.learning_curves(history, [panel]), panel.replace(" ", "-")))
        for panel in plots.history_panels(history)
    ]


def divergence(history: Sequence[Mapping[str, float]]) -> list[str]:
    """A sentence that says when a run diverged, if it did."""
    lost = [row["epoch"] for row in history if not math.isfinite(row["train_loss"])]
    if not lost:
        return []
    return [f"The run diverged: its training loss is not finite at epoch {lost[0]:g}."]


class _ClassRow(NamedTuple):
    number: int
    name: str
    precision: float
    recall: float
    f1: float
    support: int


def _class_rows(confusion: np.ndarray, class_names: Sequence[str]) -> list[_ClassRow]:
    """Scores per class, the lowest F1 first."""
    scores = metrics.per_class(jnp.asarray(confusion))
    columns = [np.asarray(column).tolist() for column in scores]
    rows = [
        _ClassRow(number, name, *values)
        for number, (name, *values) in enumerate(zip(class_names, *columns, strict=True))
    ]
    return sorted(rows, key=lambda row: row.f1)


class _ConfusedPair(NamedTuple):
    truth: str
    guess: str
    examples: int
    share: float


def _confused_pairs(confusion: np.ndarray, class_names: Sequence[str]) -> list[_ConfusedPair]:
    """The largest counts off the diagonal, the largest first."""
    support = confusion.sum(axis=1)
    mistakes = confusion - np.diag(np.diagonal(confusion))
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:CONFUSED_PAIRS]
    pairs = zip(*np.unravel_index(largest, mistakes.shape), strict=True)
    return [
        _ConfusedPair(
            class_names[row],
            class_names[column],
            int(mistakes[row, column]),
            mistakes[row, column] / support[row],
        )
        for row, column in pairs
        if mistakes[row, column]
    ]


class _Guess(NamedTuple):
    name: str
    probability: float
    right: bool


class _Card(NamedTuple):
    """One test image with its ranked guesses; none where an output is not finite."""

    number: int
    image: str
    truth: str
    guesses: list[_Guess]


def _galleries(record: RunRecord, predictions: np.ndarray) -> list[tuple[str, list[_Card]]]:
    """Cards of test examples drawn at random, and of the most confident mistakes."""
    # A fixed seed: a report is a function of its record, and nobody picks the flattering images.
    drawn = np.random.default_rng(0).permutation(len(predictions))[:RANDOM_EXAMPLES]
    wrong = np.flatnonzero((predictions != record.test_labels) & (predictions >= 0))
    confidence = record.test_probabilities[wrong].max(axis=1)
    surest = wrong[np.argsort(-confidence, kind="stable")[:MISTAKES]]
    return [
        ("Test examples drawn at random", [_card(record, index) for index in np.sort(drawn)]),
        ("The most confident mistakes", [_card(record, index) for index in surest]),
    ]


def _card(record: RunRecord, index: int) -> _Card:
    probabilities, truth = record.test_probabilities[index], record.test_labels[index]
    finite = np.isfinite(probabilities).all()
    return _Card(
        int(index),
        figures.image_to_png(record.test_images[index]),
        record.class_names[truth],
        [
            _Guess(record.class_names[guess], float(probabilities[guess]), bool(guess == truth))
            for guess in plots.top_guesses(probabilities[None], GUESSES)[0]
            if finite
        ],
    )


def page_template(name: str) -> "Template":
    """The Jinja2 template of a page, with the colors and the number formats of all pages.

    Args:
        name: of a file beside this one.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = resources.files("cnn_jax.analysis")
    environment = Environment(
        loader=FunctionLoader(lambda file: folder.joinpath(file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "decimal": _decimal, "duration": duration}
    environment.globals["colors"] = {
        "right": figures.RIGHT,
        "wrong": figures.WRONG,
        "ink": figures.INK,
        "faint": figures.FAINT,
    }
    return environment.get_template(name)


def _percent(fraction: float, digits: int = 2) -> str:
    return f"{fraction:.{digits}%}" if math.isfinite(fraction) else "–"


def _decimal(value: float, digits: int = 4) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "not finite"


def duration(seconds: float) -> str:
    """Seconds as a reader says them: "1 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
