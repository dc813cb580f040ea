"""Uneven classes: weights, samples, and batches that are larger than the training set."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, Mode
from cnn_jax.training import (
    Config,
    Examples,
    Task,
    augmentations,
    fit_batch,
    hyperparameters,
    make_run,
)
from cnn_jax.training.run import _stochastic, streams
from cnn_jax.training.step import Setting, forward, gradient, prepare
from cnn_jax.training.task import class_weights

LINEAR = Config(Architecture(filters=(), hidden=()), optimizer="sgd", batch_size=10, epochs=1)
TASK = Task((4, 4, 1), 3, (0.5,), (0.3,))
KEY = jax.random.key(0)


def uneven() -> Examples:
    """Forty examples of class 0, eight of class 1 and two of class 2."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [40, 8, 2])).astype(np.int32)
    images = rng.integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    return Examples(jnp.asarray(images), jnp.asarray(labels))


def test_weights_make_all_classes_count_alike():
    labels = jnp.array([0, 0, 0, 2])
    weights = class_weights(labels, 3)
    np.testing.assert_allclose(weights, [4 / 6, 0, 2])
    assert float(jnp.mean(weights[labels])) == pytest.approx(1)


def test_a_weighted_epoch_is_that_of_the_weighted_loss():
    """One step on all examples: the gradient is that of the loss with weights, written out."""
    examples = uneven()
    config = replace(LINEAR, batch_size=50, class_weights="balanced")
    run = make_run(config, TASK)
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    state = run.init(hparams, KEY)
    after, _ = run.epoch(state, hparams, KEY, examples)

    def loss(params: dict) -> jax.Array:
        logits = run.predict(state._replace(params=params), examples.images)
        nll = -jax.nn.log_softmax(logits)[jnp.arange(50), examples.labels]
        return jnp.mean(nll * class_weights(examples.labels, 3)[examples.labels])

    expected = jax.grad(loss)(state.params)
    moved = jax.tree.map(
        lambda a, b: (a - b) / hparams["learning_rate"], state.params, after.params
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), moved, expected)


def test_each_class_of_a_mixture_has_its_weight():
    examples = uneven()
    config = replace(
        LINEAR, batch_size=50, class_weights="balanced", augment=augmentations("mixup:1")[0]
    )
    setting, of_class = Setting(config, TASK, None), class_weights(examples.labels, 3)
    rng = np.random.default_rng(1)
    targets = jnp.asarray(rng.dirichlet(np.ones(3), 50), jnp.float32)
    images = jnp.asarray(rng.normal(size=(50, 4, 4, 1)), jnp.float32)
    run = make_run(config, TASK)
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    state = run.init(hparams, KEY)
    found = gradient(
        setting, state, hparams, images, targets, examples.labels, jnp.full(50, 1 / 50), KEY,
        of_class,
    )  # fmt: skip
    logits, _ = forward(setting, state.params, state.statistics, images, Mode(True, KEY))
    nll = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)
    assert float(found.loss) == pytest.approx(float(jnp.mean(nll * (targets @ of_class))), rel=1e-5)


def test_a_balanced_sample_has_every_class_as_often():
    examples = uneven()
    setting = Setting(replace(LINEAR, sample="balanced"), TASK, None)
    drawn = [
        np.asarray(examples.labels[_stochastic(setting, examples, streams(KEY), epoch).indices])
        for epoch in jnp.arange(40)
    ]
    shares = np.bincount(np.concatenate(drawn, axis=None)) / 2000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def test_an_example_that_comes_again_in_a_balanced_epoch_is_augmented_anew():
    examples = uneven()
    config = replace(LINEAR, sample="balanced", augment=augmentations("translate:2")[0])
    setting, run = Setting(config, TASK, None), make_run(config, TASK)
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    hparams["learning_rate"] = jnp.float32(0)
    updates = _stochastic(setting, examples, streams(KEY), jnp.int32(0))
    chosen, draws = updates.indices.ravel(), updates.draws.ravel()
    batch = Examples(examples.images[chosen], examples.labels[chosen])
    images, targets = prepare(
        setting, batch, draws, jnp.int32(0), hparams, streams(KEY).augment, TASK.image_shape[:2]
    )
    most = int(jnp.argmax(jnp.bincount(chosen)))
    views = np.asarray(images[chosen == most])
    assert len(views) > 2 and len(np.unique(views, axis=0)) > 1

    state = run.init(hparams, KEY)
    _, metrics = run.epoch(state, hparams, KEY, examples)
    logits, _ = forward(setting, state.params, state.statistics, images, Mode(True, KEY))
    nll = -jax.nn.log_softmax(logits)[jnp.arange(50), targets]
    assert float(metrics["train_loss"]) == pytest.approx(float(jnp.mean(nll)), rel=1e-5)


@pytest.mark.parametrize("field", ["class_weights", "sample"])
def test_labels_have_no_classes_to_balance(field: str):
    config = replace(LINEAR, loss="binary_cross_entropy", **{field: "balanced"})
    with pytest.raises(UsageError, match=f"{field}=balanced needs images of one class each"):
        make_run(config, TASK._replace(multi_label=True))


def test_a_whole_batch_cannot_be_drawn():
    with pytest.raises(UsageError, match="sample=balanced has no effect with"):
        replace(LINEAR, optimizer="gradient_descent", sample="balanced")


def test_a_batch_is_no_larger_than_the_training_set():
    assert fit_batch(LINEAR, 10) is LINEAR
    assert fit_batch(LINEAR, 7).batch_size == 7
    assert fit_batch(replace(LINEAR, micro_batches=5), 8).batch_size == 5
    with pytest.raises(UsageError, match="3 training examples cannot be cut into micro_batches=5"):
        fit_batch(replace(LINEAR, micro_batches=5), 3)
