"""A step of every network, compiled as programs are, against another form compiled otherwise.

The reference computes convolutions as XLA's own, and products by Eigen.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import native
from cnn_jax.compilation import EIGEN, ONEDNN, compiler_options, jit
from cnn_jax.models import MODELS, Architecture
from cnn_jax.training import Config, Examples, Task, hyperparameters, make_run
from cnn_jax.training.programs import compile_epoch

# The other residual networks are made of the layers of resnet20.
SAME_LAYERS = {"resnet8", "resnet18", "resnet32", "resnet56", "wide_resnet"}
EXAMPLES = 8


def architecture(model: str) -> Architecture:
    normalization = "none" if model in ("cnn", "lenet5") else "batch"
    width = 0.25 if "width" in MODELS[model].options else 1.0
    # Smooth: the slope of a ReLU jumps where a rounding changes the sign of its input.
    return Architecture(model=model, activation="silu", normalization=normalization, width=width)


def assert_right_step(config: Config) -> jax.stages.Compiled:
    """Compares a step of a network with the reference's; its program is returned."""
    random = np.random.default_rng(0)
    examples = Examples(
        jnp.asarray(random.integers(0, 256, (EXAMPLES, 32, 32, 3)), jnp.uint8),
        jnp.asarray(random.integers(0, 4, EXAMPLES), jnp.int32),
    )
    task = Task((32, 32, 3), 4, (0.5,) * 3, (0.3,) * 3)
    run = make_run(config, task)
    other = make_run(
        replace(config, architecture=replace(config.architecture, convolution="lax")), task
    )
    numbers = hyperparameters(config, {"learning_rate": 0.01})
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    key = jax.random.key(0)
    state = jit(run.init)(hparams, key, examples)
    program = compile_epoch(run.epoch, state, hparams, key, examples, donate=False)
    found, metrics = program(state, hparams, key, examples)
    expected, right = jit(other.epoch, wanted=EIGEN)(state, hparams, key, examples)
    np.testing.assert_allclose(metrics["train_loss"], right["train_loss"], rtol=1e-4)
    steps = (
        jax.tree.map(lambda after, before: after - before, after.params, state.params)
        for after in (found, expected)
    )
    for change, exact in zip(*map(jax.tree.leaves, steps), strict=True):
        most = float(jnp.max(jnp.abs(exact)))
        np.testing.assert_allclose(change, exact, rtol=0, atol=2e-3 * most + 1e-7)
    return program


@pytest.mark.parametrize("library", [True, False], ids=["with the library", "without"])
@pytest.mark.parametrize("model", sorted(set(MODELS) - SAME_LAYERS))
def test_a_step_of_every_network(model: str, library: bool, monkeypatch):
    config = Config(architecture(model), batch_size=EXAMPLES, optimizer="momentum")
    if not library:
        monkeypatch.setattr(native, "load", lambda: None)
    program = assert_right_step(config)
    taken = library and native.load() and model != "lenet5"
    assert ("cnn_jax_kernel_gradient" in program.as_text()) == bool(taken)


def test_onednn_computes_what_is_right_there(monkeypatch):
    """Of convolutions that are not ours XLA makes a wrong program, which is not taken."""
    monkeypatch.setattr(native, "load", lambda: None)
    for convolution, taken in (("auto", True), ("lax", False)):
        network = replace(architecture("cnn"), convolution=convolution)
        program = assert_right_step(Config(network, batch_size=EXAMPLES, optimizer="momentum"))
        reached = ONEDNN.keys() <= compiler_options(ONEDNN).keys()
        assert ("__onednn$convolution" in program.as_text()) == (taken and reached)
