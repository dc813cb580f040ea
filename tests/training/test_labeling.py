"""Runs on images with several labels, against Optax and NumPy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.ops import LOSSES, PER_LABEL
from cnn_jax.training import Config, Examples, Task, augmentations, fit, hyperparameters, make_run
from cnn_jax.training.task import ONE_CLASS, labeling

LABELS = 3
TASK = Task((6, 6, 1), LABELS, (0.4,), (0.2,), multi_label=True)
CONFIG = Config(
    Architecture(filters=(), hidden=()), loss="binary_cross_entropy", optimizer="adam",
    batch_size=20, epochs=8,
)  # fmt: skip


def draw(n: int, seed: int = 0) -> Examples:
    """Noise with a pair of bright rows for each label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, LABELS), np.uint8)
    images = rng.integers(0, 120, (n, 6, 6, 1)) + 90 * np.repeat(labels, 2, axis=1)[..., None, None]
    return Examples(jnp.asarray(images, jnp.uint8), jnp.asarray(labels))


def traced(config: Config, **chosen: float) -> dict:
    return {name: jnp.float32(v) for name, v in hyperparameters(config, chosen).items()}


def train(config: Config, **chosen: float) -> list[dict[str, float]]:
    """The metrics of every epoch."""
    return [epoch.metrics for epoch in fit(config, TASK, *DATA, chosen, seed=2)]


DATA = draw(200), draw(60, seed=1)


def test_it_learns_every_label():
    metrics = train(CONFIG, learning_rate=0.02)
    assert metrics[0]["validation_accuracy"] < metrics[-1]["validation_accuracy"]
    assert metrics[-1]["validation_accuracy"] > 0.95
    assert metrics[-1]["train_accuracy"] > 0.95


def test_score_is_the_mean_over_examples_and_over_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, LABELS)).astype(np.float32)
    labels = rng.integers(0, 2, (50, LABELS), np.uint8)
    score = make_run(CONFIG, TASK).score(jnp.asarray(logits), jnp.asarray(labels), traced(CONFIG))
    expected = optax.sigmoid_binary_cross_entropy(logits, labels).sum(-1).mean()
    np.testing.assert_allclose(score["loss"], expected, rtol=1e-6)
    np.testing.assert_allclose(score["accuracy"], ((logits > 0) == labels).mean(), rtol=1e-6)


def test_every_label_is_answered_yes_or_no():
    logits = jnp.asarray([[0.0, jnp.log(3.0)], [jnp.log(1 / 3), 0.0]])
    answers, truth = labeling("binary_cross_entropy", True).answers(
        logits, jnp.asarray([[1, 0], [0, 1]], jnp.uint8), "sigmoid"
    )
    expected = [[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.5, 0.5]]
    np.testing.assert_allclose(answers, expected, rtol=1e-6)
    np.testing.assert_array_equal(truth, [1, 0, 0, 1])


def test_the_answers_of_a_diverged_model_are_wrong():
    answers = labeling("binary_cross_entropy", True)
    nan = jnp.full((4, LABELS), jnp.nan)
    labels = jnp.asarray(np.eye(4, LABELS, dtype=np.uint8))
    assert answers.accuracy(nan, labels) == 0
    np.testing.assert_array_equal(answers.right(nan, labels), np.zeros(4))


def test_a_full_batch_has_the_same_first_loss_as_one_batch_of_all():
    """Both see all examples once; only the order differs."""
    descent = replace(CONFIG, optimizer="gradient_descent", batch_size=64, epochs=1)
    once = replace(CONFIG, optimizer="sgd", batch_size=200, epochs=1)
    (ours,), (theirs,) = train(descent, learning_rate=0.1), train(once, learning_rate=0.1)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


@pytest.mark.parametrize("text", ["flip,mixup:1,cutmix:1", "translate:1"])
def test_augmentations_take_multi_hot_targets(text: str):
    calls, strengths = augmentations(text)
    metrics = train(replace(CONFIG, augment=calls, epochs=1), **strengths)
    assert np.isfinite(metrics[-1]["train_loss"])


def test_without_mixing_a_mixture_changes_nothing():
    plain = replace(CONFIG, epochs=1)
    calls, _ = augmentations("mixup:0")
    mixed = train(replace(plain, augment=calls), augment_mixup=0.0)
    for name, value in train(plain)[0].items():
        np.testing.assert_allclose(mixed[0][name], value, rtol=1e-4)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_losses_that_choose_one_class_are_refused(loss: str):
    config = replace(CONFIG, loss=loss)
    if loss in PER_LABEL:
        run, targets = make_run(config, TASK), jnp.ones((2, LABELS), jnp.uint8)
        assert run.score(jnp.ones((2, LABELS)), targets, traced(config))["accuracy"] == 1
    else:
        with pytest.raises(UsageError, match=f"loss={loss} chooses one class; use loss=binary"):
            make_run(config, TASK)
    assert labeling(loss, False) is ONE_CLASS


def test_a_nan_is_wrong():
    logits = jnp.full((4, LABELS), jnp.nan)
    assert not np.any(ONE_CLASS.right(logits, jnp.array([0, 0, 1, 2])))
