"""The report of one training run: plain data in, one self-contained HTML page out.

Of images with one class each; `label_report` is its counterpart for several labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cnn_jax.analysis import figures
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import true_names
from cnn_jax.analysis.report import charts as report_charts
from cnn_jax.analysis.report import insight
from cnn_jax.analysis.report.record import (
    RunRecord,
    counted_parameters,
    curves,
    divergence,
    drawn_at_random,
    filters_svg,
    heat_images,
)
from cnn_jax.analysis.statistics import wilson_interval
from cnn_jax.ops import metrics

GUESSES = 5
CONFUSED_PAIRS = 10
CALIBRATION_BINS = 15
# The classes of the matrix that still fit a phone's width; a larger one scrolls.
NARROW_CLASSES = 12
# Class names of more characters stand above their bars, not beside them.
LONG_NAME = 9
_EVIDENCE = (
    "The right picture shows what speaks for {} (blue) rather than for {} (vermillion), pixel by "
    "pixel (integrated gradients of the difference of their logits)."
)


def render_report(record: RunRecord) -> str:
    """The page of one run, self-contained: it opens offline and asks for nothing from outside.

    The same record gives the same text.
    """
    predictions = _predictions(record.test_probabilities)
    labels = jnp.asarray(record.test_labels)
    confusion = np.asarray(
        metrics.confusion_matrix(labels, jnp.asarray(predictions), len(record.class_names))
    )
    return page_template("report/page.html").render(
        record=record,
        headline=_headline(record, predictions),
        warnings=_warnings(record, predictions),
        curves=curves(record.history),
        confusion_svg=figures.to_svg(
            report_charts.confusion_matrix(confusion, record.class_names), "confusion"
        ),
        confused_pairs=_confused_pairs(confusion, record.class_names),
        classes=_class_rows(confusion, record.class_names),
        reliability_svg=figures.to_svg(
            report_charts.reliability_diagram(
                record.test_probabilities, record.test_labels, CALIBRATION_BINS
            ),
            "reliability",
        ),
        galleries=_galleries(record),
        filters_svg="" if record.insight is None else filters_svg(record.insight.filters),
        layout=_layout(record.class_names),
    )


def _layout(class_names: Sequence[str]) -> dict[str, Any]:
    """What of the page's form depends on the classes, and the constants it shares with plots."""
    longest_name = max(map(len, class_names))
    return {
        "bins": CALIBRATION_BINS,
        "wide": len(class_names) > NARROW_CLASSES,
        "fully_counted": len(class_names) <= report_charts.MAX_CLASSES_FULLY_COUNTED,
        "large_share": report_charts.LARGE_SHARE,
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
    """One test image with its ranked guesses; none where an output is not finite.

    Attributes:
        number: of the test example.
        image: its address.
        truth: its true class.
        guesses: the best of them.
        evidence: a picture of what speaks for the first guess, and not for the other class.
        between: the two classes.
    """

    number: int
    image: str
    truth: str
    guesses: list[_Guess]
    evidence: str = ""
    between: tuple[str, str] = ("", "")


class _Gallery(NamedTuple):
    title: str
    note: str
    cards: list[_Card]


def _galleries(record: RunRecord) -> list[_Gallery]:
    """Test examples drawn at random, the surest mistakes, and those between two classes."""
    probabilities, seen = record.test_probabilities, record.insight
    mistakes = insight.surest_mistakes(probabilities, record.test_labels, insight.MISTAKES)
    ambiguous = insight.most_ambiguous(probabilities, insight.AMBIGUOUS)
    shown = "" if seen is None else _EVIDENCE
    return [
        _Gallery(
            "Test examples drawn at random",
            "",
            [_card(record, index) for index in drawn_at_random(len(probabilities))],
        ),
        _Gallery(
            "The most confident mistakes",
            shown.format("the wrong guess", "the true class"),
            _cards(record, mistakes, None if seen is None else seen.mistakes),
        ),
        _Gallery(
            "Duck or rabbit? The two best guesses nearest to each other",
            shown.format("the first guess", "the second"),
            _cards(record, ambiguous, None if seen is None else seen.ambiguous),
        ),
    ]


def _cards(
    record: RunRecord, noteworthy: insight.Noteworthy, heats: np.ndarray | None
) -> list[_Card]:
    cards = [_card(record, index) for index in noteworthy.examples]
    if heats is None:
        return cards
    others = noteworthy.evidence.rather_than
    assert others is not None
    return [
        card._replace(
            evidence=picture, between=(record.class_names[first], record.class_names[second])
        )
        for card, picture, first, second in zip(
            cards,
            heat_images(record.test_images[noteworthy.examples], heats),
            noteworthy.evidence.outputs,
            others,
            strict=True,
        )
    ]


def _card(record: RunRecord, index: int) -> _Card:
    probabilities, truth = record.test_probabilities[index], record.test_labels[index]
    finite = np.isfinite(probabilities).all()
    return _Card(
        int(index),
        figures.image_to_png(record.test_images[index]),
        true_names(truth, record.class_names),
        [
            _Guess(record.class_names[guess], float(probabilities[guess]), bool(guess == truth))
            for guess in report_charts.top_guesses(probabilities[None], GUESSES)[0]
            if finite
        ],
    )
