import math

import numpy as np
import pytest
from records import random_probabilities, scored, texts
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from cnn_jax.analysis import evaluate
from cnn_jax.analysis.evaluate import precision_recall
from cnn_jax.ops import metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix_shows_counts_and_names(classes):
    matrix = RNG.integers(0, 3, (classes, classes)) + 1000 * np.eye(classes, dtype=int)
    matrix[0] = 0
    names = [f"class {index}" for index in range(classes)]
    figure = evaluate.confusion_matrix(matrix, names)
    shown = texts(figure)
    assert set(names) <= set(shown)
    assert {str(count) for count in np.diagonal(matrix)[1:]} <= set(shown)
    assert "0" not in shown
    shade = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shade[1:].sum(axis=1), 1)
    np.testing.assert_array_equal(shade[0], 0)


def test_confusion_matrix_takes_names_literally_and_shortens_them():
    shown = texts(evaluate.confusion_matrix(np.eye(2, dtype=int), ["$x^2$ <b>", "long " * 20]))
    assert "$x^2$ <b>" in shown
    assert any(text.startswith("long long") and text.endswith("…") for text in shown)


def test_reliability_bins_agree_with_scikit_learn():
    confidence = RNG.uniform(0.5, 1, 500)
    correct = RNG.random(500) < confidence
    # Of two classes, the first is the guess; the label says whether it is right.
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    binned = evaluate.reliability_bins(probabilities, np.where(correct, 0, 1), bins=10)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=10)
    some = binned.examples > 0
    np.testing.assert_allclose(binned.accuracy[some], accuracy)
    np.testing.assert_allclose(binned.confidence[some], mean_confidence)
    assert binned.examples.sum() == 500


def test_reliability_bins_add_up_to_the_calibration_error():
    probabilities, labels = random_probabilities(400, 7), RNG.integers(0, 7, 400)
    binned = evaluate.reliability_bins(probabilities, labels)
    gap = np.abs(binned.accuracy - binned.confidence)
    error = np.nansum(gap * binned.examples) / 400
    np.testing.assert_allclose(
        error, metrics.expected_calibration_error(probabilities, labels), rtol=1e-5
    )


def test_reliability_diagram_of_a_diverged_run():
    probabilities = np.full((4, 3), math.nan)
    figure = evaluate.reliability_diagram(probabilities, np.zeros(4, int))
    assert "no finite probabilities" in texts(figure)


@pytest.mark.parametrize("digits", [1, 8])
def test_curves_are_those_of_scikit_learn(digits: int):
    probabilities, labels = scored(80)
    scores, truth = probabilities[:, 0].round(digits), labels[:, 0]
    ours = precision_recall(scores, truth)
    precision, recall, threshold = reference.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(ours.threshold[::-1], threshold)
    np.testing.assert_allclose(ours.precision[::-1], precision[:-1])
    np.testing.assert_allclose(ours.recall[::-1], recall[:-1])


def test_a_label_without_positives_has_no_curve():
    assert not precision_recall(np.ones(3), np.zeros(3, np.uint8)).recall.size
