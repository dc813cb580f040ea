"""How good a trained network is on some examples, and how sure it may be: numbers and a page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cnn_jax.analysis import figures
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import fit_temperature, negative_log_likelihood
from cnn_jax.analysis.report import charts as report_charts
from cnn_jax.analysis.statistics import wilson_interval
from cnn_jax.ops import metrics
from cnn_jax.ops.activations import OUTPUT_ACTIVATIONS

BINS = 15


class Calibration(NamedTuple):
    """How far probabilities are from how often they come true.

    Attributes:
        nll: mean negative log likelihood, in nats.
        ece: expected calibration error, in [0, 1].
        probabilities: one row for each example.
    """

    nll: float
    ece: float
    probabilities: Float[np.ndarray, "n c"]


class ClassRow(NamedTuple):
    """Scores of one class; support is the number of its examples."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class Evaluation(NamedTuple):
    """All that is measured.

    Attributes:
        labels: true classes.
        correct: how many first guesses are right.
        accuracy: their share.
        interval: 95%, of that share (Wilson).
        top: for k > 1, the share of examples whose class is among the best k guesses.
        confusion: counts, rows true and columns guessed.
        classes: scores of each class.
        before: calibration of the outputs as they are.
        temperature: fitted to other examples; None where there are none.
        after: calibration with it.
    """

    labels: Int[np.ndarray, "n"]
    correct: int
    accuracy: float
    interval: tuple[float, float]
    top: dict[int, float]
    confusion: Int[np.ndarray, "c c"]
    classes: list[ClassRow]
    before: Calibration
    temperature: float | None
    after: Calibration | None


def evaluate(
    logits: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    class_names: Sequence[str],
    *,
    output: str = "softmax",
    top: int = 5,
    held_out: tuple[Float[np.ndarray, "m c"], Int[np.ndarray, "m"]] | None = None,
) -> Evaluation:
    """Measures the outputs of a network against what is true.

    Args:
        logits: one row for each example.
        labels: true classes.
        class_names: one for each class.
        output: softmax or sigmoid, what makes probabilities of logits.
        top: k of the top-k accuracy, which is left out from the number of classes on.
        held_out: logits and labels that a temperature is fitted to, seen neither in training nor
            here.
    """
    scores = jnp.asarray(logits)
    guesses = jnp.argmax(scores, axis=-1)
    confusion = metrics.confusion_matrix(jnp.asarray(labels), guesses, len(class_names))
    columns = [np.asarray(column).tolist() for column in metrics.per_class(confusion)]
    correct = int(jnp.sum(guesses == labels))
    best = {top} if 1 < top < len(class_names) else set()
    temperature = None if held_out is None else fit_temperature(*held_out, output)
    return Evaluation(
        labels=labels,
        correct=correct,
        accuracy=correct / len(labels),
        interval=wilson_interval(correct, len(labels)),
        top={k: float(metrics.top_k_accuracy(scores, jnp.asarray(labels), k)) for k in best},
        confusion=np.asarray(confusion),
        classes=[ClassRow(*row) for row in zip(class_names, *columns, strict=True)],
        before=calibration(logits, labels, output),
        temperature=temperature,
        after=None if temperature is None else calibration(logits / temperature, labels, output),
    )


def calibration(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], output: str = "softmax"
) -> Calibration:
    """How far the probabilities that these logits stand for are from what is true."""
    probabilities = OUTPUT_ACTIVATIONS[output](jnp.asarray(logits))
    error = metrics.expected_calibration_error(probabilities, jnp.asarray(labels), BINS)
    return Calibration(
        negative_log_likelihood(logits, labels, output), float(error), np.asarray(probabilities)
    )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers as what JSON can hold."""
    low, high = evaluation.interval
    return {
        "examples": len(evaluation.labels),
        "correct": evaluation.correct,
        "accuracy": evaluation.accuracy,
        "accuracy_interval_95": [low, high],
        **{f"top_{k}_accuracy": value for k, value in evaluation.top.items()},
        "nll": evaluation.before.nll,
        "ece": evaluation.before.ece,
        "temperature": evaluation.temperature,
        "nll_with_temperature": evaluation.after and evaluation.after.nll,
        "ece_with_temperature": evaluation.after and evaluation.after.ece,
        "classes": [row._asdict() for row in evaluation.classes],
        "confusion": evaluation.confusion.tolist(),
    }


def render_evaluation(
    evaluation: Evaluation, *, title: tuple[str, str], notes: Sequence[str], facts: dict[str, str]
) -> str:
    """The page, self-contained.

    Args:
        evaluation: the numbers.
        title: what was evaluated, and on what.
        notes: what a reader has to know before believing a number.
        facts: more to say beside the numbers, by its heading.
    """
    names = [row.name for row in evaluation.classes]
    diagrams = {"As the network is": evaluation.before}
    if evaluation.after is not None:
        diagrams[f"With temperature {evaluation.temperature:.3f}"] = evaluation.after
    return page_template("evaluate/classes.html").render(
        evaluation=evaluation,
        title=title,
        notes=notes,
        facts=facts,
        wide=len(names) > 12,
        classes=sorted(evaluation.classes, key=lambda row: row.f1),
        confusion_svg=figures.to_svg(
            report_charts.confusion_matrix(evaluation.confusion, names), "confusion"
        ),
        diagrams=[
            (
                heading,
                calibration,
                figures.to_svg(
                    report_charts.reliability_diagram(
                        calibration.probabilities, evaluation.labels, BINS
                    ),
                    f"reliability-{index}",
                ),
            )
            for index, (heading, calibration) in enumerate(diagrams.items())
        ],
    )
