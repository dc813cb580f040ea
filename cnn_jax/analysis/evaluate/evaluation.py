"""How good a trained network is on some examples, and how sure it may be: the numbers.

One class an image and several labels an image are one `Evaluation`, made by `evaluate_classes` or
`evaluate_labels`; `evaluate` is the one of both that the labels ask for.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.predictions import fit_temperature, negative_log_likelihood
from cnn_jax.analysis.statistics import mean_interval, wilson_interval
from cnn_jax.ops import OUTPUT_ACTIVATIONS, metrics

BINS = 15
# From this probability on a label is said to be there, where no threshold was chosen for it.
EVEN = 0.5
# Classes are uneven where one has more than so many times the examples of another.
_EVEN_SIZES = 1.5

_Truth = Int[np.ndarray, "n"] | UInt8[np.ndarray, "n outputs"]
_HeldOut = tuple[Float[np.ndarray, "m outputs"], Int[np.ndarray, "m"] | UInt8[np.ndarray, "m l"]]


class Row(NamedTuple):
    """How well one class or one label is told.

    Attributes:
        name: of the class or label.
        precision: fraction of those said to have it that do.
        recall: fraction of those that have it that were said to.
        f1: harmonic mean of the two.
        found: examples that have it and were said to.
        missed: examples that have it and were not said to.
        false_alarms: examples that do not have it and were said to.
        denied: all others.
        threshold: the probability from which on a label is said to be there; NaN for a class.
        accuracy: fraction of examples with the right answer; NaN for a class.
        average_precision: area under a label's precision-recall curve, over all thresholds; NaN
            for a class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    found: int
    missed: int
    false_alarms: int
    denied: int
    threshold: float = math.nan
    accuracy: float = math.nan
    average_precision: float = math.nan

    @property
    def support(self) -> int:
        """How many examples have it."""
        return self.found + self.missed


class Reliability(NamedTuple):
    """How far probabilities are from how often they come true.

    Attributes:
        nll: mean negative log likelihood, in nats.
        ece: expected calibration error, in [0, 1].
        probabilities: one row for each example.
    """

    nll: float
    ece: float
    probabilities: Float[np.ndarray, "n c"]


class Calibration(NamedTuple):
    """How sure the network may be: of all classes together, or of one label.

    Attributes:
        name: of the label, a question with two answers; "" of all classes.
        truth: the right answers.
        before: of the outputs as they are.
        temperature: fitted to other examples; None where there are none.
        after: reliability with it.
    """

    name: str
    truth: Int[np.ndarray, "n"]
    before: Reliability
    temperature: float | None
    after: Reliability | None


