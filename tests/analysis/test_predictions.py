"""Ranked guesses, temperatures and the numbers of an evaluation."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from cnn_jax.analysis import predictions
from cnn_jax.analysis.evaluate import as_json, calibrate, evaluate, render_evaluation
from cnn_jax.errors import UsageError

RNG = np.random.default_rng(0)
NAMES = ("ape", "bee", "cat", "dog")


def draw(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from them at a temperature."""
    logits = RNG.normal(0, 3, (n, 4))
    probabilities = softmax(logits / temperature, axis=1)
    labels = (RNG.random((n, 1)) > np.cumsum(probabilities, axis=1)).sum(axis=1)
    return logits, np.minimum(labels, 3).astype(np.int32)


def test_ranked():
    rows = np.array([[0.1, 0.6, 0.1, 0.2], [0.25, 0.25, 0.25, 0.25]])
    first, second = predictions.ranked(rows, NAMES, 2)
    assert first == [("bee", 0.6), ("dog", 0.2)]
    assert [guess.name for guess in second] == ["ape", "bee"]
    assert len(predictions.ranked(rows, NAMES, 9)[0]) == 4


@pytest.mark.parametrize("scale", [1, 100])
def test_negative_log_likelihood(scale: float):
    logits, labels = draw(50, 1)
    logits *= scale
    found = predictions.negative_log_likelihood(logits, labels)
    rows = softmax(logits, axis=1)[np.arange(50), labels]
    np.testing.assert_allclose(found, -np.mean(np.log(np.maximum(rows, 1e-300))), rtol=0.05)
    if scale == 1:
        np.testing.assert_allclose(found, log_loss(labels, softmax(logits, axis=1)), rtol=1e-6)
        one_hot = np.eye(4)[labels]
        each = -one_hot * np.log(expit(logits)) - (1 - one_hot) * np.log(expit(-logits))
        np.testing.assert_allclose(
            predictions.negative_log_likelihood(logits, labels, "sigmoid"), each.sum(1).mean()
        )
    with pytest.raises(ValueError, match="softmax or sigmoid"):
        predictions.negative_log_likelihood(logits, labels, "tanh")


@pytest.mark.parametrize("temperature", [0.5, 1, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature: float):
    logits, labels = draw(20_000, temperature)
    found = predictions.fit_temperature(logits, labels)
    np.testing.assert_allclose(found, temperature, rtol=0.05)
    best = predictions.negative_log_likelihood(logits / found, labels)
    for other in (0.97, 1.03):
        scaled = logits / (found * other)
        assert best < predictions.negative_log_likelihood(scaled, labels)


def test_temperatures_at_the_end_and_without_meaning():
    logits = np.eye(4) * 5
    assert predictions.fit_temperature(logits, np.arange(4)) < 0.2
    assert predictions.fit_temperature(logits, (np.arange(4) + 1) % 4) > 10
    for bad in (np.zeros((0, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(UsageError, match="finite outputs"):
            predictions.fit_temperature(bad, np.arange(len(bad)))


def test_evaluation_and_its_page():
    logits, labels = draw(3000, 2)
    held_out = draw(3000, 2)
    given = logits.astype(np.float32), labels, NAMES, "softmax"
    result = calibrate(evaluate(*given, top=2), given[0], "softmax", held_out)
    (calibration,) = result.calibrations
    guesses = logits.argmax(1)
    assert result.correct == int((guesses == labels).sum())
    assert result.interval[0] < result.accuracy < result.interval[1]
    np.testing.assert_allclose(result.top[2], top_k_accuracy_score(labels, logits, k=2), rtol=1e-6)
    np.testing.assert_array_equal(
        result.confusion, np.histogram2d(labels, guesses, bins=4, range=[[0, 4], [0, 4]])[0]
    )
    assert calibration.after is not None and calibration.temperature is not None
    assert 1.8 < calibration.temperature < 2.2
    assert calibration.after.nll < calibration.before.nll
    assert calibration.after.ece < 0.03 < calibration.before.ece
    record = as_json(result)
    assert record["top_2_accuracy"] == result.top[2]
    page = render_evaluation(result, title=("a<b", "c"), notes=["mind & heed"], facts={"fact": "1"})
    assert "a&lt;b" in page and "mind &amp; heed" in page
    assert page.count("<svg") == 3
    alone = calibrate(evaluate(logits, labels, NAMES, "softmax", top=4), logits, "softmax")
    (calibration,) = alone.calibrations
    assert (alone.top, calibration.temperature, calibration.after) == ({}, None, None)
    assert as_json(alone)["nll_with_temperature"] is None
