from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops import add_bias, channel_sums, dense, dropout, flatten

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_flattening_of_the_lecture():
    pooled = jnp.asarray([[1, 1, 0], [4, 2, 1], [0, 2, 1]], jnp.float32)
    rows = flatten(pooled[None, :, :, None])
    np.testing.assert_array_equal(rows, [[1, 1, 0, 4, 2, 1, 0, 2, 1]])


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 7), (1, 1, 1, 1), (4,)])
def test_flatten_keeps_examples_apart_in_reading_order(shape):
    x = normal(1, *shape)
    np.testing.assert_array_equal(flatten(jnp.asarray(x)), [np.ravel(row) for row in x])


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_dense_is_the_weighted_sum_and_a_bias(batch):
    x, kernel, bias, weights = normal(2, *batch, 5), normal(3, 5, 3), normal(4, 3), normal(5, 3)
    y, pull_back = jax.vjp(dense, x, kernel, bias)
    expected = sum(x[..., p, None] * kernel[p] for p in range(5)) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    dy = np.broadcast_to(weights, y.shape)
    dx, dkernel, dbias = pull_back(jnp.asarray(dy))
    rows, drows = x.reshape(-1, 5), dy.reshape(-1, 3)
    np.testing.assert_allclose(dx, dy @ kernel.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dkernel, rows.T @ drows, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dbias, drows.sum(0), rtol=1e-5, atol=1e-5)


def test_dense_under_vmap_over_models():
    x, kernels, biases = normal(6, 4, 5), normal(7, 2, 5, 3), normal(8, 2, 3)
    y = jax.vmap(dense, (None, 0, 0))(x, kernels, biases)
    np.testing.assert_allclose(y, x @ kernels + biases[:, None], rtol=1e-5, atol=1e-5)


def test_dense_of_another_number_of_features():
    with pytest.raises(ValueError, match="x has 4 features, the kernel takes 5"):
        dense(jnp.zeros((2, 4)), jnp.zeros((5, 3)), jnp.zeros(3))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_mean(rate):
    n = 40_000
    dropped = np.asarray(dropout(KEY, jnp.ones(n), rate))
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs(np.mean(dropped == 0) - rate) < 4 * deviation
    assert abs(dropped.mean() - 1) < 4 * deviation / (1 - rate)


def test_dropout_of_rate_zero_changes_nothing():
    x = normal(9, 50, 7)
    np.testing.assert_array_equal(dropout(KEY, x, 0.0), x)
    np.testing.assert_array_equal(jax.jit(dropout)(KEY, x, 0.0), x)


def test_dropout_is_decided_by_the_key():
    x = jnp.ones((40, 50))
    np.testing.assert_array_equal(dropout(KEY, x, 0.5), dropout(jax.random.key(0), x, 0.5))
    assert (dropout(KEY, x, 0.5) != dropout(jax.random.key(1), x, 0.5)).any()


def test_dropout_of_several_rates_at_once():
    x, rates = normal(10, 30, 20), [0.0, 0.25, 0.5, 0.9]
    at_once = jax.jit(jax.vmap(partial(dropout, KEY, x)))(jnp.asarray(rates))
    for dropped, rate in zip(at_once, rates, strict=True):
        np.testing.assert_allclose(dropped, dropout(KEY, x, rate), rtol=1e-6)


def test_dropout_of_several_keys_at_once():
    keys, x = jax.random.split(KEY, 3), normal(11, 30)
    at_once = jax.vmap(dropout, (0, None, None))(keys, x, 0.5)
    for dropped, key in zip(at_once, keys, strict=True):
        np.testing.assert_array_equal(dropped, dropout(key, x, 0.5))


def test_gradient_of_dropout_is_its_mask():
    x = normal(12, 200)
    gradient = jax.grad(lambda x: jnp.sum(dropout(KEY, x, 0.4)))(x)
    np.testing.assert_allclose(gradient * x, dropout(KEY, x, 0.4), rtol=1e-5)


@pytest.mark.parametrize("rate", [0.5, jnp.float32(0.5)], ids=["number", "array"])
def test_dropout_keeps_bfloat16(rate):
    assert dropout(KEY, jnp.ones(4, jnp.bfloat16), rate).dtype == jnp.bfloat16


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (1, 1, 1, 1), (130, 7, 7, 33)])
def test_channel_sums_and_their_gradient(shape, split):
    maps, weights = normal(1, *shape), normal(2, shape[-1])
    sums = channel_sums(jnp.asarray(maps), split=split)
    np.testing.assert_allclose(sums, maps.sum((0, 1, 2), np.float64), rtol=1e-4, atol=1e-4)
    slopes = jax.grad(lambda m: channel_sums(m, split=split) @ weights)(jnp.asarray(maps))
    np.testing.assert_array_equal(slopes, np.broadcast_to(weights, shape))


def test_many_small_numbers_in_bfloat16_are_added_up_in_float32():
    ones = jnp.ones((8, 32, 32, 3), jnp.bfloat16)
    sums = channel_sums(ones)
    assert sums.dtype == jnp.bfloat16
    np.testing.assert_array_equal(sums.astype(np.float32), [8192] * 3)


def test_the_gradient_of_a_bias_is_the_sum_over_examples_and_places():
    maps, bias, cotangents = normal(1, 6, 5, 4, 3), normal(2, 3), normal(3, 6, 5, 4, 3)
    values, back = jax.vjp(add_bias, jnp.asarray(maps), jnp.asarray(bias))
    np.testing.assert_array_equal(values, maps + bias)
    dmaps, dbias = back(jnp.asarray(cotangents))
    np.testing.assert_array_equal(dmaps, cotangents)
    np.testing.assert_allclose(dbias, cotangents.sum((0, 1, 2)), rtol=1e-5, atol=1e-5)


def test_channels_under_vmap_over_models():
    maps, bias = normal(1, 3, 4, 5, 5, 2), normal(2, 3, 2)
    sums = jax.vmap(channel_sums)(jnp.asarray(maps))
    np.testing.assert_allclose(sums, maps.sum((1, 2, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(jax.vmap(add_bias)(maps, bias), maps + bias[:, None, None, None])


def test_flattening_an_empty_batch():
    assert flatten(jnp.ones((0, 3, 2, 4))).shape == (0, 24)
