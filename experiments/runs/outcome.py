"""What a run is worth on the test split: numbers, a line for the terminal, and a page."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.evaluate.labels import Scored
from cnn_jax.analysis.report import insight
from cnn_jax.analysis.report.insight import Noteworthy
from cnn_jax.analysis.statistics import wilson_interval


class Outcome(NamedTuple):
    """What is made of the outputs for the test split.

    Attributes:
        accuracy: in [0, 1].
        interval: 95%, of it.
        meaning: more words on the accuracy, for the terminal.
        numbers: more of them, for the result file.
        mistakes: the examples that it is surest of, and wrong.
        ambiguous: those that it is least sure of.
        render: `record -> page`, the report.
    """

    accuracy: float
    interval: tuple[float, float]
    meaning: str
    numbers: dict[str, Any]
    mistakes: Noteworthy
    ambiguous: Noteworthy
    render: Callable[[Any], str]


def of_classes(
    accuracy: float, probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> Outcome:
    """Of images with one class each.

    Args:
        accuracy: fraction of first guesses that are right.
        probabilities: one for each class.
        labels: true classes.
    """
    from cnn_jax.analysis.report import page as report_page

    correct = round(accuracy * len(labels))
    return Outcome(
        correct / len(labels),
        wilson_interval(correct, len(labels)),
        "",
        {},
        insight.surest_mistakes(probabilities, labels, insight.MISTAKES),
        insight.most_ambiguous(probabilities, insight.AMBIGUOUS),
        report_page.render_report,
    )


def of_labels(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    names: Sequence[str],
    held_out: Scored | None,
) -> Outcome:
    """Of images with several labels each.

    Args:
        probabilities: one for each label.
        labels: multi-hot.
        names: of the labels.
        held_out: probabilities and labels of the examples that thresholds are chosen on.
    """
    from cnn_jax.analysis.evaluate.labels import as_json, evaluate_labels
    from cnn_jax.analysis.report import labels as label_report

    found = evaluate_labels(probabilities, labels, names, held_out)
    thresholds = np.array([row.threshold for row in found.rows], np.float32)
    f1 = ", ".join(f"{row.name} {row.f1:.3f}" for row in found.rows)
    return Outcome(
        found.accuracy,
        found.interval,
        f", the mean over {len(names)} labels, F1 of {f1}",
        as_json(found),
        insight.surest_wrong_answers(probabilities, labels, thresholds, insight.MISTAKES),
        insight.answers_in_doubt(probabilities, thresholds, insight.AMBIGUOUS),
        lambda record: label_report.render_label_report(record, found),
    )
