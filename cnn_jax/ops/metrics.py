"""What to report of a classifier: pure functions of its outputs and the labels.

The logits of a diverged model are NaN, and argmax would call them class 0. Here a NaN is a wrong
prediction, so that divergence never passes for chance. Of equal logits the first class wins.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

Threshold = float | Float[Array, "l"]


def correct(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Bool[Array, "*b"]:
    """Whether the largest logit (or probability) of each example is that of the label.

    An example with a NaN among its logits counts as wrong.

    Raises:
        ValueError: labels do not have the shape of the logits less the last axis.
    """
    _check_shape("labels", labels, logits.shape[:-1])
    return (jnp.argmax(logits, axis=-1) == labels) & _defined(logits)


def accuracy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, ""]:
    """Fraction of examples whose largest logit (or probability) is that of the label, in [0, 1].

    An example with a NaN among its logits counts as wrong.

    Raises:
        ValueError: labels do not have the shape of the logits less the last axis.
    """
    return jnp.mean(correct(logits, labels).astype(jnp.float32))


def top_k_accuracy(
    logits: Float[Array, "*b c"], labels: Int[Array, "*b"], k: int
) -> Float[Array, ""]:
    """Fraction of examples whose label is among the k largest logits, in [0, 1].

    An example with a NaN among its logits, or a label outside 0 .. c-1, counts as wrong; k = 1 is
    accuracy, ties included.

    Raises:
        ValueError: k is not in 1 .. c, or labels are not of the shape of logits less the last axis.
    """
    _check_shape("labels", labels, logits.shape[:-1])
    num_classes = logits.shape[-1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"k must be in 1 .. {num_classes}, the number of classes, got {k}")
    label = labels[..., None]
    true_logit = jnp.take_along_axis(logits, label, axis=-1)
    wins_tie = (logits == true_logit) & (jnp.arange(num_classes) < label)
    rank = jnp.sum((logits > true_logit) | wins_tie, axis=-1)
    known = (labels >= 0) & (labels < num_classes)
    return jnp.mean(((rank < k) & known & _defined(logits)).astype(jnp.float32))


def confusion_matrix(
    labels: Int[Array, "*b"], predictions: Int[Array, "*b"], num_classes: int
) -> Int[Array, "c c"]:
    """How often each class was predicted for each true class.

    Args:
        labels: true classes.
        predictions: predicted classes, of the shape of labels.
        num_classes: c. A pair with either class outside 0 .. c-1 is not counted.

    Returns:
        int32 counts: rows are true classes, columns are predicted classes.

    Raises:
        ValueError: predictions do not have the shape of labels.
    """
    _check_shape("predictions", predictions, labels.shape)
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    cell = counts.at[labels.ravel(), predictions.ravel()]
    return cell.add(1, mode="drop", wrap_negative_indices=False)


class ClassScores(NamedTuple):
    """Scores of each class on its own."""

    precision: Float[Array, "c"]
    recall: Float[Array, "c"]
    f1: Float[Array, "c"]
    support: Int[Array, "c"]


def per_class(confusion: Int[Array, "c c"]) -> ClassScores:
    """Precision, recall, F1 and support (number of true examples) of each class.

    A score whose denominator is zero (a class never predicted, or without examples) is 0.

    Args:
        confusion: rows true, columns predicted, as from `confusion_matrix`.
    """
    hits = jnp.diagonal(confusion)
    predicted, support = jnp.sum(confusion, axis=0), jnp.sum(confusion, axis=1)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, predicted + support),
        support=support,
    )


def expected_calibration_error(
    probabilities: Float[Array, "n c"], labels: Int[Array, "n"], bins: int = 15
) -> Float[Array, ""]:
    """How far confidence is from accuracy: sum over bins of |B|/n * |accuracy(B) - confidence(B)|.

    The confidence of an example is its largest probability; the bins are of equal width, each
    open below and closed above. NaN when any probability is.

    Args:
        probabilities: rows that sum to one.
        labels: true classes.
        bins: number of bins, at least 1.

    Returns:
        In [0, 1]; 0 is calibrated.

    Raises:
        ValueError: labels do not have shape (n,), or bins < 1.

    References:
        Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    confidence = jnp.max(probabilities, axis=-1)
    surplus = correct(probabilities, labels) - confidence
    bin_index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    surplus_of_bin = jax.ops.segment_sum(surplus, bin_index, num_segments=bins)
    return jnp.sum(jnp.abs(surplus_of_bin)) / confidence.size


def label_correct(
    probabilities: Float[Array, "n l"], targets: Num[Array, "n l"], threshold: Threshold = 0.5
) -> Bool[Array, "n l"]:
    """Whether each label of each example was rightly said to be there or not.

    Args:
        probabilities: one per label (multi-label); a label is predicted from the threshold on. A
            NaN is wrong whatever the target.
        targets: multi-hot, 1 (or True) where the label is there.
        threshold: in the units of probabilities, for all labels or one for each; 0 for logits.

    Raises:
        ValueError: targets do not have the shape of probabilities.
    """
    _check_shape("targets", targets, probabilities.shape)
    right = (probabilities >= threshold) == (targets > 0)
    return right & ~jnp.isnan(probabilities)


def label_accuracy(
    probabilities: Float[Array, "n l"], targets: Num[Array, "n l"], threshold: Threshold = 0.5
) -> Float[Array, "l"]:
    """Fraction of examples for which each label was rightly said to be there or not.

    Args:
        probabilities: one per label, as in `label_correct`.
        targets: multi-hot, 1 (or True) where the label is there.
        threshold: in the units of probabilities, for all labels or one for each.

    Raises:
        ValueError: targets do not have the shape of probabilities.
    """
    right = label_correct(probabilities, targets, threshold)
    return jnp.mean(right.astype(jnp.float32), axis=0)