class Evaluation(NamedTuple):
    """All that is measured.

    Attributes:
        labels: true classes; or multi-hot, where images have several labels.
        accuracy: share of first guesses that are right; or the mean over the labels of the share of
            right answers, all at threshold 0.5.
        interval: 95%, of that accuracy, over other examples.
        correct: how many examples are right, with every label at threshold 0.5.
        rows: each class or label on its own, a label at its own threshold.
        top: for k > 1, the share of examples whose class is among the best k guesses.
        confusion: counts, rows true and columns guessed; None with several labels.
        chosen_on: how many held-out examples the thresholds were chosen on; 0: they are 0.5.
        calibrations: of all classes, or of each label; none before `calibrate`.
    """

    labels: _Truth
    accuracy: float
    interval: tuple[float, float]
    correct: int
    rows: list[Row]
    top: dict[int, float] = {}
    confusion: Int[np.ndarray, "c c"] | None = None
    chosen_on: int = 0
    calibrations: Sequence[Calibration] = ()

    @property
    def several(self) -> bool:
        """Whether images have several labels."""
        return self.labels.ndim == 2

    @property
    def names(self) -> list[str]:
        """Of the classes or labels."""
        return [row.name for row in self.rows]

    @property
    def thresholds(self) -> Float[np.ndarray, "l"] | None:
        """The probability from which on each label is said to be there; None with one class."""
        if not self.several:
            return None
        return np.array([row.threshold for row in self.rows], np.float32)

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean recall of the classes, where they are uneven: it is no better for the commonest.

        None where the commonest class has no more than half as many again as the rarest
        (of those that have some), and with several labels.
        """
        supports = [row.support for row in self.rows if row.support]
        if self.several or not supports or max(supports) <= _EVEN_SIZES * min(supports):
            return None
        return float(np.mean([row.recall for row in self.rows if row.support]))

    @property
    def exact(self) -> float:
        """Share of examples with everything right."""
        return self.correct / len(self.labels)

    @property
    def mean_precision(self) -> float:
        """Mean average precision of the labels; NaN with one class."""
        return float(np.mean([row.average_precision for row in self.rows]))


def evaluate(
    logits: Float[np.ndarray, "n c"],
    labels: _Truth,
    names: Sequence[str],
    output: str,
    held_out: _HeldOut | None = None,
    top: int = 5,
) -> Evaluation:
    """Measures the logits of a network against what is true.

    Args:
        logits: one for each class or label of each example.
        labels: true classes; or multi-hot, where images have several labels.
        names: one for each class or label.
        output: softmax or sigmoid, what makes probabilities of logits.
        held_out: logits and labels to choose the thresholds of labels on, of examples seen neither
            in training nor here.
        top: see `evaluate_classes`.
    """
    if labels.ndim == 1:
        return evaluate_classes(logits, labels, names, top)

    def probabilities(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        return np.asarray(OUTPUT_ACTIVATIONS[output](jnp.asarray(logits)))

    others = None if held_out is None else (probabilities(held_out[0]), held_out[1])
    return evaluate_labels(probabilities(logits), labels, names, others)


def evaluate_classes(
    scores: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    names: Sequence[str],
    top: int = 5,
) -> Evaluation:
    """Measures what a network says of images with one class each.

    Args:
        scores: one for each class of each example, logits or probabilities. An example with one
            that is not finite is wrong, and no guess of any class.
        labels: true classes.
        names: one for each class.
        top: k of the top-k accuracy, which is left out from the number of classes on.
    """
    finite = np.isfinite(scores).all(axis=1)
    guesses = np.where(finite, np.argmax(scores, axis=1), -1).astype(np.int32)
    confusion = metrics.confusion_matrix(jnp.asarray(labels), jnp.asarray(guesses), len(names))
    precision, recall, f1, support = map(np.asarray, metrics.per_class(confusion))
    found, said = np.diagonal(confusion), np.asarray(confusion).sum(axis=0)
    missed, false_alarms = support - found, said - found
    denied = confusion.sum() - found - missed - false_alarms
    columns = [precision, recall, f1, found, missed, false_alarms, denied]
    correct = int(np.sum(guesses == labels))
    given = jnp.asarray(scores), jnp.asarray(labels), top
    return Evaluation(
        labels=labels,
        accuracy=correct / len(labels),
        interval=wilson_interval(correct, len(labels)),
        correct=correct,
        rows=_rows(names, columns),
        top={top: float(metrics.top_k_accuracy(*given))} if 1 < top < len(names) else {},
        confusion=np.asarray(confusion),
    )


def evaluate_labels(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    names: Sequence[str],
    held_out: _HeldOut | None = None,
) -> Evaluation:
    """Measures what a network says of images with several labels.

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
    confusion = metrics.label_confusion(scores, truth, jnp.asarray(thresholds))
    precision, recall, f1, _ = (column[:, 1] for column in jax.vmap(metrics.per_class)(confusion))
    (denied, false_alarms), (missed, found) = np.moveaxis(np.asarray(confusion), 0, 2)
    accuracy = metrics.label_accuracy(scores, truth, jnp.asarray(thresholds))
    area = metrics.average_precision(scores, truth)
    columns = [precision, recall, f1, found, missed, false_alarms, denied]
    return Evaluation(
        labels=labels,
        accuracy=float(right.mean()),
        interval=mean_interval(right.mean(axis=1)),
        correct=int(right.all(axis=1).sum()),
        rows=_rows(names, [*columns, thresholds, accuracy, area]),
        chosen_on=0 if held_out is None else len(held_out[1]),
    )


def _rows(names: Sequence[str], columns: Sequence[Any]) -> list[Row]:
    lists = [np.asarray(column).tolist() for column in columns]
    return [Row(*row) for row in zip(names, *lists, strict=True)]


def choose_thresholds(labels: int, held_out: _HeldOut | None) -> Float[np.ndarray, "l"]:
    """The threshold of the highest F1 for each label on examples held out; `EVEN` without any.

    Args:
        labels: how many there are.
        held_out: probabilities and labels.
    """
    if held_out is None:
        return np.full(labels, EVEN, np.float32)
    probabilities, there = map(jnp.asarray, held_out)
    return np.asarray(metrics.best_thresholds(probabilities, there, EVEN))


