import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from cnn_jax.ops import (
    accuracy,
    average_precision,
    best_thresholds,
    confusion_matrix,
    expected_calibration_error,
    label_accuracy,
    label_confusion,
    label_correct,
    label_f1,
    per_class,
    top_k_accuracy,
)

N, C = 200, 6
_rng = np.random.default_rng(0)
LABELS = _rng.integers(C, size=N).astype(np.int32)
LOGITS = (_rng.normal(size=(N, C)) + 1.5 * np.eye(C)[LABELS]).astype(np.float32)
TARGETS = _rng.integers(2, size=(N, C)).astype(np.float32)
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))


def test_accuracy():
    expected = reference.accuracy_score(LABELS, LOGITS.argmax(-1))
    np.testing.assert_allclose(accuracy(LOGITS, LABELS), expected, rtol=1e-6)
    batched = accuracy(LOGITS.reshape(20, 10, C), LABELS.reshape(20, 10))
    np.testing.assert_allclose(batched, expected, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, C - 1, C])
def test_top_k_accuracy(k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=np.arange(C))
    np.testing.assert_allclose(top_k_accuracy(LOGITS, LABELS, k), expected, rtol=1e-6)


def test_top_k_of_ties_are_those_of_lax():
    logits = np.round(LOGITS) + 0.0  # lax.top_k ranks -0 below 0
    _, best = jax.lax.top_k(logits, 2)
    expected = np.mean(np.any(best == LABELS[:, None], axis=-1))
    np.testing.assert_allclose(top_k_accuracy(logits, LABELS, 2), expected, rtol=1e-6)
    np.testing.assert_allclose(top_k_accuracy(logits, LABELS, 1), accuracy(logits, LABELS))


def test_nan_is_a_wrong_prediction():
    logits = jnp.array([[2.0, 1.0], [jnp.nan, 1.0], [jnp.nan, jnp.nan], [1.0, jnp.nan]])
    labels = jnp.zeros(4, jnp.int32)
    assert accuracy(logits, labels) == 0.25
    assert top_k_accuracy(logits, labels, 2) == 0.25


def test_confusion_matrix():
    predictions = LOGITS.argmax(-1)
    confusion = confusion_matrix(LABELS, predictions, C)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(LABELS, predictions))
    assert confusion.dtype == jnp.int32


def test_confusion_matrix_leaves_out_foreign_classes():
    confusion = confusion_matrix(jnp.array([0, 0, 1, -1]), jnp.array([1, -1, 2, 0]), 2)
    np.testing.assert_array_equal(confusion, [[0, 1], [0, 0]])


def test_confusion_matrix_under_vmap():
    both = jax.vmap(lambda p: confusion_matrix(LABELS, p, C))(jnp.stack([LABELS, LABELS * 0]))
    np.testing.assert_array_equal(both[0], np.diag(np.bincount(LABELS)))
    np.testing.assert_array_equal(both[1][:, 0], np.bincount(LABELS))


def test_per_class():
    predictions = np.where(LOGITS.argmax(-1) == 2, 3, LOGITS.argmax(-1))
    labels = np.where(LABELS == 4, 5, LABELS)
    scores = per_class(confusion_matrix(labels, predictions, C))
    expected = reference.precision_recall_fscore_support(
        labels, predictions, labels=np.arange(C), zero_division=0
    )
    for score, column in zip(scores, expected, strict=True):
        np.testing.assert_allclose(score, column, rtol=1e-6)


def _expected_calibration_error(probabilities, labels, bins):
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    total = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


@pytest.mark.parametrize("bins", [1, 15])
def test_expected_calibration_error(bins):
    p = np.exp(2 * LOGITS) / np.exp(2 * LOGITS).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        expected_calibration_error(p, LABELS, bins),
        _expected_calibration_error(p, LABELS, bins),
        rtol=1e-5,
    )


def test_expected_calibration_error_of_the_extremes():
    sure = jnp.eye(C)[LABELS]
    assert expected_calibration_error(sure, LABELS) == 0
    assert expected_calibration_error(sure, (LABELS + 1) % C) == 1
    assert jnp.isnan(expected_calibration_error(sure.at[0, 0].set(jnp.nan), LABELS))


def test_label_accuracy_and_f1():
    predicted = PROBABILITIES >= 0.6
    np.testing.assert_allclose(
        label_accuracy(PROBABILITIES, TARGETS, 0.6), (predicted == TARGETS).mean(0), rtol=1e-6
    )
    np.testing.assert_allclose(
        label_f1(PROBABILITIES, TARGETS, 0.6),
        reference.f1_score(TARGETS, predicted, average=None),
        rtol=1e-6,
    )


THRESHOLDS = np.linspace(0.2, 0.9, C, dtype=np.float32)


