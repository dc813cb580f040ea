"""Which of XLA's matrix products an epoch gets, and that either gives the same numbers."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import native
from cnn_jax.ops import conv2d
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


def convolving(state: dict[str, jax.Array], images: jax.Array) -> tuple:
    maps = conv2d(images.astype(state["kernel"].dtype), state["kernel"])
    return state, jnp.sum(maps)


@pytest.mark.skipif(native.load() is None, reason="there is no C++ compiler")
def test_wide_networks_call_the_library_on_one_device_in_float32(monkeypatch):
    images = jnp.ones((2, 6, 6, 5))

    def calls(filters: int, dtype: str = "float32") -> bool:
        given = {"kernel": state(filters)["kernel"].astype(dtype)}
        return "cnn_jax_maps" in compile_epoch(convolving, given, images).as_text()

    assert calls(24)
    assert not calls(16)
    assert not calls(24, "bfloat16")
    monkeypatch.setattr(native, "load", lambda: None)
    assert not calls(24)


def test_a_program_that_calls_the_library_is_kept_on_disk(tmp_path):
    if native.load() is None:
        pytest.skip("there is no C++ compiler")
    program = """
import sys
import jax, jax.numpy as jnp
from tests.training.test_compile import convolving, compile_epoch, state
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
compiled = compile_epoch(convolving, {"kernel": state(24)["kernel"]}, jnp.ones((2, 6, 6, 5)))
assert "cnn_jax_maps" in compiled.as_text()
print(compiled({"kernel": state(24)["kernel"]}, jnp.ones((2, 6, 6, 5)))[1])
print(sum(event == "/jax/compilation_cache/cache_hits" for event in hits))
"""
    (first, _), (again, hits) = (
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout.split()
        for _ in range(2)
    )
    assert first == again
    assert int(hits) >= 1
