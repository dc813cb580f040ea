"""How good a network is at telling which labels images have: numbers, label by label."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.analysis.statistics import mean_interval
from cnn_jax.ops import metrics

# From this probability on a label is said to be there, where no threshold was chosen for it.
EVEN = 0.5

Scored = tuple[Float[np.ndarray, "m l"], UInt8[np.ndarray, "m l"]]


class LabelRow(NamedTuple):
    """How well one label is told; all but the average precision at its threshold.

    Attributes:
        name: of the label.
        threshold: the probability from which on it is said to be there.
        accuracy: fraction of examples with the right answer.
        precision: fraction of those said to have it that do.
        recall: fraction of those that have it that were said to.
        f1: harmonic mean of the two.
        average_precision: area under the precision-recall curve, over all thresholds.
        found: examples that have it and were said to; then missed, false alarms, rightly denied.
    """

    name: str
    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    found: int
    missed: int
    false_alarms: int
    denied: int


class LabelEvaluation(NamedTuple):
    """All that is measured.

    Attributes:
        accuracy: mean over the labels of the fraction of right answers, all at threshold 0.5.
        interval: 95%, of that mean, over other examples.
        exact: fraction of examples with every label right, at threshold 0.5.
        rows: each label on its own, at its own threshold.
        chosen_on: how many held-out examples the thresholds were chosen on; 0: they are 0.5.
    """

    accuracy: float
    interval: tuple[float, float]
    exact: float
    rows: list[LabelRow]
    chosen_on: int


def evaluate_labels(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    names: Sequence[str],
    held_out: Scored | None = None,
) -> LabelEvaluation:
    """Measures the outputs of a network against the labels that are there.

    Args:
        probabilities: one for each label of each example, in [0, 1]; NaN is wrong.
        labels: multi-hot.
        names: one for each label.
        held_out: probabilities and labels to choose each label's threshold on (the one of the
            highest F1), of examples seen neither in training nor here.
    """
    scores, truth = jnp.asarray(probabilities), jnp.asarray(labels)
    right = np.asarray(metrics.label_correct(scores, truth, EVEN))
    thresholds = choose_thresholds(len(names), held_out)
    return LabelEvaluation(
        accuracy=float(right.mean()),
        interval=mean_interval(right.mean(axis=1)),
        exact=float(right.all(axis=1).mean()),
        rows=_rows(scores, truth, names, thresholds),
        chosen_on=0 if held_out is None else len(held_out[1]),
    )


def choose_thresholds(labels: int, held_out: Scored | None) -> Float[np.ndarray, "l"]:
    """The threshold of the highest F1 for each label on examples held out; `EVEN` without any."""
    if held_out is None:
        return np.full(labels, EVEN, np.float32)
    probabilities, there = map(jnp.asarray, held_out)
    return np.asarray(metrics.best_thresholds(probabilities, there, EVEN))


def _rows(
    scores: jax.Array, truth: jax.Array, names: Sequence[str], thresholds: np.ndarray
) -> list[LabelRow]:
    confusion = metrics.label_confusion(scores, truth, jnp.asarray(thresholds))
    of_there = [np.asarray(column)[:, 1] for column in jax.vmap(metrics.per_class)(confusion)]
    precision, recall, f1, _ = of_there
    columns = (
        thresholds,
        metrics.label_accuracy(scores, truth, jnp.asarray(thresholds)),
        precision,
        recall,
        f1,
        metrics.average_precision(scores, truth),
        confusion[:, 1, 1],
        confusion[:, 1, 0],
        confusion[:, 0, 1],
        confusion[:, 0, 0],
    )
    lists = [np.asarray(column).tolist() for column in columns]
    return [LabelRow(*row) for row in zip(names, *lists, strict=True)]


def as_json(evaluation: LabelEvaluation) -> dict[str, Any]:
    """The numbers as what JSON can hold."""
    return {
        "exact_match": evaluation.exact,
        "thresholds_chosen_on": evaluation.chosen_on,
        "labels": [row._asdict() for row in evaluation.rows],
    }