def test_every_label_may_have_its_own_threshold():
    predicted = PROBABILITIES >= THRESHOLDS
    np.testing.assert_array_equal(
        label_correct(PROBABILITIES, TARGETS, THRESHOLDS), predicted == TARGETS
    )
    np.testing.assert_allclose(
        label_accuracy(PROBABILITIES, TARGETS, THRESHOLDS), (predicted == TARGETS).mean(0)
    )
    np.testing.assert_array_equal(
        label_confusion(PROBABILITIES, TARGETS, THRESHOLDS),
        reference.multilabel_confusion_matrix(TARGETS, predicted),
    )


@pytest.mark.parametrize("scores", [LOGITS, PROBABILITIES, np.round(LOGITS), 0 * LOGITS])
def test_best_thresholds_have_the_highest_f1_that_scikit_learn_finds(scores):
    found = np.asarray(best_thresholds(scores, TARGETS))
    for label in range(C):
        precision, recall, thresholds = reference.precision_recall_curve(
            TARGETS[:, label], scores[:, label]
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        ours = reference.f1_score(TARGETS[:, label], scores[:, label] >= found[label])
        np.testing.assert_allclose(ours, f1.max(), rtol=1e-6)
        best = thresholds[np.flatnonzero(np.isclose(f1[:-1], f1.max(), rtol=1e-7))[-1]]
        below = scores[scores[:, label] < best, label].max(initial=-np.inf)
        middle = best if np.isinf(below) else (best + below) / 2
        np.testing.assert_allclose(found[label], middle, rtol=1e-5)


def test_a_threshold_lies_in_the_middle_of_a_gap_and_never_rounds_out_of_it():
    scores = np.array([0.1, 0.2, 0.8, 0.9], np.float32)[:, None]
    targets = np.array([0, 0, 1, 1])[:, None]
    np.testing.assert_allclose(best_thresholds(scores, targets), [0.5])
    one = np.float32(1)
    close = np.array([one, np.nextafter(one, 2 * one)])[:, None]
    assert best_thresholds(close, np.array([0, 1])[:, None])[0] == close[1, 0]


def test_thresholds_that_nothing_decides_are_the_default():
    nan = np.full((3, 1), np.nan, np.float32)
    ones = np.ones((3, 1))
    assert best_thresholds(nan, ones, 0.25) == 0.25
    assert best_thresholds(ones, 0 * ones, 0.25) == 0.25
    part = np.array([[np.nan], [0.7], [0.2]], np.float32)
    np.testing.assert_allclose(best_thresholds(part, np.array([[1], [1], [0]])), [0.45])


def test_labels_of_a_diverged_model():
    diverged = jnp.full((N, C), jnp.nan)
    np.testing.assert_array_equal(label_accuracy(diverged, TARGETS), np.zeros(C))
    np.testing.assert_array_equal(label_f1(diverged, TARGETS), np.zeros(C))
    np.testing.assert_allclose(average_precision(diverged, TARGETS), TARGETS.mean(0), rtol=1e-6)


def test_label_f1_where_undefined_is_zero():
    np.testing.assert_array_equal(label_f1(jnp.zeros((3, 2)), jnp.zeros((3, 2))), [0, 0])


@pytest.mark.parametrize("scores", [LOGITS, np.round(LOGITS), 0 * LOGITS])
def test_average_precision_with_and_without_ties(scores):
    np.testing.assert_allclose(
        average_precision(scores, TARGETS),
        reference.average_precision_score(TARGETS, scores, average=None),
        rtol=1e-5,
    )


def test_average_precision_without_positives_is_zero():
    np.testing.assert_array_equal(average_precision(LOGITS, np.zeros((N, C), bool)), np.zeros(C))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(LOGITS, TARGETS), r"labels must have shape \(200,\), got \(200, 6\)"),
        (lambda: top_k_accuracy(LOGITS, LABELS, C + 1), r"k must be in 1 .. 6"),
        (lambda: top_k_accuracy(LOGITS, LABELS, 0), r"k must be in 1 .. 6"),
        (lambda: confusion_matrix(LABELS, LABELS[:-1], C), "predictions must have shape"),
        (lambda: expected_calibration_error(LOGITS, LABELS, 0), "bins must be at least 1"),
        (lambda: label_accuracy(LOGITS, TARGETS[:, 0]), "targets must have shape"),
        (lambda: label_f1(LOGITS, TARGETS[:, 0]), "targets must have shape"),
        (lambda: average_precision(LOGITS, TARGETS[:, 0]), "targets must have shape"),
        (lambda: label_correct(LOGITS, TARGETS[:, 0]), "targets must have shape"),
        (lambda: label_confusion(LOGITS, TARGETS[:, 0]), "targets must have shape"),
        (lambda: best_thresholds(LOGITS, TARGETS[:, 0]), "targets must have shape"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_label_that_is_no_class_is_wrong():
    logits = jnp.array([[1.0, 2.0, 3.0]] * 2)
    for k in (1, 2, 3):
        assert top_k_accuracy(logits, jnp.array([3, -1]), k) == 0


def test_thresholds_without_examples():
    found = best_thresholds(jnp.zeros((0, 2)), jnp.zeros((0, 2)), default=0.25)
    np.testing.assert_array_equal(found, [0.25, 0.25])