def calibrate(
    evaluation: Evaluation,
    logits: Float[np.ndarray, "n c"],
    output: str,
    held_out: _HeldOut | None = None,
) -> Evaluation:
    """The evaluation with the reliability of its probabilities, as they are and with a temperature.

    A label is a question with two answers, and has a temperature of its own.

    Args:
        evaluation: of these logits.
        logits: one for each class or label of each example.
        output: softmax or sigmoid, what makes probabilities of the logits of classes.
        held_out: logits and labels that temperatures are fitted to, of examples seen neither in
            training nor here.

    Raises:
        UsageError: the logits held out are not finite.
    """
    labels = evaluation.labels
    if not evaluation.several:
        return evaluation._replace(calibrations=[_calibrate("", logits, labels, output, held_out)])
    others = [None] * len(evaluation.rows) if held_out is None else _questions(*held_out)
    return evaluation._replace(
        calibrations=[
            _calibrate(name, *question, "softmax", other)
            for name, question, other in zip(
                evaluation.names, _questions(logits, labels), others, strict=True
            )
        ]
    )


def _questions(logits: Float[np.ndarray, "n l"], labels: np.ndarray) -> list[_HeldOut]:
    """Each label by itself: the logits of no and of yes, and which of them is right.

    Their softmax is what the sigmoid of the label's logit says.
    """
    return [
        (np.stack([np.zeros_like(yes), yes], axis=-1), there.astype(np.int32))
        for yes, there in zip(logits.T, labels.T, strict=True)
    ]


def _calibrate(
    name: str,
    logits: Float[np.ndarray, "n c"],
    truth: Int[np.ndarray, "n"],
    output: str,
    held_out: _HeldOut | None,
) -> Calibration:
    before = reliability(logits, truth, output)
    if held_out is None:
        return Calibration(name, truth, before, None, None)
    temperature = fit_temperature(*held_out, output)
    after = reliability(logits / temperature, truth, output)
    return Calibration(name, truth, before, temperature, after)


def reliability(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], output: str = "softmax"
) -> Reliability:
    """How far the probabilities that these logits stand for are from what is true."""
    probabilities = OUTPUT_ACTIVATIONS[output](jnp.asarray(logits))
    error = metrics.expected_calibration_error(probabilities, jnp.asarray(labels), BINS)
    return Reliability(
        negative_log_likelihood(logits, labels, output), float(error), np.asarray(probabilities)
    )


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers as what JSON can hold."""
    low, high = evaluation.interval
    start: dict[str, Any] = {"examples": len(evaluation.labels)}
    accuracy = {"accuracy": evaluation.accuracy, "accuracy_interval_95": [low, high]}
    if evaluation.several:
        each = [{"name": one.name} | _calibration_json(one) for one in evaluation.calibrations]
        return start | accuracy | labels_json(evaluation) | {"calibration": each}
    assert evaluation.confusion is not None
    start |= {"correct": evaluation.correct} | accuracy
    start |= {f"top_{k}_accuracy": value for k, value in evaluation.top.items()}
    for calibration in evaluation.calibrations:
        start |= _calibration_json(calibration)
    columns = ("name", "precision", "recall", "f1", "support")
    return start | {
        "classes": [{key: getattr(row, key) for key in columns} for row in evaluation.rows],
        "confusion": evaluation.confusion.tolist(),
    }


def labels_json(evaluation: Evaluation) -> dict[str, Any]:
    """What is measured label by label, as what JSON can hold; nothing with one class an image."""
    if not evaluation.several:
        return {}
    columns = (
        "name", "threshold", "accuracy", "precision", "recall", "f1", "average_precision", "found",
        "missed", "false_alarms", "denied",
    )  # fmt: skip
    return {
        "exact_match": evaluation.exact,
        "thresholds_chosen_on": evaluation.chosen_on,
        "labels": [{key: getattr(row, key) for key in columns} for row in evaluation.rows],
    }


def _calibration_json(calibration: Calibration) -> dict[str, float | None]:
    before, after = calibration.before, calibration.after
    return {
        "nll": before.nll,
        "ece": before.ece,
        "temperature": calibration.temperature,
        "nll_with_temperature": after and after.nll,
        "ece_with_temperature": after and after.ece,
    }
