"""The epoch program for machines that are not at hand, as each platform's compiler will get it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from jax import export

from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, augmentations, hyperparameters, make_run


@pytest.mark.parametrize("platform, convolutions", [("cpu", False), ("cuda", True), ("tpu", True)])
def test_accelerators_get_convolutions_and_cpus_matrix_products(
    task: Task, draw: Callable[[int], Examples], platform: str, convolutions: bool
):
    calls, strengths = augmentations("flip, translate:1, cutout:2")
    architecture = Architecture(filters=(4, 8), hidden=(8,), normalization="batch", dropout=True)
    config = Config(architecture, batch_size=16, augment=calls)
    run = make_run(config, task)
    numbers = hyperparameters(config, strengths)
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    key, examples = jax.random.key(0), draw(64)
    state = jax.eval_shape(run.init, hparams, key, examples)
    arguments = (state, hparams, key, examples)
    exported = export.export(jax.jit(run.epoch), platforms=[platform])(*arguments)
    text = exported.mlir_module()
    assert exported.platforms == (platform,)
    assert ("stablehlo.convolution" in text) == convolutions
    assert "stablehlo.dot_general" in text
