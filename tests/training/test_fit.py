"""Training one network: a sweep of one trial, what it yields, and that it can start anywhere."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import Split
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import (
    Config,
    Epoch,
    Examples,
    Task,
    Trainer,
    fit,
    hyperparameters,
    make_run,
    to_device,
)
from cnn_jax.training.grid import Trial

CONFIG = Config(Architecture(filters=(2,), hidden=()), batch_size=16, epochs=3, schedule="step")
HPARAMS = {name: jnp.float32(value) for name, value in hyperparameters(CONFIG).items()}


@pytest.fixture(scope="module")
def train(draw: Callable[..., Examples]) -> Examples:
    return draw(50)


@pytest.fixture(scope="module")
def validation(draw: Callable[..., Examples]) -> Examples:
    return draw(20, seed=1)


@pytest.fixture(scope="module")
def unbroken(task: Task, train: Examples, validation: Examples) -> list[Epoch]:
    return list(fit(CONFIG, task, train, validation))


def trials(*seeds: int) -> list[Trial]:
    return [Trial(0, {}, seed, hyperparameters(CONFIG)) for seed in seeds]


def test_metrics_of_every_epoch(unbroken):
    assert [epoch.metrics["epoch"] for epoch in unbroken] == [1, 2, 3]
    assert [int(epoch.state.epoch) for epoch in unbroken] == [1, 2, 3]
    assert list(unbroken[0].metrics) == [
        "epoch",
        "learning_rate",
        "train_accuracy",
        "train_loss",
        "validation_accuracy",
        "validation_loss",
    ]
    assert all(type(value) is float for value in list(unbroken[0].metrics.values())[1:])
    # Three steps an epoch: 1, 1, 1, 1, 1, .1, .1, .01, .01 of the peak.
    rates = [epoch.metrics["learning_rate"] for epoch in unbroken]
    np.testing.assert_allclose(rates, [1e-3, 1e-4, 1e-5], rtol=1e-5)
    assert all(epoch.seconds > 0 for epoch in unbroken)


def test_seconds_are_told_apart(task, train, validation):
    trainer = Trainer(make_run(CONFIG, task), train, validation)
    ends = list(trainer.fit(*trainer.start(trials(0)), CONFIG.epochs))
    assert trainer.compile_seconds > 0
    assert all(0 < end.train_seconds < end.seconds for end in ends)
    total = sum(end.seconds for end in ends)
    assert ends[-1].standing.trials[0].seconds == pytest.approx(total)


def test_validation_is_that_of_the_state_after_the_epoch(unbroken, task, validation):
    evaluated = make_run(CONFIG, task).evaluate(unbroken[-1].state, HPARAMS, validation)
    for name, value in evaluated.items():
        np.testing.assert_allclose(unbroken[-1].metrics[f"validation_{name}"], value, rtol=1e-5)


def test_going_on_from_any_epoch_gives_the_same_bits(unbroken, task, train, validation):
    trainer = Trainer(make_run(CONFIG, task), train, validation)
    for done, epoch in enumerate(unbroken, start=1):
        (trial,) = trials(0)
        rest = [
            (trainer.alone(end.state), end.standing.trials[0].history[-1])
            for end in trainer.fit(*trainer.resume(epoch.state, trial), CONFIG.epochs)
        ]
        assert len(rest) == CONFIG.epochs - done
        for (state, metrics), theirs in zip(rest, unbroken[done:], strict=True):
            assert metrics == theirs.metrics
            jax.tree.map(np.testing.assert_array_equal, state, theirs.state)


@pytest.mark.parametrize("seeds", [[0], [2, 0, 1]])
def test_a_lone_run_is_a_trial_of_a_sweep_to_the_same_bits(
    unbroken, task, train, validation, seeds: list[int]
):
    trainer = Trainer(make_run(CONFIG, task), train, validation)
    *_, end = trainer.fit(*trainer.start(trials(*seeds)), CONFIG.epochs)
    spot = seeds.index(0)
    assert end.standing.trials[spot].history == tuple(epoch.metrics for epoch in unbroken)
    member = jax.tree.map(lambda leaf: leaf[spot], end.state.states)
    jax.tree.map(np.testing.assert_array_equal, member, unbroken[-1].state)


def test_without_held_out_examples_there_is_no_validation(task, train):
    first = next(fit(CONFIG, task, train))
    assert first.metrics.keys() == {"epoch", "learning_rate", "train_accuracy", "train_loss"}


def test_the_seed_decides_the_order(unbroken, task, train, validation):
    trainer = Trainer(make_run(CONFIG, task), train, validation)
    start, _ = trainer.start(trials(0))
    state, standing = trainer.resume(trainer.alone(start), trials(1)[0])
    other = next(trainer.fit(state, standing, 1)).standing.trials[0].history[-1]
    assert other["train_loss"] != unbroken[0].metrics["train_loss"]


def test_chosen_numbers_are_used_and_unknown_ones_refused(task, train):
    first = next(fit(CONFIG, task, train, chosen={"learning_rate": 0.5}))
    np.testing.assert_allclose(first.metrics["learning_rate"], 0.5, rtol=1e-6)
    with pytest.raises(UsageError, match="momentum has no effect"):
        next(fit(CONFIG, task, train, chosen={"momentum": 0.5}))


def test_to_device_keeps_types_and_values():
    split = Split(np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), np.array([1, 0], np.int32))
    examples = to_device(split)
    assert (examples.images.dtype, examples.labels.dtype) == (jnp.uint8, jnp.int32)
    np.testing.assert_array_equal(examples.images, split.images)
    np.testing.assert_array_equal(examples.labels, split.labels)