def label_confusion(
    probabilities: Float[Array, "n l"], targets: Num[Array, "n l"], threshold: Threshold = 0.5
) -> Int[Array, "l 2 2"]:
    """For each label, how often it was predicted or not where it is there or not.

    Args:
        probabilities: one per label; a label is predicted from the threshold on (never for NaN).
        targets: multi-hot, 1 (or True) where the label is there.
        threshold: in the units of probabilities, for all labels or one for each.

    Returns:
        int32 counts per label: rows are the truth (absent, there), columns the prediction, so that
        `per_class` of one gives its precision, recall and F1 at index 1.

    Raises:
        ValueError: targets do not have the shape of probabilities.
    """
    _check_shape("targets", targets, probabilities.shape)
    predicted, true = (probabilities >= threshold).astype(jnp.int32), targets > 0
    count = jax.vmap(confusion_matrix, in_axes=(1, 1, None))
    return count(true.astype(jnp.int32), predicted, 2)


def best_thresholds(
    scores: Float[Array, "n l"], targets: Num[Array, "n l"], default: float = 0.5
) -> Float[Array, "l"]:
    """The threshold of each label at which its F1 score is highest.

    Choose them on examples held out from training, and apply them to others. Between the lowest
    score that is predicted and the highest that is not, any threshold does equally well here; the
    middle is returned, which leaves most room on both sides. Of equally good ones, the largest.

    Args:
        scores: higher for surer; logits or probabilities. NaN is never predicted.
        targets: multi-hot, 1 (or True) where the label is there.
        default: the threshold of a label without positives (or without examples), or whose best F1
            takes in a NaN.

    Raises:
        ValueError: targets do not have the shape of scores.

    References:
        Lipton, Elkan, Narayanaswamy 2014, arXiv:1402.1892, on what such thresholds do.
    """
    _check_shape("targets", targets, scores.shape)
    if not len(scores):
        return jnp.full(scores.shape[1], default, scores.dtype)
    ranked_last = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    best = jax.vmap(_best_threshold, in_axes=1)(ranked_last, targets > 0)
    usable = jnp.isfinite(best) & jnp.any(targets > 0, axis=0)
    return jnp.where(usable, best, default)


def _best_threshold(scores: Float[Array, "n"], positive: Bool[Array, "n"]) -> Float[Array, ""]:
    order = jnp.argsort(scores)
    ascending, positive = scores[order], positive[order].astype(jnp.int32)
    place = jnp.arange(scores.size)
    hits = jnp.cumsum(positive[::-1])[::-1]
    f1 = 2 * hits / (scores.size - place + jnp.sum(positive))
    # Tied examples are predicted together: only where a tie begins can a threshold lie.
    possible = (jnp.searchsorted(ascending, ascending) == place) & (ascending > -jnp.inf)
    best = scores.size - 1 - jnp.argmax(jnp.where(possible, f1, -1)[::-1])
    lowest, below = ascending[best], ascending[jnp.maximum(best - 1, 0)]
    middle = (lowest + below) / 2
    # Between neighboring floats there is no middle, and below the lowest score there is nothing.
    return jnp.where((middle > below) & (middle <= lowest), middle, lowest)


def label_f1(
    probabilities: Float[Array, "n l"], targets: Num[Array, "n l"], threshold: Threshold = 0.5
) -> Float[Array, "l"]:
    """F1 score of each label, 2 TP / (2 TP + FP + FN); 0 for a label neither there nor predicted.

    Args:
        probabilities: one per label; a label is predicted from the threshold on (never for NaN).
        targets: multi-hot, 1 (or True) where the label is there.
        threshold: in the units of probabilities, for all labels or one for each.

    Raises:
        ValueError: targets do not have the shape of probabilities.
    """
    return jax.vmap(per_class)(label_confusion(probabilities, targets, threshold)).f1[:, 1]


def average_precision(scores: Float[Array, "n l"], targets: Num[Array, "n l"]) -> Float[Array, "l"]:
    """Area under the precision-recall steps of each label: sum_k (R_k - R_{k-1}) P_k.

    Recall rises by one positive example at a time, so this is the mean over the positives of the
    precision among all examples that score at least as high (tied ones included).

    Args:
        scores: higher for surer; logits or probabilities. NaN ranks last.
        targets: multi-hot, 1 (or True) where the label is there.

    Returns:
        In [0, 1]; 0 for a label without positives.

    Raises:
        ValueError: targets do not have the shape of scores.
    """
    _check_shape("targets", targets, scores.shape)
    ranked_last = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    return jax.vmap(_average_precision, in_axes=1)(ranked_last, targets > 0)


def _average_precision(scores: Float[Array, "n"], positive: Bool[Array, "n"]) -> Float[Array, ""]:
    order = jnp.argsort(scores)
    ascending, positive = scores[order], positive[order].astype(jnp.int32)
    start_of_tie = jnp.searchsorted(ascending, ascending)
    positives_from = jnp.cumsum(positive[::-1])[::-1]
    precision = positives_from[start_of_tie] / (scores.size - start_of_tie)
    return _ratio(jnp.sum(precision * positive), jnp.sum(positive))


def _defined(scores: Float[Array, "*b c"]) -> Bool[Array, "*b"]:
    return ~jnp.any(jnp.isnan(scores), axis=-1)


def _ratio(numerator: Num[Array, "..."], denominator: Num[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(denominator > 0, numerator / jnp.maximum(denominator, 1), 0.0)


def _check_shape(name: str, array: Array, expected: tuple[int, ...]) -> None:
    if jnp.shape(array) != expected:
        raise ValueError(f"{name} must have shape {expected}, got {jnp.shape(array)}")
