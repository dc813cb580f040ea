"""Batch normalization against that of Flax, in each of the forms that platforms take."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.ops import _batch_norm, batch_norm, batch_norm_in_training, batch_statistics

VECTORS = [(True, True), (False, True), (True, False)]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def inputs(use_scale, use_bias):
    scale, bias = normal(3, 4) if use_scale else None, normal(4, 4) if use_bias else None
    return 3 * normal(1, 9, 6, 5, 4) + 1, scale, bias


def by_flax(maps, scale, bias):
    layer = nnx.BatchNorm(
        4, use_scale=scale is not None, use_bias=bias is not None, momentum=0, rngs=nnx.Rngs(0)
    )
    for variable, vector in ((layer.scale, scale), (layer.bias, bias)):
        if variable is not None:
            variable[...] = vector
    normed = layer(maps, use_running_average=False)
    return normed, layer.mean[...], layer.var[...]


def in_parts(maps, scale, bias):
    mean, variance = batch_statistics(maps)
    return batch_norm(maps, mean, variance, scale, bias), mean, variance


def close(found, expected, tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["the platform's form", "at once"])
def form(request, monkeypatch):
    if request.param == "at once":
        monkeypatch.setattr(
            _batch_norm, "_by_platform", lambda composed, at_once, *given: at_once(*given)
        )


@pytest.mark.parametrize("use_scale, use_bias", VECTORS)
@pytest.mark.parametrize("ours", [batch_norm_in_training, in_parts])
def test_value_and_gradients_are_those_of_flax(form, ours, use_scale, use_bias):
    given = inputs(use_scale, use_bias)
    cotangents = normal(2, 9, 6, 5, 4), jnp.zeros(4), jnp.zeros(4)
    values, back = jax.vjp(ours, *given)
    expected, expected_back = jax.vjp(by_flax, *given)
    close(values, expected, 1e-5)
    close(back(cotangents), expected_back(cotangents), 1e-4)


def test_gradients_of_the_statistics_too(form):
    given, cotangents = inputs(True, True), (normal(2, 9, 6, 5, 4), normal(5, 4), normal(6, 4))
    found, expected = (
        jax.vjp(function, *given)[1](cotangents) for function in (batch_norm_in_training, in_parts)
    )
    close(found, expected, 1e-4)


def test_the_gradient_of_a_gradient(form):
    def twice(function):
        def slope(maps):
            normed, mean, variance = function(maps, *inputs(True, True)[1:])
            return jnp.sum(normed**3) + jnp.sum(mean * variance)

        return jax.grad(lambda maps: jnp.sum(jax.grad(slope)(maps) ** 2))

    with jax.enable_x64(True):
        maps = inputs(True, True)[0].astype(jnp.float64)
        close(twice(batch_norm_in_training)(maps), twice(in_parts)(maps), 1e-6)


def test_many_networks_at_once(form):
    maps, scale, bias = normal(1, 3, 9, 6, 5, 4), normal(2, 3, 4), normal(3, 3, 4)
    found = jax.vmap(batch_norm_in_training)(maps, scale, bias)
    close(found, jax.vmap(by_flax)(maps, scale, bias), 1e-5)


def test_bfloat16_has_statistics_in_float32(form):
    maps = inputs(True, True)[0].astype(jnp.bfloat16)
    (normed, mean, variance), back = jax.vjp(batch_norm_in_training, maps)
    close((mean, variance), by_flax(maps.astype(jnp.float32), None, None)[1:], 1e-4)
    assert back((normed, mean, variance))[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_one_gpu_sums_at_once(platform, split):
    norm = jax.jit(partial(batch_norm_in_training, split=split))
    maps = jax.ShapeDtypeStruct((9, 6, 5, 4), "float32")
    program = jax.export.export(norm, platforms=[platform])(maps).mlir_module()
    assert (":2 = stablehlo.reduce" in program) == (platform == "cuda" and not split)
