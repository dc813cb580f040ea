"""Every schedule against Optax's of the same shape, at every step of a run."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.ops.hyperparameters import declared
from cnn_jax.training import SCHEDULES
from cnn_jax.training.schedules import factor

STEPS = 40
PROGRESS = jnp.arange(STEPS) / STEPS


def one_cycle(warmup: int, final: float) -> optax.Schedule:
    rise = optax.linear_schedule(0.0, 1.0, warmup)
    fall = optax.linear_schedule(1.0, final, STEPS - warmup)
    return optax.join_schedules([rise, fall], [warmup])


CASES = [
    ("constant", {}, optax.constant_schedule(1.0)),
    ("cosine", {}, optax.cosine_decay_schedule(1.0, STEPS)),
    ("cosine", {"final_fraction": 0.2}, optax.cosine_decay_schedule(1.0, STEPS, alpha=0.2)),
    (
        "warmup_cosine",
        {"warmup_fraction": 0.25, "final_fraction": 0.1},
        optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, STEPS, end_value=0.1),
    ),
    ("one_cycle", {"warmup_fraction": 0.3, "final_fraction": 0.05}, one_cycle(12, 0.05)),
    ("one_cycle", {}, one_cycle(8, 0.0)),
    (
        "step",
        {"decay_factor": 0.3},
        optax.piecewise_constant_schedule(1.0, {STEPS // 2: 0.3, STEPS * 3 // 4: 0.3}),
    ),
    ("exponential", {"final_fraction": 0.01}, optax.exponential_decay(1.0, STEPS, 0.01)),
]


@pytest.mark.parametrize("name, numbers, expected", CASES)
def test_schedule_is_that_of_optax(name: str, numbers: dict, expected: optax.Schedule):
    ours = SCHEDULES[name](PROGRESS, **numbers)
    np.testing.assert_allclose(ours, expected(jnp.arange(STEPS)), atol=1e-6)


@pytest.mark.parametrize("name", ["one_cycle", "warmup_cosine"])
def test_a_warm_up_wastes_no_step(name: str):
    """At step k of n of the warm-up the rate is (k + 1) / n; what comes after is as before."""
    found = factor(SCHEDULES[name], PROGRESS, 1 / STEPS, warmup_fraction=0.25)
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(found[10:], SCHEDULES[name](PROGRESS, warmup_fraction=0.25)[10:])
    # A run of one step takes it whole.
    assert factor(SCHEDULES[name], 0.0, 1.0, warmup_fraction=0.2) == 1


def test_a_schedule_that_takes_the_progress_alone_is_given_no_more():
    assert factor(lambda t, *, power=1.0: t**power, 0.5, 0.1, power=2.0) == 0.25


def test_every_schedule_is_compared():
    assert {name for name, *_ in CASES} == SCHEDULES.keys()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_is_a_fraction_for_every_allowed_number(name: str):
    schedule = SCHEDULES[name]
    numbers = declared(schedule)
    names = sorted(numbers)
    assert all((numbers[n].interval.low, numbers[n].interval.high) == (0, 1) for n in names)
    lowest = 0.01 if name == "exponential" else 0.0
    grid = np.array(list(itertools.product(np.linspace(lowest, 1, 5), repeat=len(names))))
    t = jnp.linspace(0, 1, 21)

    def factors(numbers: jax.Array) -> jax.Array:
        return schedule(t, **dict(zip(names, numbers, strict=True)))

    values = jax.jit(jax.vmap(factors))(jnp.asarray(grid, jnp.float32))
    assert np.all(np.isfinite(values))
    assert np.all((values >= -1e-6) & (values <= 1 + 1e-6))


@pytest.mark.parametrize("name", ["cosine", "exponential", "one_cycle", "warmup_cosine"])
def test_final_fraction_is_where_it_ends(name: str):
    np.testing.assert_allclose(SCHEDULES[name](1.0, final_fraction=0.3), 0.3, rtol=1e-5)


@pytest.mark.parametrize("name", ["one_cycle", "warmup_cosine"])
def test_without_warmup_training_starts_at_the_peak(name: str):
    np.testing.assert_allclose(SCHEDULES[name](0.0, warmup_fraction=0.0), 1.0)
