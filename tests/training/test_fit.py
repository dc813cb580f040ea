"""The loop around the epochs: what it yields, and that it can start anywhere."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import Split
from cnn_jax.models import Architecture
from cnn_jax.training import (
    Config,
    Examples,
    Programs,
    Task,
    compile_programs,
    fit,
    hyperparameters,
    make_run,
    to_device,
)

CONFIG = Config(Architecture(filters=(2,), hidden=()), batch_size=16, epochs=3, schedule="step")
HPARAMS = {name: jnp.float32(value) for name, value in hyperparameters(CONFIG).items()}
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def train(draw: Callable[..., Examples]) -> Examples:
    return draw(50)


@pytest.fixture(scope="module")
def validation(draw: Callable[..., Examples]) -> Examples:
    return draw(20, seed=1)


@pytest.fixture(scope="module")
def initial(task: Task) -> Callable:
    return jax.jit(make_run(CONFIG, task).init)


@pytest.fixture(scope="module")
def programs(initial: Callable, task: Task, train: Examples, validation: Examples) -> Programs:
    run = make_run(CONFIG, task)
    return compile_programs(run, initial(HPARAMS, KEY), HPARAMS, KEY, train, validation)


def run_all(programs: Programs, state, train: Examples, validation: Examples | None) -> list:
    """All epochs, their states copied before the next epoch takes their memory."""
    return [
        epoch._replace(state=jax.tree.map(np.array, epoch.state))
        for epoch in fit(programs, state, HPARAMS, KEY, train, validation, CONFIG.epochs)
    ]


def test_metrics_of_every_epoch(programs, initial, train, validation):
    epochs = run_all(programs, initial(HPARAMS, KEY), train, validation)
    assert [epoch.metrics["epoch"] for epoch in epochs] == [1, 2, 3]
    assert [int(epoch.state.epoch) for epoch in epochs] == [1, 2, 3]
    assert list(epochs[0].metrics) == [
        "epoch",
        "learning_rate",
        "train_accuracy",
        "train_loss",
        "validation_accuracy",
        "validation_loss",
    ]
    assert all(type(value) is float for value in list(epochs[0].metrics.values())[1:])
    # Three steps an epoch: 1, 1, 1, 1, 1, .1, .1, .01, .01 of the peak.
    rates = [epoch.metrics["learning_rate"] for epoch in epochs]
    np.testing.assert_allclose(rates, [1e-3, 1e-4, 1e-5], rtol=1e-5)
    assert all(epoch.seconds > 0 for epoch in epochs)
    assert programs.seconds > 0


def test_validation_is_that_of_the_state_after_the_epoch(
    programs, initial, task, train, validation
):
    last = run_all(programs, initial(HPARAMS, KEY), train, validation)[-1]
    evaluated = make_run(CONFIG, task).evaluate(last.state, HPARAMS, validation)
    for name, value in evaluated.items():
        np.testing.assert_allclose(last.metrics[f"validation_{name}"], value, rtol=1e-5)


def test_going_on_from_any_epoch_gives_the_same_bits(programs, initial, train, validation):
    unbroken = run_all(programs, initial(HPARAMS, KEY), train, validation)
    for done, epoch in enumerate(unbroken, start=1):
        state = jax.tree.map(jnp.asarray, epoch.state)
        rest = run_all(programs, state, train, validation)
        assert len(rest) == CONFIG.epochs - done
        for ours, theirs in zip(rest, unbroken[done:], strict=True):
            assert ours.metrics == theirs.metrics
            jax.tree.map(np.testing.assert_array_equal, ours.state, theirs.state)


def test_without_held_out_examples_there_is_no_validation(programs, initial, task, train):
    alone = compile_programs(
        make_run(CONFIG, task), initial(HPARAMS, KEY), HPARAMS, KEY, train, None
    )
    assert alone.evaluate is None
    first = run_all(alone, initial(HPARAMS, KEY), train, None)[0]
    assert first.metrics.keys() == {"epoch", "learning_rate", "train_accuracy", "train_loss"}


def test_the_key_decides_the_order(programs, initial, train, validation):
    state = initial(HPARAMS, KEY)
    other = next(fit(programs, state, HPARAMS, jax.random.key(1), train, validation, 1))
    same = run_all(programs, initial(HPARAMS, KEY), train, validation)[0]
    assert other.metrics["train_loss"] != same.metrics["train_loss"]


def test_to_device_keeps_types_and_values():
    split = Split(np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), np.array([1, 0], np.int32))
    examples = to_device(split)
    assert (examples.images.dtype, examples.labels.dtype) == (jnp.uint8, jnp.int32)
    np.testing.assert_array_equal(examples.images, split.images)
    np.testing.assert_array_equal(examples.labels, split.labels)
