"""The page of an evaluation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.analysis.evaluate import charts
from cnn_jax.analysis.evaluate.evaluation import BINS, Calibration, Evaluation, Reliability
from cnn_jax.analysis.figures import to_svg
from cnn_jax.analysis.pages import page_template

# The classes of a confusion matrix that still fit a phone's width; a larger one scrolls.
NARROW_CLASSES = 12
# Diagrams of more labels would be a page of their own; the table has all numbers.
_DIAGRAMS = 12


class _Diagram(NamedTuple):
    heading: str
    reliability: Reliability
    svg: str


def render_evaluation(
    evaluation: Evaluation, *, title: tuple[str, str], notes: Sequence[str], facts: dict[str, str]
) -> str:
    """The page, self-contained.

    Args:
        evaluation: the numbers, with calibrations.
        title: what was evaluated, and on what.
        notes: what a reader has to know before believing a number.
        facts: more to say beside the numbers, by its heading.
    """
    confusion, curves = evaluation.confusion, ""
    if evaluation.several:
        yes = [calibration.before.probabilities[:, 1] for calibration in evaluation.calibrations]
        curves = precision_recall_svg(evaluation, yes)
    return page_template("evaluate/page.html").render(
        evaluation=evaluation,
        title=title,
        notes=notes,
        facts=facts,
        wide=len(evaluation.rows) > NARROW_CLASSES,
        confusion_svg=""
        if confusion is None
        else to_svg(charts.confusion_matrix(confusion, evaluation.names), "confusion"),
        precision_recall_svg=curves,
        diagrams=_diagrams(evaluation.calibrations),
    )


def precision_recall_svg(evaluation: Evaluation, probabilities: Sequence[np.ndarray]) -> str:
    """The precision-recall curves of the labels as one <svg>.

    Args:
        evaluation: of images with several labels.
        probabilities: of each label, one for each example.
    """
    return to_svg(
        charts.precision_recall_curves(
            np.stack(probabilities, axis=1),
            evaluation.labels,
            evaluation.names,
            [row.threshold for row in evaluation.rows],
            [row.average_precision for row in evaluation.rows],
        ),
        "precision-recall",
    )


def _diagrams(calibrations: Sequence[Calibration]) -> list[_Diagram]:
    """Of each label as the network is; of classes also with a temperature."""
    found = []
    for calibration in calibrations[:_DIAGRAMS]:
        heading = (
            f"{calibration.name}, as the network is" if calibration.name else "As the network is"
        )
        found.append((heading, calibration.truth, calibration.before))
        if not calibration.name and calibration.after is not None:
            heading = f"With temperature {calibration.temperature:.3f}"
            found.append((heading, calibration.truth, calibration.after))
    return [
        _Diagram(
            heading,
            reliability,
            to_svg(
                charts.reliability_diagram(reliability.probabilities, truth, BINS),
                f"reliability-{index}",
            ),
        )
        for index, (heading, truth, reliability) in enumerate(found)
    ]
