"""The airnet against the same network written in PyTorch, with the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.models import Architecture, Mode, build_abstract, initialize_from_data

torch = pytest.importorskip("torch")
torch_airnet = pytest.importorskip("benchmarks.torch_airnet")

SHAPE = (32, 32, 3)
BATCH = 8


def random_like(tree: dict, rng: np.random.Generator) -> dict:
    """Arrays of those shapes whose activations neither vanish nor explode; variances positive."""

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.3
        values = rng.normal(0, scale, leaf.shape)
        positive = path[-1].key == "var"
        return (0.5 + np.abs(values) if positive else values).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, tree)


def test_logits_and_statistics_are_those_of_torch():
    rng = np.random.default_rng(0)
    architecture = Architecture(model="airnet", activation="gelu", normalization="batch")
    skeleton, *parts = nnx.split(build_abstract(architecture, SHAPE, 10), nnx.Param, ...)
    params, statistics = (random_like(nnx.to_pure_dict(part), rng) for part in parts)
    images = rng.normal(size=(BATCH, *SHAPE)).astype(np.float32)

    @jax.jit
    def ours(params: dict, statistics: dict, images: jax.Array) -> tuple:
        statistics = initialize_from_data(architecture, statistics, images)
        evaluated = nnx.merge(skeleton, params, statistics)(images)
        model = nnx.merge(skeleton, params, statistics)
        trained = model(images, Mode(train=True))
        after = nnx.to_pure_dict(nnx.split(model, nnx.Param, ...)[2])
        return statistics, evaluated, trained, after

    statistics, evaluated, trained, after = ours(params, statistics, jnp.asarray(images))
    network = torch_airnet.AirNet()
    torch_airnet.copy_parameters(params, statistics, network)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )
    pictures = torch.tensor(images).permute(0, 3, 1, 2)
    for mode, logits in (("eval", evaluated), ("train", trained)):
        getattr(network, mode)()
        with torch.no_grad():
            theirs = network(pictures).numpy()
        assert np.std(theirs) > 0.01
        np.testing.assert_allclose(logits, theirs, atol=1e-4)

    # The forward pass in training mode has moved the running statistics.
    for index, group in enumerate(network.groups, start=1):
        for repeat, size in ((1, 15), (2, 15)):
            norm = getattr(group, f"norm{repeat}")
            held = after["network"][f"norm{index}_{repeat}"]["norm"]
            before = statistics["network"][f"norm{index}_{repeat}"]["norm"]
            np.testing.assert_allclose(held["mean"], norm.running_mean, atol=1e-4)
            # PyTorch divides by one less than the number of values.
            count = BATCH * (size // 2 ** (index - 1)) ** 2
            new = (norm.running_var.numpy() - 0.6 * before["var"]) * (count - 1) / count
            np.testing.assert_allclose(held["var"], 0.6 * before["var"] + new, rtol=1e-3)
