"""The airnet: its initialization from a key and from data, what is trained, and its statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.models import MODELS, Architecture, Mode, build, build_abstract, initialize_from_data
from cnn_jax.models.airnet import partial_identity, whitening_kernel

KEY = jax.random.key(0)
AIRNET = Architecture(model="airnet", normalization="batch", activation="gelu")


def parts(model: nnx.Module) -> tuple[dict, dict]:
    _, params, statistics = nnx.split(model, nnx.Param, ...)
    return nnx.to_pure_dict(params)["network"], nnx.to_pure_dict(statistics)["network"]


def test_the_first_filters_pass_their_channel_through():
    shapes = ((3, 3, 3, 5), (3, 3, 4, 4), (3, 3, 5, 3))
    kernels = jax.jit(lambda key: [partial_identity(key, shape) for shape in shapes])(KEY)
    for kernel, (_, _, channels, filters) in zip(kernels, shapes, strict=True):
        passed = min(channels, filters)
        expected = np.zeros((3, 3, channels, passed))
        expected[1, 1, range(passed), range(passed)] = 1
        np.testing.assert_array_equal(kernel[..., :passed], expected)
        rest = np.asarray(kernel[..., passed:])
        assert rest.shape == (3, 3, channels, filters - passed)
        assert np.all(np.abs(rest) <= (9 * channels) ** -0.5)
        assert len(np.unique(rest)) == rest.size


@pytest.fixture(scope="module")
def airnet() -> nnx.Module:
    """As initialized for gray images of 12x14 pixels."""
    return jax.jit(lambda key: build(AIRNET, (12, 14, 1), 10, key))(KEY)


def test_only_biases_and_later_kernels_are_trained(airnet: nnx.Module):
    params, statistics = parts(airnet)
    assert params["whitening"].keys() == {"bias"}
    assert params["output"].keys() == {"kernel"}
    assert statistics["whitening"].keys() == {"kernel"}
    assert statistics.keys() == {"whitening"} | {name for name in params if name[:4] == "norm"}
    for name, layer in params.items():
        if name.startswith("norm"):
            assert layer["norm"].keys() == {"bias"}
        if name.startswith("conv"):
            assert layer["conv"].keys() == {"kernel"}


def test_a_new_network_passes_its_input_through_the_first_channels(airnet: nnx.Module):
    images = jax.random.normal(KEY, (6, 12, 14, 1))
    seen = {}

    def tap(name: str, value: jax.Array) -> jax.Array:
        seen[name] = value
        return value

    @jax.jit
    def forward(images: jax.Array) -> dict:
        airnet(images, tap=tap)
        return seen

    maps = forward(images)
    # Before it is told of data, the whitening lays out the pixels of a patch and their negatives.
    for pixel, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        values = images[:, row : row + 11, column : column + 13, 0]
        np.testing.assert_allclose(maps["whitening"][..., pixel], values, atol=1e-6)
        np.testing.assert_allclose(maps["whitening"][..., pixel + 4], -values, atol=1e-6)
    for group, before in ((1, "whitening_activation"), (2, "activation1_2"), (3, "activation2_2")):
        for conv, name in ((f"conv{group}_1", before), (f"conv{group}_2", f"activation{group}_1")):
            channels = maps[name].shape[-1]
            np.testing.assert_allclose(maps[conv][..., :channels], maps[name], atol=1e-5)
    np.testing.assert_allclose(maps["scale"], maps["flatten"] / 9, rtol=1e-5)


def test_training_updates_the_running_statistics_and_not_the_kernel(airnet: nnx.Module):
    images = jax.random.normal(KEY, (6, 12, 14, 1))
    skeleton, *state = nnx.split(airnet, nnx.Param, ...)
    state = [nnx.to_pure_dict(part) for part in state]
    seen = {}

    def tap(name: str, value: jax.Array) -> jax.Array:
        seen[name] = value
        return value

    @jax.jit
    def train(images: jax.Array) -> tuple:
        model = nnx.merge(skeleton, *state)
        model(images, Mode(train=True), tap)
        return parts(model)[1], seen

    after, maps = train(images)
    before = parts(airnet)[1]
    np.testing.assert_array_equal(after["whitening"]["kernel"], before["whitening"]["kernel"])
    for norm, given in (("norm1_1", "pool1"), ("norm3_2", "conv3_2")):
        values, held = np.asarray(maps[given], np.float64), after[norm]["norm"]
        np.testing.assert_allclose(held["mean"], 0.4 * values.mean((0, 1, 2)), atol=1e-5)
        np.testing.assert_allclose(held["var"], 0.6 + 0.4 * values.var((0, 1, 2)), rtol=1e-3)


def test_the_whitening_kernel_comes_from_the_data():
    statistics = {"network": {"norm1_1": {"norm": {"mean": jnp.zeros(3)}}, "whitening": {}}}
    statistics["network"]["whitening"]["kernel"] = jnp.zeros((2, 2, 1, 8))
    images = jax.random.normal(KEY, (6, 12, 14, 1))

    def initialize(statistics: dict, images: jax.Array) -> dict:
        return initialize_from_data(AIRNET, statistics, images)

    # Two members of a sweep that see the same images.
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), statistics)
    found = jax.jit(jax.vmap(initialize, in_axes=(0, None)))(members, images)["network"]
    expected = jax.jit(whitening_kernel)(images)
    for kernel in found["whitening"]["kernel"]:
        np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        found["norm1_1"]["norm"]["mean"], members["network"]["norm1_1"]["norm"]["mean"]
    )
    assert not statistics["network"]["whitening"]["kernel"].any()


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("model", sorted(name for name, model in MODELS.items() if model.from_data))
def test_initialization_from_data_keeps_the_structure(model: str, normalization: str):
    architecture = Architecture(model=model, normalization=normalization)
    network = build_abstract(architecture, (32, 32, 3), 10)
    statistics = nnx.to_pure_dict(nnx.split(network, nnx.Param, ...)[2])
    images = jax.ShapeDtypeStruct((7, 32, 32, 3), jnp.float32)
    after = jax.eval_shape(lambda *a: initialize_from_data(architecture, *a), statistics, images)
    assert jax.tree.structure(after) == jax.tree.structure(statistics)
    jax.tree.map(lambda a, b: [a.shape, a.dtype] == [b.shape, b.dtype] or 1 / 0, after, statistics)


def test_other_models_take_nothing_from_the_data():
    statistics = {"network": {}}
    for model in (name for name, entry in MODELS.items() if not entry.from_data):
        architecture = Architecture(model=model)
        assert initialize_from_data(architecture, statistics, jnp.zeros((0,))) is statistics
