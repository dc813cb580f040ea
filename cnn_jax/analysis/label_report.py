"""The report of one training run on images with several labels: one self-contained HTML page."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from cnn_jax.analysis import figures, label_plots, plots
from cnn_jax.analysis.label_evaluation import LabelEvaluation
from cnn_jax.analysis.report import (
    CALIBRATION_BINS,
    MISTAKES,
    RANDOM_EXAMPLES,
    RunRecord,
    counted_parameters,
    curves,
    divergence,
    page_template,
)
from cnn_jax.ops import metrics

# Label names of more characters stand above their bars, not beside them.
_LONG_NAME = 12


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
    return page_template("label_report.html").render(
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
            label_plots.precision_recall_curves(
                record.test_probabilities,
                record.test_labels,
                record.class_names,
                [row.threshold for row in rows],
                [row.average_precision for row in rows],
            ),
            "precision-recall",
        ),
        reliability_svg=figures.to_svg(
            plots.reliability_diagram(pairs, truth, CALIBRATION_BINS), "reliability"
        ),
        galleries=_galleries(record, np.array([row.threshold for row in rows], np.float32)),
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
    undefined = int(np.sum(~_finite(record)))
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


def _finite(record: RunRecord) -> Bool[np.ndarray, "n"]:
    return np.isfinite(record.test_probabilities).all(axis=1)


class _Answer(NamedTuple):
    name: str
    probability: float
    threshold: float
    there: bool
    right: bool


class _Card(NamedTuple):
    """One test image with an answer for each label; none where an output is not finite."""

    number: int
    image: str
    truth: str
    answers: list[_Answer]


def _galleries(
    record: RunRecord, thresholds: Float[np.ndarray, "l"]
) -> list[tuple[str, list[_Card]]]:
    """Cards of test examples drawn at random, and of those with the surest wrong answers."""
    probabilities, finite = record.test_probabilities, _finite(record)
    # A fixed seed: a report is a function of its record, and nobody picks the flattering images.
    drawn = np.random.default_rng(0).permutation(len(finite))[:RANDOM_EXAMPLES]
    wrong = (probabilities >= thresholds) != (record.test_labels > 0)
    wrong &= finite[:, None]
    distance = np.where(wrong, np.abs(probabilities - thresholds), -1).max(axis=1)
    surest = np.argsort(-distance, kind="stable")[: min(MISTAKES, int(wrong.any(axis=1).sum()))]
    return [
        (title, [_card(record, thresholds, index) for index in chosen])
        for title, chosen in (
            ("Test examples drawn at random", np.sort(drawn)),
            ("The surest wrong answers", surest),
        )
    ]


def _card(record: RunRecord, thresholds: np.ndarray, index: int) -> _Card:
    probabilities, labels = record.test_probabilities[index], record.test_labels[index] > 0
    there = [name for name, label in zip(record.class_names, labels, strict=True) if label]
    answers = zip(record.class_names, probabilities, thresholds, labels, strict=True)
    return _Card(
        int(index),
        figures.image_to_png(record.test_images[index]),
        ", ".join(there) or "none of the labels",
        [
            _Answer(name, float(p), float(least), bool(label), bool((p >= least) == label))
            for name, p, least, label in answers
            if np.isfinite(probabilities).all()
        ],
    )
