"""The epoch program for machines that are not at hand, as each platform's compiler will get it."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax import export

from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, augmentations, hyperparameters, make_run
from cnn_jax.training.sweep import Trials, make_sweep

CONVOLUTION = re.compile(r"stablehlo\.convolution.*: \((\S+), (\S+)\) -> (\S+)")
TRIALS = 3


def convolutions(text: str) -> list[tuple[str, ...]]:
    """The element types of every convolution: images, kernel and result."""
    count = text.count("stablehlo.convolution(")
    found = [
        tuple(re.findall(r"x([a-z]+\d+)>", tensor)[0] for tensor in match)
        for match in CONVOLUTION.findall(text)
    ]
    assert len(found) == count
    return found


def as_lowered(function: Callable, arguments: tuple, platform: str) -> str:
    """The program that the platform's compiler gets."""
    exported = export.export(jax.jit(function), platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    return exported.mlir_module()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_accelerators_get_convolutions_and_cpus_matrix_products(
    task: Task, draw: Callable[[int], Examples], platform: str, precision: str
):
    calls, strengths = augmentations("flip, translate:1, cutout:2")
    architecture = Architecture(filters=(16, 8), hidden=(8,), normalization="batch", dropout=True)
    config = Config(architecture, batch_size=16, augment=calls, precision=precision)
    run = make_run(config, task)
    numbers = hyperparameters(config, strengths)
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    key, examples = jax.random.key(0), draw(64)
    state = jax.eval_shape(run.init, hparams, key, examples)
    text = as_lowered(run.epoch, (state, hparams, key, examples), platform)
    assert "stablehlo.dot_general" in text
    if platform == "cpu":
        assert "stablehlo.convolution" not in text
        return
    types = convolutions(text)
    # Forward both layers, back both to their kernels, and back the second to its input; on a GPU
    # the first, of few channels, is products.
    assert len(types) == (3 if platform == "cuda" else 5)
    assert set(types) == {("bf16" if precision == "bfloat16" else "f32",) * 3}


@pytest.mark.parametrize(
    "precision, words", [("float32", {"HIGHEST"}), ("tensorfloat32", {"HIGH"}), ("bfloat16", set())]
)
def test_products_on_accelerators_are_as_precise_as_their_name(
    task: Task,
    draw: Callable[[int], Examples],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    words: set[str],
):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config = Config(Architecture(filters=(4,), hidden=(8,)), batch_size=16, precision=precision)
    run = make_run(config, task)
    hparams = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    key, examples = jax.random.key(0), draw(64)
    state = jax.eval_shape(run.init, hparams, key, examples)
    with jax.default_matmul_precision("default"):
        text = as_lowered(run.epoch, (state, hparams, key, examples), "cuda")
    assert set(re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", text)) == words


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_trials_together_are_convolutions_too(
    task: Task, draw: Callable[[int], Examples], platform: str
):
    config = Config(Architecture(filters=(4,), hidden=()), batch_size=16, precision="bfloat16")
    sweep = make_sweep(make_run(config, task), "vmap")
    numbers = hyperparameters(config)
    trials = Trials(
        {name: jnp.full((TRIALS,), value, jnp.float32) for name, value in numbers.items()},
        jax.vmap(jax.random.key)(jnp.arange(TRIALS)),
    )
    examples = draw(64)
    state = jax.eval_shape(sweep.init, trials, examples)
    epoch = sweep.epoch[task.image_shape[:2]]
    trained = convolutions(as_lowered(epoch, (state, trials, examples), platform))
    held_out = convolutions(as_lowered(sweep.evaluate, (state, trials, draw(16)), platform))
    # Forward and back to the kernel in training, forward on the examples held out.
    assert trained == [("bf16", "bf16", "bf16")] * 2
    assert held_out == [("bf16", "bf16", "bf16")]
