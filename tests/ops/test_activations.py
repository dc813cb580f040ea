import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from cnn_jax.ops import (
    ACTIVATIONS,
    OUTPUT_ACTIVATIONS,
    PARAMETRIC_ACTIVATIONS,
    hard_swish,
    prelu,
    relu,
    sigmoid,
    softmax,
    softplus,
    step,
)

SCORES = jnp.array([-0.5, 1.2, -0.1, 2.4])
# Off the kinks (-3, 0 and 3), so that central differences are derivatives.
POINTS = np.concatenate([np.linspace(-12, 12, 98), [-1e4, -90, -30, 30, 90, 1e4]])


def _selu(x):
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))


REFERENCES = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * special.ndtr(x),
    "hard_swish": lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.maximum(x, 0) + 0.01 * np.minimum(x, 0),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "relu": lambda x: np.maximum(x, 0),
    "selu": _selu,
    "sigmoid": special.expit,
    "silu": lambda x: x * special.expit(x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "step": lambda x: (x >= 0).astype(float),
    "tanh": np.tanh,
}


def _slope(function, x, width=1e-4):
    return (function(x + width) - function(x - width)) / (2 * width)


def test_every_activation_has_a_reference():
    assert set(ACTIVATIONS) == set(REFERENCES)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives(name):
    function = jax.jit(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])))
    value, derivative = function(jnp.float32(POINTS))
    np.testing.assert_allclose(value, REFERENCES[name](POINTS), rtol=2e-6, atol=2e-6)
    if name != "step":
        np.testing.assert_allclose(derivative, _slope(REFERENCES[name], POINTS), atol=5e-6)


def test_derivatives_at_zero_are_those_of_jax():
    names = sorted(set(ACTIVATIONS) - {"identity", "step"})

    @jax.jit
    def derivatives(x):
        pairs = [(ACTIVATIONS[name], getattr(jax.nn, name)) for name in names]
        return [(jax.grad(ours)(x), jax.grad(theirs)(x)) for ours, theirs in pairs]

    for name, (ours, theirs) in zip(names, derivatives(0.0), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_keeps_dtype_and_shape_and_shows_nan(name):
    x = jnp.array([[jnp.nan, 1.0, -1.0]], dtype=jnp.bfloat16)
    y = ACTIVATIONS[name](x)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    np.testing.assert_array_equal(jnp.isnan(y), jnp.isnan(x))


def test_step_at_the_threshold():
    np.testing.assert_array_equal(step(jnp.array([-1e-30, -0.0, 0.0, 1e-30])), [0, 1, 1, 1])


def test_step_has_a_surrogate_derivative():
    x = jnp.array([-1e4, -3.0, -0.5, 0.0, 0.5, 3.0, 1e4])
    derivative = jax.vmap(jax.grad(step))(x)
    fast_sigmoid = _slope(lambda v: v / (1 + np.abs(v)), np.float64(x), width=1e-6)
    np.testing.assert_allclose(derivative, fast_sigmoid, rtol=1e-3)


def test_weights_below_a_step_learn():
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (64, 2))
    y = jnp.where(x[:, 0] * x[:, 1] > 0, 1.0, 0.0)
    head = jax.random.normal(keys[1], (16,)) / 4
    params = jax.random.normal(keys[2], (3, 16))

    def loss(params):
        return jnp.mean((step(x @ params[:2] + params[2]) @ head - y) ** 2)

    @jax.jit
    def train(params):
        return jax.lax.fori_loop(0, 300, lambda _, p: p - 0.3 * jax.grad(loss)(p), params)

    assert loss(train(params)) < loss(params) / 2


def test_second_derivative_of_softplus_at_zero():
    assert jax.grad(jax.grad(softplus))(0.0) == 0.25


def test_hard_swish_is_flat_and_linear_outside():
    np.testing.assert_array_equal(hard_swish(jnp.array([-4.0, -3.0, 3.0, 4.0])), [0, 0, 3, 4])


def test_prelu_gradients():
    function, initial = PARAMETRIC_ACTIVATIONS["prelu"]
    assert function is prelu
    assert initial == 0.25
    x, slope = jnp.array([[-2.0, 3.0], [-1.0, -4.0]]), jnp.array([0.25, 0.5])
    np.testing.assert_allclose(prelu(x, slope), [[-0.5, 3.0], [-0.25, -2.0]])
    by_x, by_slope = jax.grad(lambda x, slope: prelu(x, slope).sum(), argnums=(0, 1))(x, slope)
    np.testing.assert_allclose(by_x, [[0.25, 1.0], [0.25, 0.5]])
    np.testing.assert_allclose(by_slope, [-3.0, -4.0])


def test_relu_under_vmap_and_jit():
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    np.testing.assert_array_equal(jax.jit(jax.vmap(relu))(x), np.maximum(x, 0))


def test_softmax_values_and_gradient():
    z = np.random.default_rng(0).normal(scale=4, size=(5, 7)).astype(np.float32)
    np.testing.assert_allclose(softmax(z), special.softmax(z, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(softmax(z, axis=0), special.softmax(z, axis=0), rtol=1e-5)
    p = special.softmax(np.float64(z[0]))
    np.testing.assert_allclose(
        jax.jacobian(softmax)(z[0]), np.diag(p) - np.outer(p, p), rtol=1e-4, atol=1e-8
    )


def test_softmax_of_large_logits():
    z = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(softmax(z), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    jacobian = jax.vmap(jax.jacobian(softmax))(z)
    np.testing.assert_allclose(jacobian[0], np.zeros((3, 3)))
    np.testing.assert_allclose(jacobian[1], np.eye(3) / 3 - 1 / 9, atol=1e-7)


def test_sigmoid_treats_each_score_by_itself():
    exact = [0.3775406688, 0.7685247835, 0.4750208125, 0.9168273035]
    independent = OUTPUT_ACTIVATIONS["sigmoid"](SCORES)
    np.testing.assert_allclose(independent, exact, rtol=1e-6)
    np.testing.assert_allclose(independent, [0.37, 0.77, 0.48, 0.91], atol=0.01)
    np.testing.assert_allclose(independent.sum(), 2.53, atol=0.01)
    np.testing.assert_array_equal(sigmoid(SCORES)[1:], sigmoid(SCORES[1:]))


def test_softmax_shares_out_one():
    exact = [0.0382556679, 0.2094095133, 0.0570707501, 0.6952640688]
    shared = OUTPUT_ACTIVATIONS["softmax"](SCORES)
    np.testing.assert_allclose(shared, exact, rtol=1e-6)
    np.testing.assert_allclose(shared, [0.04, 0.21, 0.05, 0.70], atol=0.01)
    np.testing.assert_allclose(shared.sum(), 1, rtol=1e-6)
    raised = softmax(SCORES.at[1].add(1.0))
    assert raised[1] > shared[1]
    assert jnp.all(jnp.delete(raised, 1) < jnp.delete(shared, 1))
