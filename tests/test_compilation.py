"""Programs compiled as the project's are, against the same arithmetic in float64."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from cnn_jax import compilation, ops
from cnn_jax.compilation import (
    EIGEN,
    GRAPHS,
    MISCOMPILED,
    ONEDNN,
    SAFE,
    compiler_options,
    jit,
    miscompilations,
)


@pytest.mark.parametrize("wanted", [SAFE, EIGEN, ONEDNN], ids=["safe", "eigen", "onednn"])
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


def test_a_gpu_has_the_options_that_xla_flags_does_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(compilation, "_known", lambda name, value: True)
    gpu = SimpleNamespace(platform_version="cuda 13000")
    monkeypatch.setattr(compilation, "get_backend", lambda: gpu)
    assert compiler_options(SAFE) == GRAPHS
    first, *rest = GRAPHS
    monkeypatch.setenv("XLA_FLAGS", f"--{first}=FUSION")
    assert list(compiler_options()) == rest
    gpu.platform_version = "rocm 60000"
    assert compiler_options() == {}


@pytest.fixture
def wrong_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A version that was not tested, and a program that it gets wrong."""
    monkeypatch.setattr(compilation, "TESTED", ("0.0.1",))
    monkeypatch.setattr(compilation, "miscompilations", lambda: ["a sum"])
    compilation.untrusted.cache_clear()
    yield
    compilation.untrusted.cache_clear()


def test_the_compilers_of_the_tests_are_trusted():
    assert jaxlib.__version__ in compilation.TESTED
    assert compilation.untrusted() == ()


def test_a_compiler_that_was_not_tested_is_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation, "TESTED", ())
    compilation.untrusted.cache_clear()
    assert compilation.untrusted() == ()


def test_what_it_gets_wrong_is_told(wrong_compiler: None):
    assert compilation.untrusted() == ("a sum",)


def test_other_devices_are_not_tried(wrong_compiler: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "gpu")
    assert compilation.untrusted() == ()


def _gradients(images: jax.Array, kernel: jax.Array) -> tuple:
    maps, back = jax.vjp(ops.conv2d, images, kernel)
    return maps, *back(jnp.cos(maps))


def test_convolutions_go_to_onednn_where_xla_has_it():
    random = np.random.default_rng(0)
    images = random.normal(size=(4, 12, 10, 8)).astype(np.float32)
    kernel = random.normal(size=(3, 3, 8, 16)).astype(np.float32)
    compiled = jit(_gradients, wanted=ONEDNN).lower(images, kernel).compile()

    reached = ONEDNN.keys() <= compiler_options(ONEDNN).keys()
    assert compiled.as_text().count("__onednn$convolution") == (2 if reached else 0)
    for found, right in zip(compiled(images, kernel), _gradients(images, kernel), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


# XLA knows activations by their arithmetic, and JAX's own ELU is written otherwise.
BEHIND = ops.ACTIVATIONS | {"plain elu": lambda x: jnp.where(x > 0, x, jnp.expm1(x))}


@pytest.mark.parametrize("name", sorted(BEHIND))
def test_an_activation_behind_a_convolution_by_onednn_has_its_slope(name: str):
    random = np.random.default_rng(0)
    shapes = (4, 6, 6, 8), (3, 3, 8, 16), (16,)
    arrays = tuple(0.3 * random.normal(size=shape).astype(np.float32) for shape in shapes)

    def total(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        maps = BEHIND[name](ops.add_bias(ops.conv2d(images, kernel), bias))
        return jnp.sum(maps * jnp.cos(maps))

    for argument in range(len(arrays)):
        gradient = jax.grad(total, argument)
        case = compilation.Miscompiled(gradient, arrays, "here")
        assert case.wrong(jit(gradient, wanted=ONEDNN)) < 1e-4


def test_a_program_for_onednn_leaves_others_as_they_are():
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 12, 10, 8), (3, 3, 8, 16))]
    jit(ops.conv2d, wanted=ONEDNN).lower(*shapes)
    assert " convolution(" not in jax.jit(ops.conv2d).lower(*shapes).compile().as_text()


def test_bfloat16_is_chosen_where_it_is_fast(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compilation, "_reaches_onednn", lambda: True)
    for processor, precision in (("flags: avx2", "float32"), ("flags: avx2 amx_bf16", "bfloat16")):
        monkeypatch.setattr(Path, "read_text", lambda self, text=processor: text)
        assert compilation.fast_precision() == precision
    monkeypatch.setattr(compilation, "_reaches_onednn", lambda: False)
    assert compilation.fast_precision() == "float32"
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "gpu")
    assert compilation.fast_precision() == "bfloat16"


def test_functions_that_differ_in_arrays_alone_share_a_program():
    def scaled(scale: jax.Array) -> Callable[[dict, jax.Array], dict]:
        def function(tree: dict, key: jax.Array) -> dict:
            mapped = jax.lax.map(lambda x: x * scale, tree["x"])
            return {"mapped": mapped, "drawn": jax.random.normal(key, (3,)) * scale}

        return function

    arguments = {"x": jnp.arange(4.0)}, jax.random.key(0)
    texts = set()
    for scale in (jnp.float32(2), jnp.float32(3)):
        converted, constants = compilation.closure_converted(scaled(scale), *arguments)
        found = compilation.jit(converted)(constants, *arguments)
        jax.tree.map(np.testing.assert_array_equal, found, scaled(scale)(*arguments))
        texts.add(jax.jit(converted).lower(constants, *arguments).as_text())
    assert len(texts) == 1
