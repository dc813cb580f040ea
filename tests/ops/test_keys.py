"""Draws in a row are JAX's draws, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.ops.keys import flat_draws

KEY = jax.random.key(5)
DRAWS = {
    "bits": lambda key: jax.random.bits(key, (3, 3, 4, 8)),
    "bytes": lambda key: jax.random.bits(key, (5, 7), "uint8"),
    "uniform": lambda key: jax.random.uniform(key, (3, 3, 16, 16)),
    "uniform of half precision": lambda key: jax.random.uniform(key, (3, 5), jnp.bfloat16),
    "one number": lambda key: jax.random.uniform(key),
    "nothing": lambda key: jax.random.normal(key, (3, 0, 2)),
    "normal": lambda key: jax.random.normal(key, (2, 28, 28)),
    "truncated normal": lambda key: jax.random.truncated_normal(key, -2, 2, (5, 5, 1, 6)),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (128, 7)),
    "integers": lambda key: jax.random.randint(key, (4, 4), 0, 100),
    "permutation": lambda key: jax.random.permutation(key, 1000),
    "choice": lambda key: jax.random.choice(key, 10, (6,), p=jnp.arange(10) / 45),
    "kernel": lambda key: nnx.initializers.he_normal()(key, (3, 3, 16, 16)),
    "orthogonal kernel": lambda key: nnx.initializers.orthogonal()(key, (3, 3, 4, 8)),
    "of a part": lambda key: jax.random.normal(jax.random.split(key, 3)[1], (4, 4)),
    "of another stream": lambda key: jax.random.normal(jax.random.fold_in(key, 7), (4, 4)),
    "of many": lambda key: jax.vmap(lambda k: jax.random.normal(k, (3, 2)))(
        jax.random.split(key, (4, 2)).reshape(8)
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_same_draws(name):
    draw = DRAWS[name]
    for make in (draw, jax.jit(draw)):
        found, expected = make(flat_draws(KEY)), make(KEY)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_a_draw_is_one_row():
    lowered = jax.jit(DRAWS["bits"]).lower(flat_draws(KEY)).as_text()
    assert "288xui32" in lowered
    assert lowered.count("3x3x4x8xui32") < jax.jit(DRAWS["bits"]).lower(KEY).as_text().count(
        "3x3x4x8xui32"
    )


def test_what_is_flat_or_of_another_kind_stays():
    flat, other = flat_draws(KEY), jax.random.key(0, impl="rbg")
    assert flat_draws(flat) is flat
    assert flat_draws(other) is other


def test_traced_and_old_keys():
    old = jax.random.PRNGKey(5)
    expected = jax.random.normal(KEY, (3, 3))
    np.testing.assert_array_equal(jax.random.normal(flat_draws(old), (3, 3)), expected)
    found = jax.jit(lambda key: jax.random.normal(flat_draws(key), (3, 3)))(KEY)
    np.testing.assert_array_equal(found, expected)
