import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.ops import apply_updates, gradient_descent, init_velocity, momentum, nesterov

PARAMS = {"dense": (jnp.array([1.0, -2.0]), jnp.array(0.5)), "bias": jnp.array([[3.0]])}
CURVATURE = {"dense": (jnp.array([1.0, 4.0]), jnp.array(2.0)), "bias": jnp.array([[0.5]])}


def _quadratic(params):
    terms = jax.tree.map(lambda c, p: jnp.sum(c * p**2) / 2, CURVATURE, params)
    return sum(jax.tree.leaves(terms))


def _run(update, state, **numbers):
    def one(_, carry):
        params, state = carry
        updates, state = update(jax.grad(_quadratic)(params), state, params, **numbers)
        return apply_updates(params, updates), state

    return jax.lax.fori_loop(0, 6, one, (PARAMS, state))[0]


def _run_optax(optimizer):
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(6):
        updates, state = optimizer.update(jax.grad(_quadratic)(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def _assert_close(actual, expected):
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5), actual, expected)


def test_gradient_descent_by_hand():
    updates, state = gradient_descent({"w": jnp.array([0.5, -4.0])}, (), learning_rate=0.1)
    params = apply_updates({"w": jnp.array([1.0, 2.0])}, updates)
    np.testing.assert_allclose(params["w"], [0.95, 2.4], rtol=1e-6)
    assert state == ()


@pytest.mark.parametrize(
    ("update", "expected"),
    [(momentum, 1 - 0.1 * 4 - 0.1 * 5.6), (nesterov, 1 - 0.1 * 7.6 - 0.1 * (2 + 0.9 * 5.6))],
)
def test_two_steps_by_hand(update, expected):
    w, velocity = jnp.array(1.0), jnp.array(0.0)
    for gradient in (4.0, 2.0):
        updates, velocity = update(gradient, velocity, learning_rate=0.1, momentum=0.9)
        w = apply_updates(w, updates)
    np.testing.assert_allclose(velocity, 0.9 * 4 + 2, rtol=1e-6)
    np.testing.assert_allclose(w, expected, rtol=1e-5)


@pytest.mark.parametrize(("update", "is_nesterov"), [(momentum, False), (nesterov, True)])
def test_momenta_agree_with_optax(update, is_nesterov):
    actual = _run(update, init_velocity(PARAMS), learning_rate=0.1, momentum=0.8)
    _assert_close(actual, _run_optax(optax.sgd(0.1, momentum=0.8, nesterov=is_nesterov)))


def test_gradient_descent_under_vmap_over_learning_rates():
    rates = jnp.array([0.01, 0.1, 0.3])
    swept = jax.vmap(lambda rate: _run(gradient_descent, (), learning_rate=rate))(rates)
    for i, rate in enumerate(rates):
        _assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], swept), _run_optax(optax.sgd(rate)))


@pytest.mark.parametrize("update", [momentum, nesterov])
def test_momentum_of_zero_is_gradient_descent(update):
    actual = _run(update, init_velocity(PARAMS), learning_rate=0.2, momentum=0.0)
    _assert_close(actual, _run(gradient_descent, (), learning_rate=0.2))


@pytest.mark.parametrize("update", [momentum, nesterov])
def test_dtypes_are_kept_under_traced_numbers(update):
    params = {"half": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(3)}
    velocity = init_velocity(params)
    numbers = {"learning_rate": jnp.float32(0.1), "momentum": jnp.float32(0.9)}
    updates, velocity = update(params, velocity, **numbers)
    for tree in (apply_updates(params, updates), velocity):
        assert jax.tree.map(lambda leaf: leaf.dtype, tree) == {
            "half": jnp.bfloat16,
            "single": jnp.float32,
        }


def test_a_missing_gradient_is_refused():
    with pytest.raises(ValueError, match="bias"):
        updates, _ = gradient_descent({"dense": PARAMS["dense"]}, (), learning_rate=0.1)
        apply_updates(PARAMS, updates)
