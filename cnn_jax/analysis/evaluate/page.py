"""The page of an evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_jax.analysis.evaluate import charts
from cnn_jax.analysis.evaluate.evaluation import BINS, Calibration, Evaluation, Reliability
from cnn_jax.analysis.figures import to_svg
from cnn_jax.analysis.pages import page_template

# The classes of a confusion matrix that still fit a phone's width; a larger one scrolls.
_NARROW_CLASSES = 12
# Diagrams of more labels would be a page of their own; the table has all numbers.
_DIAGRAMS = 12


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
    yes = [calibration.before.probabilities[:, 1] for calibration in evaluation.calibrations]
    return page_template("evaluate/page.html").render(
        evaluation=evaluation,
        title=title,
        notes=notes,
        facts=facts,
        **figures_of(evaluation, yes),
        diagrams=_diagrams(evaluation.calibrations),
    )


def figures_of(evaluation: Evaluation, probabilities: Sequence[np.ndarray]) -> dict[str, Any]:
    """What the templates of classes and of labels draw, by the names they know it by.

    Args:
        evaluation: of classes, whose figure is the confusion matrix; or of labels, whose figure is
            their curves of precision and recall.
        probabilities: of each label, one for each example.
    """
    rows = evaluation.rows
    if evaluation.confusion is not None:
        figure = charts.confusion_matrix(evaluation.confusion, evaluation.names)
        return {"wide": len(rows) > _NARROW_CLASSES, "confusion_svg": to_svg(figure, "confusion")}
    figure = charts.precision_recall_curves(
        np.stack(probabilities, axis=1),
        evaluation.labels,
        evaluation.names,
        [row.threshold for row in rows],
        [row.average_precision for row in rows],
    )
    return {"precision_recall_svg": to_svg(figure, "precision-recall")}


def _diagrams(calibrations: Sequence[Calibration]) -> list[tuple[str, Reliability, str]]:
    """Of each label as the network is, of classes also with a temperature: heading and <svg>."""
    found: list[tuple[str, Reliability, str]] = []
    for name, truth, before, temperature, after in calibrations[:_DIAGRAMS]:
        headed = {f"{name}, as the network is" if name else "As the network is": before}
        if not name and after is not None:
            headed[f"With temperature {temperature:.3f}"] = after
        for heading, reliability in headed.items():
            figure = charts.reliability_diagram(reliability.probabilities, truth, BINS)
            found.append((heading, reliability, to_svg(figure, f"reliability-{len(found)}")))
    return found
