"""Which of XLA's matrix products an epoch gets, and that either gives the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.training import programs
from cnn_jax.training.programs import compile_epoch

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU's products")


def state(filters: int) -> dict[str, jax.Array]:
    random = np.random.default_rng(0)
    return {
        "dense": jnp.asarray(random.normal(size=(45, 64)), jnp.float32),
        "kernel": jnp.asarray(random.normal(size=(3, 3, 5, filters)), jnp.float32),
    }


def epoch(state: dict[str, jax.Array], rows: jax.Array) -> tuple:
    features = rows @ state["dense"]
    return {**state, "dense": state["dense"] + rows.T @ features}, jnp.sum(features)


@pytest.fixture
def rows() -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(256, 45)), jnp.float32)


def test_narrow_networks_get_eigen_and_wide_ones_the_default(rows):
    default = jax.jit(epoch).lower(state(16), rows).compile().as_text()
    assert "ynn" not in compile_epoch(epoch, state(16), rows).as_text()
    assert ("ynn" in compile_epoch(epoch, state(17), rows).as_text()) == ("ynn" in default)


def test_trials_in_front_do_not_count_as_filters(rows):
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 32), state(16))
    trials = jax.vmap(epoch, in_axes=(0, None))
    assert "ynn" not in compile_epoch(trials, many, rows).as_text()


def test_both_give_the_same_numbers(rows):
    (narrow, first), (wide, second) = (
        compile_epoch(epoch, state(filters), rows)(state(filters), rows) for filters in (16, 17)
    )
    np.testing.assert_allclose(narrow["dense"], wide["dense"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-2)


def test_an_xla_without_the_option_compiles_by_default(rows, monkeypatch):
    monkeypatch.setattr(programs, "EIGEN", {"xla_cpu_no_such_option": ""})
    compile_epoch(epoch, state(16), rows)


def test_another_error_of_the_compiler_is_not_hidden(rows, monkeypatch):
    monkeypatch.setattr(programs, "EIGEN", {"xla_cpu_experimental_ynn_fusion_type": "nothing"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="not a valid enum value"):
        compile_epoch(epoch, state(16), rows)
