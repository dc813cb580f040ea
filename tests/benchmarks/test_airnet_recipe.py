"""The recipe's step, with the preset's own numbers, against a PyTorch version of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.preset import read_preset
from cnn_jax.training import Examples, Task

pytest.importorskip("torch")
airnet_recipe = pytest.importorskip("benchmarks.airnet_recipe")

BATCH = 16


def test_ten_steps_of_loss_are_those_of_torch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, BATCH, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, (11, BATCH), np.int32)
    task = Task((32, 32, 3), 10, (0.5,) * 3, (0.29,) * 3)
    batches = [Examples(*map(jnp.asarray, pair)) for pair in zip(images, labels, strict=True)]
    pair = airnet_recipe.Pair(task, batches[-1], BATCH)
    losses = np.array([pair.step(batch) for batch in batches[:10]])
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], atol=1e-3)
    np.testing.assert_allclose(losses[:, 2], losses[:, 1], atol=1e-3)
    assert np.ptp(losses[:, 0]) > 0.1
    counted = airnet_recipe.our_flops(read_preset(airnet_recipe.PRESET)[0].architecture, task, 2)
    assert counted == airnet_recipe.torch_flops(pair.network, task, 2)
