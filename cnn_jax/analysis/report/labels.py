"""The report of one training run on images with several labels: one self-contained HTML page."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cnn_jax.analysis import figures
from cnn_jax.analysis.evaluate import charts as label_charts
from cnn_jax.analysis.evaluate.labels import LabelEvaluation
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import true_names
from cnn_jax.analysis.report import charts as report_charts
from cnn_jax.analysis.report import insight
from cnn_jax.analysis.report.page import CALIBRATION_BINS
from cnn_jax.analysis.report.record import (
    RunRecord,
    counted_parameters,
    curves,
    divergence,
    drawn_at_random,
    filters_svg,
    heat_images,
)
from cnn_jax.ops import metrics

# Label names of more characters stand above their bars, not beside them.
_LONG_NAME = 12
_EVIDENCE = (
    "The right picture shows what speaks for the label named beneath it (blue) and what against it "
    "(vermillion), pixel by pixel (integrated gradients of its logit)."
)


def render_label_report(record: RunRecord, evaluation: LabelEvaluation) -> str:
    """The page of one run, self-contained: it opens offline and asks for nothing from outside.

    The same arguments give the same text.

    Args:
        record: of the run; its test labels are multi-hot.
        evaluation: of its test probabilities.
    """
    rows = evaluation.rows
    pairs, truth = _answers(record)
    calibration_error = metrics.expected_calibration_error(
        jnp.asarray(pairs), jnp.asarray(truth), bins=CALIBRATION_BINS
    )
    longest_name = max(map(len, record.class_names))
    return page_template("report/labels.html").render(
        record=record,
        evaluation=evaluation,
        headline={
            "parameters": counted_parameters(record),
            "calibration_error": float(calibration_error),
            "mean_precision": float(np.mean([row.average_precision for row in rows])),
        },
        warnings=_warnings(record),
        curves=curves(record.history),
        precision_recall_svg=figures.to_svg(
            label_charts.precision_recall_curves(
                record.test_probabilities,
                record.test_labels,
                record.class_names,
                [row.threshold for row in rows],
                [row.average_precision for row in rows],
            ),
            "precision-recall",
        ),
        reliability_svg=figures.to_svg(
            report_charts.reliability_diagram(pairs, truth, CALIBRATION_BINS), "reliability"
        ),
        galleries=_galleries(record, np.array([row.threshold for row in rows], np.float32)),
        filters_svg="" if record.insight is None else filters_svg(record.insight.filters),
        layout={
            "bins": CALIBRATION_BINS,
            "long_names": longest_name > _LONG_NAME,
            "name_characters": longest_name + 3,  # room for the mark of a label that is there
        },
    )


def _answers(record: RunRecord) -> tuple[Float[np.ndarray, "a 2"], Int[np.ndarray, "a"]]:
    """Every label of every example as a question of its own: probabilities of no and of yes."""
    yes = record.test_probabilities.ravel()
    return np.stack([1 - yes, yes], axis=1), record.test_labels.ravel().astype(np.int32)


def _warnings(record: RunRecord) -> list[str]:
    """What a reader has to know before believing a number of the page."""
    warnings = divergence(record.history)
    undefined = int(np.sum(~np.isfinite(record.test_probabilities).all(axis=1)))
    if undefined:
        warnings.append(
            f"The outputs of {undefined:,} of {len(record.test_labels):,} test examples are not "
            "finite. They count as wrong in the accuracies, and as saying no in precision and "
            "recall; the curves and the reliability diagram leave them out."
        )
    if not record.calibrated:
        warnings.append(
            "The loss of this run does not make the outputs probabilities: they rank the examples, "
            "but their size, and so the length of a bar, is not calibrated."
        )
    return warnings


class _Answer(NamedTuple):
    name: str
    probability: float
    threshold: float
    there: bool
    right: bool


class _Card(NamedTuple):
    """One test image with an answer for each label; none where an output is not finite.

    Attributes:
        number: of the test example.
        image: its address.
        truth: the labels that are there.
        answers: one for each label.
        evidence: a picture of what speaks for a label.
        about: that label.
    """

    number: int
    image: str
    truth: str
    answers: list[_Answer]
    evidence: str = ""
    about: str = ""


class _Gallery(NamedTuple):
    title: str
    note: str
    cards: list[_Card]


def _galleries(record: RunRecord, thresholds: Float[np.ndarray, "l"]) -> list[_Gallery]:
    """Test examples drawn at random, those of the surest wrong answers, and those in doubt."""
    probabilities, labels, seen = record.test_probabilities, record.test_labels, record.insight
    drawn = drawn_at_random(len(probabilities))
    wrong = insight.surest_wrong_answers(probabilities, labels, thresholds, insight.MISTAKES)
    doubtful = insight.answers_in_doubt(probabilities, thresholds, insight.AMBIGUOUS)
    note = "" if seen is None else _EVIDENCE
    return [
        _Gallery(
            "Test examples drawn at random", "", [_card(record, thresholds, i) for i in drawn]
        ),
        _Gallery(
            "The surest wrong answers",
            note,
            _cards(record, thresholds, wrong, None if seen is None else seen.mistakes),
        ),
        _Gallery(
            "The answers nearest to their threshold",
            note,
            _cards(record, thresholds, doubtful, None if seen is None else seen.ambiguous),
        ),
    ]


def _cards(
    record: RunRecord,
    thresholds: np.ndarray,
    noteworthy: insight.Noteworthy,
    heats: np.ndarray | None,
) -> list[_Card]:
    cards = [_card(record, thresholds, index) for index in noteworthy.examples]
    if heats is None:
        return cards
    pictures = heat_images(record.test_images[noteworthy.examples], heats)
    return [
        card._replace(evidence=picture, about=record.class_names[label])
        for card, picture, label in zip(cards, pictures, noteworthy.evidence.outputs, strict=True)
    ]


def _card(record: RunRecord, thresholds: np.ndarray, index: int) -> _Card:
    probabilities, labels = record.test_probabilities[index], record.test_labels[index] > 0
    answers = zip(record.class_names, probabilities, thresholds, labels, strict=True)
    return _Card(
        int(index),
        figures.image_to_png(record.test_images[index]),
        true_names(record.test_labels[index], record.class_names),
        [
            _Answer(name, float(p), float(least), bool(label), bool((p >= least) == label))
            for name, p, least, label in answers
            if np.isfinite(probabilities).all()
        ],
    )
