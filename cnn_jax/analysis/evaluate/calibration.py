"""How far the probabilities of labels are from how often they come true, label by label."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis import figures
from cnn_jax.analysis.evaluate import charts as label_charts
from cnn_jax.analysis.evaluate.classes import BINS, Calibration, calibration
from cnn_jax.analysis.evaluate.labels import LabelEvaluation
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import fit_temperature
from cnn_jax.analysis.report import charts as report_charts

# Diagrams of more labels would be a page of their own; the table has all numbers.
_DIAGRAMS = 12

LogitsAndLabels = tuple[Float[np.ndarray, "m l"], UInt8[np.ndarray, "m l"]]


class LabelCalibration(NamedTuple):
    """The calibration of one label, a question with two answers.

    Attributes:
        name: of the label.
        before: of its probabilities as they are.
        temperature: fitted to other examples; None where there are none.
        after: calibration with it.
    """

    name: str
    before: Calibration
    temperature: float | None
    after: Calibration | None


def two_answers(logits: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 2"]:
    """The logits of no and of yes, whose softmax is what the sigmoid of `logits` says."""
    return np.stack([np.zeros_like(logits), logits], axis=-1)


def calibrate_labels(
    logits: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    names: Sequence[str],
    held_out: LogitsAndLabels | None = None,
) -> list[LabelCalibration]:
    """Measures each label's probabilities, before and after a temperature of its own.

    Args:
        logits: one for each label of each example.
        labels: multi-hot.
        names: one for each label.
        held_out: logits and labels that the temperatures are fitted to, of examples seen neither
            in training nor here.
    """
    found = []
    for index, name in enumerate(names):
        answers, truth = two_answers(logits[:, index]), labels[:, index].astype(np.int32)
        temperature = after = None
        if held_out is not None:
            others, there = (column[:, index] for column in held_out)
            temperature = fit_temperature(two_answers(others), there.astype(np.int32))
            after = calibration(answers / temperature, truth)
        found.append(LabelCalibration(name, calibration(answers, truth), temperature, after))
    return found


def as_json(calibrations: Sequence[LabelCalibration]) -> list[dict[str, Any]]:
    """The numbers as what JSON can hold."""
    return [
        {
            "name": each.name,
            "nll": each.before.nll,
            "ece": each.before.ece,
            "temperature": each.temperature,
            "nll_with_temperature": each.after and each.after.nll,
            "ece_with_temperature": each.after and each.after.ece,
        }
        for each in calibrations
    ]


def render_label_evaluation(
    evaluation: LabelEvaluation,
    calibrations: Sequence[LabelCalibration],
    labels: Int[np.ndarray, "n l"] | UInt8[np.ndarray, "n l"],
    *,
    title: tuple[str, str],
    notes: Sequence[str],
    facts: dict[str, str],
) -> str:
    """The page, self-contained.

    Args:
        evaluation: the numbers of each label.
        calibrations: likewise.
        labels: multi-hot.
        title: what was evaluated, and on what.
        notes: what a reader has to know before believing a number.
        facts: more to say beside the numbers, by its heading.
    """
    names = [row.name for row in evaluation.rows]
    probabilities = np.stack([each.before.probabilities[:, 1] for each in calibrations], axis=1)
    areas = [row.average_precision for row in evaluation.rows]
    curves = label_charts.precision_recall_curves(
        probabilities, labels, names, [row.threshold for row in evaluation.rows], areas
    )
    return page_template("evaluate/labels.html").render(
        evaluation=evaluation,
        calibrations=calibrations,
        examples=len(labels),
        mean_precision=float(np.mean(areas)),
        title=title,
        notes=notes,
        facts=facts,
        precision_recall_svg=figures.to_svg(curves, "precision-recall"),
        diagrams=[
            (
                each.name,
                figures.to_svg(
                    report_charts.reliability_diagram(
                        each.before.probabilities, labels[:, index], BINS
                    ),
                    f"reliability-{index}",
                ),
            )
            for index, each in enumerate(calibrations[:_DIAGRAMS])
        ],
    )
