"""Ranked guesses, temperatures and the numbers of an evaluation."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from cnn_jax.analysis import predictions
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


@pytest.mark.parametrize(("shift", "low", "high"), [(0, 0.4, 1), (1, 1, 10)])
def test_few_examples_all_right_or_all_wrong_say_little(shift: int, low: float, high: float):
    logits, labels = np.eye(4) * 5, (np.arange(4) + shift) % 4
    found = predictions.fit_temperature(logits, labels)
    assert low < found < high

    def posterior(log: float) -> float:
        log_softmax = special.log_softmax(logits / np.exp(log), axis=1)
        return -log_softmax[np.arange(4), labels].sum() - stats.norm.logpdf(log)

    best = optimize.minimize_scalar(posterior, bounds=(-4, 4), method="bounded").x
    assert found == pytest.approx(np.exp(best), rel=1e-3)


def test_a_temperature_needs_examples_with_finite_outputs():
    for bad in (np.zeros((0, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(UsageError, match="finite outputs"):
            predictions.fit_temperature(bad, np.arange(len(bad)))


PROBABILITIES = np.array(
    [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [np.nan] * 3, [0.4, 0.4, 0.2], [0.0, 1.0, 0.0]]
)


def test_margin_and_the_most_ambiguous():
    found = predictions.margin(jnp.asarray(PROBABILITIES))
    np.testing.assert_allclose(found, [0.2, 0.7, np.nan, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(predictions.most_ambiguous(PROBABILITIES, 3), [3, 0, 1])
    np.testing.assert_array_equal(predictions.most_ambiguous(PROBABILITIES, 9), [3, 0, 1, 4, 2])
    with pytest.raises(UsageError, match="2 classes or more"):
        predictions.margin(jnp.ones((3, 1)))


def test_confident_mistakes_are_wrong_and_the_surest_first():
    labels = np.array([1, 2, 0, 1, 0])
    np.testing.assert_array_equal(
        predictions.confident_mistakes(PROBABILITIES, labels, 9), [4, 0, 3]
    )
    np.testing.assert_array_equal(predictions.confident_mistakes(PROBABILITIES, labels, 1), [4])
