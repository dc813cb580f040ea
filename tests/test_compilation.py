"""Programs compiled as the project's are, against the same arithmetic in float64."""

import warnings

import jax
import jax.numpy as jnp
import pytest

from cnn_jax import compilation
from cnn_jax.compilation import EIGEN, MISCOMPILED, SAFE, compiler_options, jit, miscompilations


@pytest.mark.parametrize("wanted", [SAFE, EIGEN], ids=["safe", "eigen"])
def test_known_miscompilations_are_right_under_our_options(wanted: dict):
    assert miscompilations(lambda function: jit(function, wanted=wanted)) == []


def test_what_the_default_options_make_of_them_is_recorded():
    for source in miscompilations(jax.jit):
        warnings.warn(f"wrong under XLA's default options here: {source}", stacklevel=1)


def test_a_wrong_program_would_be_noticed():
    assert len(miscompilations(lambda function: lambda *a: 1.01 * function(*a))) == len(MISCOMPILED)
    assert miscompilations(lambda function: lambda *a: jnp.nan * function(*a))


def test_an_option_that_xla_lacks_is_left_out():
    assert compiler_options({"xla_cpu_no_such_option": "", **SAFE}) == SAFE


def test_a_value_that_cannot_be_is_not_taken_for_a_missing_option():
    with pytest.raises(jax.errors.JaxRuntimeError):
        compiler_options({next(iter(SAFE)): "nothing"})


def test_other_devices_have_no_options(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "tpu")
    assert compiler_options() == {}
