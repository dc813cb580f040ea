"""The network in the page says what the network in JAX says."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from records import record, report_page
from scripts import needs_node, run_script

from cnn_jax import compilation, data, ops
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.analysis.live import describe, in_page, rounded
from cnn_jax.analysis.pictures import learn_style
from cnn_jax.models import MODELS, Architecture, build_abstract, split_variables
from cnn_jax.ops import ACTIVATIONS, activations
from cnn_jax.training import task_of
from cnn_jax.training.task import normalize

RNG = np.random.default_rng(0)
LOGITS = """
    const networks = given.outputs.map(output => loadNetwork({ ...given.network, output }));
    return given.images.map(image => {
      const logits = networks[0].forward(image)[0].data;
      const answers = networks.map(network => network.probabilities(logits));
      return [[...logits], ...answers];
    });
"""
SALIENCY = """
    const [logits, back] = loadNetwork(given.network).forward(given.image);
    const one = tensor(logits.shape);
    one.data[given.output] = 1;
    return [...back(one).data];
"""
# Small images of deep networks, and narrow ones: what is compared is the same.
NETWORKS = {
    "cnn": (Architecture(filters=(8, 16), hidden=(32,), dropout=True), (20, 20)),
    "cnn with all else": (
        Architecture(
            filters=(8, 16), kernel_size=4, convolutions_per_block=2, pooling="average",
            normalization="group", activation="prelu",
        ),
        (13, 11),
    ),
    "lenet5": (Architecture(model="lenet5", activation="tanh"), (28, 28)),
    "vgg": (Architecture(model="vgg", normalization="batch", width=0.125), (16, 16)),
    "resnet8": (Architecture(model="resnet8", normalization="batch"), (9, 10)),
    "resnet20": (Architecture(model="resnet20", normalization="batch"), (9, 8)),
    "resnet32": (Architecture(model="resnet32", normalization="batch"), (6, 4)),
    "resnet56": (Architecture(model="resnet56", normalization="batch"), (4, 4)),
    "resnet18": (Architecture(model="resnet18", normalization="batch"), (8, 8)),
    "wide_resnet": (Architecture(model="wide_resnet", normalization="group"), (4, 4)),
    "airnet": (
        Architecture(model="airnet", normalization="batch", activation="gelu", width=0.125),
        (20, 20),
    ),
}  # fmt: skip
CHANNELS = {"gray": 1, "RGB": 3}
# What an output says: how likely each of some classes is, of which an image has one, or each label.
OUTPUTS = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}


def images_of(shape: tuple[int, int, int], count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def drawn(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """A parameter or statistic as training might leave it; scales and variances are about 1."""
    if leaf.ndim > 1:
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return RNG.normal(0, deviation, leaf.shape).astype(np.float32)
    if any(name in jax.tree_util.keystr(path) for name in ("scale", "var", "slope")):
        return RNG.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    return RNG.normal(0, 0.1, leaf.shape).astype(np.float32)


def as_trained(architecture: Architecture, images: np.ndarray, classes: int = 5) -> TrainedNetwork:
    """A network whose numbers are all drawn, its statistics too, rounded as a page has them."""
    model = build_abstract(architecture, images.shape[1:], classes)
    weights = jax.tree_util.tree_map_with_path(drawn, split_variables(model))
    weights = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), rounded(weights))
    task = task_of(images, np.arange(len(images)) % classes)
    return trained_network(model, weights, partial(normalize, task), learn_style(images))


def live(trained: TrainedNetwork, images: np.ndarray, output: str = "softmax") -> dict:
    names = tuple("abcde")
    found = in_page(trained, learn_style(images), data.AS_THEY_ARE, names, output, most=10**9)
    assert found.still == ""
    assert found.network is not None
    return found.network


def test_every_network_is_tried():
    assert {architecture.model for architecture, _ in NETWORKS.values()} == set(MODELS)


@needs_node
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_200_images_are_those_of_jax(name: str, channels: str):
    architecture, size = NETWORKS[name]
    images = images_of((*size, CHANNELS[channels]), 200)
    trained = as_trained(architecture, images)
    logits_of = compilation.jit(lambda weights, x: trained.logits(weights, trained.normalize(x)))
    expected = logits_of(trained.weights, images)
    assert np.std(expected, axis=0).min() > 0.01
    network, labels = (live(trained, images, output) for output in OUTPUTS)
    assert labels == network | {"output": "sigmoid"}
    pixels = images.reshape(200, -1).tolist()
    given = {"network": network, "outputs": list(OUTPUTS), "images": pixels}
    logits, *probabilities = np.moveaxis(run_script(["engine.js"], LOGITS, given), 1, 0)
    np.testing.assert_allclose(logits, expected, atol=1e-3, rtol=1e-3)
    for (output, squash), found in zip(OUTPUTS.items(), probabilities, strict=True):
        np.testing.assert_allclose(found, squash(expected), atol=1e-3, err_msg=output)


@needs_node
@pytest.mark.parametrize("name", ["cnn with all else", "lenet5", "resnet20"])
def test_saliency_is_the_gradient(name: str):
    architecture, size = NETWORKS[name]
    shape = (*size, 3 if name == "cnn with all else" else 1)
    images = images_of(shape, 20)
    trained = as_trained(architecture, images)

    def logit(image: jax.Array) -> jax.Array:
        return trained.logits(trained.weights, trained.normalize(image[None]))[0, 2]

    expected = compilation.jit(jax.grad(logit))(jnp.asarray(images[0], jnp.float32))
    given = {"network": live(trained, images), "image": images[0].ravel().tolist(), "output": 2}
    found = np.array(run_script(["engine.js"], SALIENCY, given)).reshape(shape)
    np.testing.assert_allclose(found, expected, atol=1e-5 + 1e-3 * np.abs(expected).max())


@needs_node
def test_every_activation_and_its_derivative():
    x = np.linspace(-5, 5, 201, dtype=np.float32)
    functions = {**ACTIVATIONS, "prelu": lambda x: activations.prelu(x, 0.3)}
    code = """
        return given.names.map(name => [0, 1].map(which =>
          given.x.map(x => activations[name][which](x, 0.3))));
    """
    given = {"names": list(functions), "x": x.tolist()}
    found = run_script(["engine.js"], code, given)
    for (name, function), (values, slopes) in zip(functions.items(), found, strict=True):
        expected, derivative = compilation.jit(jax.vmap(jax.value_and_grad(function)))(x)
        np.testing.assert_allclose(values, expected, atol=1e-6, rtol=1e-5, err_msg=name)
        derivative = np.zeros_like(x) if name == "step" else derivative
        np.testing.assert_allclose(slopes, derivative, atol=2e-6, rtol=1e-5, err_msg=name)


@needs_node
@pytest.mark.parametrize(
    "options",
    [
        {"strides": (2, 3), "padding": "SAME"},
        {"strides": 2, "padding": ((1, 2), (0, 3)), "dilation": 2},
        {"strides": 1, "padding": "VALID", "groups": 2},
    ],
    ids=str,
)
def test_convolutions_of_every_kind(options: dict):
    x = RNG.normal(size=(9, 10, 4)).astype(np.float32)
    kernel = RNG.normal(size=(3, 2, 4 // options.get("groups", 1), 6)).astype(np.float32)
    code = """
        const [y, back] = convolution(given.layer, given.x);
        return { shape: y.shape, y: [...y.data], dx: [...back(y).data] };
    """
    layer = {
        "kernel": {"shape": kernel.shape, "data": kernel.ravel().tolist()},
        **options,
        "stride": options["strides"],
    }
    given = {"layer": layer, "x": {"shape": x.shape, "data": x.ravel().tolist()}}
    found = run_script(["engine.js"], code, given)
    y, back = jax.vjp(lambda x: ops.conv2d(x, kernel, lowering="lax", **options), x[None])
    np.testing.assert_allclose(np.reshape(found["y"], found["shape"]), y[0], atol=1e-4)
    np.testing.assert_allclose(np.reshape(found["dx"], x.shape), back(y)[0][0], atol=1e-3)


def test_what_the_page_cannot_run_is_said():
    images = images_of((12, 12, 1), 4)
    trained = as_trained(Architecture(filters=(4,), hidden=()), images)
    style = learn_style(images)
    said = in_page(trained, style, data.AS_THEY_ARE, "abcde", "softmax", most=1000).still
    assert "would take 0.0 MB, and --page_weights allows 0.0" in said
    huge = trained._replace(weights=jax.tree.map(lambda leaf: leaf + 1e6, trained.weights))
    assert "not" in in_page(huge, style, data.AS_THEY_ARE, "abcde", "softmax").still.lower()

    class Own(nnx.Module):
        pass

    with pytest.raises(Exception, match="Own"):
        describe(Own())


def test_a_page_says_that_it_reads_a_picture_once_where_others_read_several_views():
    images = images_of((8, 8, 1), 20)
    trained = as_trained(Architecture(filters=(4,), hidden=()), images)
    names = tuple(f"class{index}" for index in range(4))

    def page(tta: str) -> str:
        style = learn_style(images)
        return report_page(
            record(live=in_page(trained, style, data.AS_THEY_ARE, names, "softmax", tta=tta))
        )

    assert "<code>--tta=flip_translate</code>" in page("flip_translate")
    assert "--tta" not in page("none")


def test_the_same_record_is_the_same_bytes():
    images = images_of((8, 8, 1), 20)
    trained = as_trained(Architecture(filters=(4,), hidden=()), images)
    names = tuple(f"class{index}" for index in range(4))

    def page() -> str:
        live = in_page(trained, learn_style(images), data.AS_THEY_ARE, names, "softmax")
        return report_page(record(live=live))

    assert page() == page()
    assert '"float16": "' in page()


def test_the_engine_is_small():
    from importlib import resources

    room = resources.files("cnn_jax.analysis.live")
    sizes = [len(file.read_bytes()) for file in room.iterdir() if file.name.endswith(".js")]
    assert sum(sizes) < 60_000
