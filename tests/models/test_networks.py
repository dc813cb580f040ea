"""The networks: their outputs against plain lax, what `tap` sees, and what they refuse."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from cnn_jax.errors import UsageError
from cnn_jax.models import (
    MODELS,
    NORMALIZATIONS,
    Architecture,
    Mode,
    build,
    build_abstract,
    count_parameters,
)

KEY = jax.random.key(0)
SHAPE = (12, 14, 3)
ROOMY = (16, 18, 3)  # Large enough for every network.
IMAGES = jax.random.normal(jax.random.key(1), (5, *SHAPE))
SMALL = {"filters": (4, 6), "hidden": (5,)}


def small(name: str) -> dict:
    """What makes a model small, of those that can be made so."""
    return SMALL if name == "cnn" else {}


def network(architecture: Architecture) -> nnx.Module:
    """The network with random parameters from NumPy, which needs no compilation."""
    model = nnx.eval_shape(lambda: build(architecture, SHAPE, 10, KEY))
    skeleton, state = nnx.split(model)
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        scale = np.sqrt(2 / max(np.prod(leaf.shape[:-1]), 1))
        return jnp.asarray(rng.normal(0, scale, leaf.shape), leaf.dtype)

    return nnx.merge(skeleton, jax.tree.map(fill, state))


def parameters(model: nnx.Module) -> dict:
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))["network"]


def conv(x: jax.Array, layer: dict, padding="SAME", stride: int = 1) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    kernel, bias = layer["conv"]["kernel"], layer["conv"]["bias"]
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, None, None, numbers) + bias


def pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dense(x: jax.Array, layer: dict) -> jax.Array:
    return x.reshape(len(x), -1) @ layer["kernel"] + layer["bias"]


def plain_cnn(p: dict, x: jax.Array) -> jax.Array:
    for name in ("conv1", "conv2"):
        x = pool(jax.nn.relu(conv(x, p[name])))
    return dense(jax.nn.relu(dense(x, p["dense1"])), p["output"])


def plain_lenet5(p: dict, x: jax.Array) -> jax.Array:
    x = pool(jax.nn.relu(conv(x, p["conv1"], "SAME")))
    x = pool(jax.nn.relu(conv(x, p["conv2"], "VALID")))
    for name in ("dense1", "dense2"):
        x = jax.nn.relu(dense(x, p[name]))
    return dense(x, p["output"])


def plain_resnet20(p: dict, x: jax.Array) -> jax.Array:
    ones = ((1, 1), (1, 1))
    x = jax.nn.relu(conv(x, p["conv1"], ones))
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            body = p[f"block{stage}_{block}"]["body"]
            stride = 2 if stage > 1 and block == 1 else 1
            y = conv(jax.nn.relu(conv(x, body["conv1"], ones, stride)), body["conv2"], ones)
            shortcut = x[:, ::stride, ::stride]
            missing = y.shape[-1] - shortcut.shape[-1]
            shortcut = jnp.concatenate([shortcut, jnp.zeros((*y.shape[:-1], missing))], axis=-1)
            x = jax.nn.relu(y + shortcut)
    return dense(x.mean((1, 2)), p["output"])


@pytest.mark.parametrize(
    "name, plain", [("cnn", plain_cnn), ("lenet5", plain_lenet5), ("resnet20", plain_resnet20)]
)
def test_logits_are_those_of_the_network_written_out_in_lax(name: str, plain):
    model = network(Architecture(model=name, convolution="lax", **small(name)))
    ours, theirs = jax.jit(lambda images: (model(images), plain(parameters(model), images)))(IMAGES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_registries_are_in_order_and_agree():
    assert list(MODELS) == sorted(MODELS)
    choices = {field.name for field in fields(Architecture)}
    assert all(model.options <= choices for model in MODELS.values())


# Deeper networks of the function that resnet8 is from are left out: they take long to trace.
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"resnet20", "resnet32", "resnet56"}))
def test_tap_sees_every_layer_and_the_logits_have_the_right_shape(name: str, normalization: str):
    architecture = Architecture(
        model=name, normalization=normalization, dropout=True, **small(name)
    )
    seen, rows = {}, []

    def tap(layer: str, value: jax.Array) -> jax.Array:
        assert layer not in seen
        seen[layer] = value.shape
        return value

    def trace(key: jax.Array, images: jax.Array) -> jax.Array:
        model = build(architecture, ROOMY, 7, key)
        rows.extend(count_parameters(model, ROOMY))
        return model(images, tap=tap)

    logits = jax.eval_shape(trace, KEY, jax.ShapeDtypeStruct((5, *ROOMY), jnp.float32))
    assert logits.shape == seen["output"] == (5, 7)
    names = [row.name for row in rows]
    assert [layer for layer in seen if layer in set(names)] == names
    assert all(seen[row.name] == (5, *row.output_shape) for row in rows)
    assert list(seen)[-1] == "output"


@pytest.mark.parametrize("name, inner", [("cnn", "pool1"), ("resnet20", "block2_1.conv1")])
def test_tap_replaces_a_feature_map(name: str, inner: str):
    model = network(Architecture(model=name, convolution="lax", **small(name)))

    def tap(factor: float):
        return lambda layer, value: value * factor if layer == inner else value

    def logits(images: jax.Array) -> tuple:
        plain = model(images)
        return plain, model(images, tap=tap(1.0)), model(images, tap=tap(0.0))

    plain, kept, removed = jax.jit(logits)(IMAGES)
    np.testing.assert_allclose(plain, kept, atol=1e-6)
    assert not np.allclose(plain, removed)
    if name == "cnn":  # Nothing of the image is left after the first block.
        np.testing.assert_allclose(removed, jnp.broadcast_to(removed[:1], removed.shape), atol=1e-6)


def test_parameters_follow_from_the_key():
    # Both convolutions have kernels of one shape, and yet not the same.
    architecture = Architecture(filters=(3, 3), hidden=(5,))
    first, again, other = (
        parameters(build(architecture, SHAPE, 10, jax.random.key(seed))) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [
        params[name]["conv"]["kernel"] for params in (first, other) for name in ("conv1", "conv2")
    ]
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == 4


@pytest.mark.parametrize(
    "architecture, image_shape, message",
    [
        (Architecture(filters=(4,) * 4), (8, 8, 1), r"^filters asks for 4 blocks.* down to 1x1"),
        (Architecture(filters=(4, 4)), (28, 2, 1), r"^filters asks for 2 blocks.* down to 14x1"),
        (Architecture(kernel_size=16), (8, 20, 1), r"^kernel_size=16 does not fit.* at most 15"),
        (Architecture(kernel_size=9), (8, 8, 1), r"the 4x4 feature map of block 2; .* at most 7"),
        (Architecture(model="lenet5"), (11, 28, 1), "lenet5 needs images of at least 12x12"),
        (Architecture(model="resnet20"), (3, 3, 3), "resnet20 needs images of at least 4x4"),
        (Architecture(model="resnet56"), (9, 3, 3), "resnet56 needs images of at least 4x4"),
        (Architecture(model="resnet18"), (7, 8, 3), "resnet18 needs .* at least 8x8 pixels, got"),
        (Architecture(model="wide_resnet"), (4, 3, 3), "wide_resnet needs .* at least 4x4 pixels"),
        (Architecture(model="vgg"), (15, 28, 1), "vgg needs .* at least 16x16 pixels, got 15x28"),
        (Architecture(model="airnet"), (8, 28, 1), "airnet needs .* at least 9x9 pixels, got 8x28"),
    ],
)
def test_too_small_images_are_refused(architecture: Architecture, image_shape, message: str):
    with pytest.raises(UsageError, match=message):
        build(architecture, image_shape, 10, KEY)


@pytest.mark.parametrize(
    "architecture, image_shape",
    [
        (Architecture(filters=(2, 2, 2), hidden=()), (8, 8, 1)),
        (Architecture(filters=(2,), kernel_size=15), (8, 8, 1)),
        (Architecture(model="lenet5"), (12, 12, 1)),
        (Architecture(model="resnet20"), (4, 4, 3)),
        (Architecture(model="resnet18"), (8, 8, 1)),
        (Architecture(model="wide_resnet"), (4, 4, 3)),
        (Architecture(model="vgg"), (16, 16, 1)),
        (Architecture(model="airnet"), (9, 9, 1)),
    ],
)
def test_the_smallest_images_do(architecture: Architecture, image_shape):
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    logits = jax.eval_shape(lambda x: build(architecture, image_shape, 10, KEY)(x), images)
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    "name, image_shape, expected",
    [
        ("resnet18", (32, 32, 3), {"block1_2": (32, 32, 64), "block4_2": (4, 4, 512)}),
        ("resnet18", (28, 28, 1), {"conv1": (28, 28, 64), "block4_1": (4, 4, 512)}),
        ("wide_resnet", (32, 32, 3), {"block1_1": (32, 32, 64), "block3_2": (8, 8, 256)}),
        ("vgg", (32, 32, 3), {"pool4": (2, 2, 512), "pool5": (1, 1, 512), "flatten": (512,)}),
        ("vgg", (28, 28, 1), {"pool4": (1, 1, 512), "pool5": (1, 1, 512)}),
        ("vgg", (64, 96, 3), {"pool4": (4, 6, 512), "pool5": (1, 1, 512)}),
        ("airnet", (32, 32, 3), {"whitening": (31, 31, 24), "activation3_2": (3, 3, 256)}),
        ("airnet", (28, 28, 1), {"whitening": (27, 27, 8), "pool_output": (1, 1, 256)}),
        ("airnet", (64, 64, 3), {"pool3": (7, 7, 256), "flatten": (256,)}),
    ],
)
def test_feature_maps_have_the_sizes_of_the_literature(name: str, image_shape, expected: dict):
    seen = {}

    def tap(layer: str, value: jax.Array) -> jax.Array:
        seen[layer] = value.shape[1:]
        return value

    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    model = build_abstract(Architecture(model=name), image_shape, 10)
    nnx.eval_shape(lambda network, images: network(images, tap=tap), model, images)
    assert {layer: seen[layer] for layer in expected} == expected


def test_dropout_acts_in_training_only_and_needs_a_key():
    architecture = Architecture(dropout=True, **SMALL)
    model, without = network(architecture), network(Architecture(**SMALL))
    with pytest.raises(ValueError, match="needs a dropout_key"):
        jax.eval_shape(lambda images: model(images, Mode(train=True, dropout_rate=0.5)), IMAGES)

    def logits(images: jax.Array) -> tuple:
        train = [model(images, Mode(True, jax.random.key(i), 0.5)) for i in (0, 0, 1)]
        return model(images), without(images), *train

    evaluated, plain, first, again, other = jax.jit(logits)(IMAGES)
    np.testing.assert_array_equal(evaluated, plain)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(first, plain)


def test_dropout_layers_drop_different_values():
    model = build(Architecture(filters=(), hidden=(64, 64), dropout=True), (4, 4, 1), 10, KEY)
    dropped = {}

    def tap(layer: str, value: jax.Array) -> jax.Array:
        if layer.startswith("dropout"):
            dropped[layer] = np.asarray(value == 0)
            return value
        return jnp.ones_like(value)

    model(jnp.ones((8, 4, 4, 1)), Mode(True, jax.random.key(3), 0.5), tap)
    assert dropped.keys() == {"dropout1", "dropout2"}
    assert not np.array_equal(dropped["dropout1"], dropped["dropout2"])
    assert all(0.3 < mask.mean() < 0.7 for mask in dropped.values())


@pytest.mark.parametrize(
    "model, normalization",
    [
        ("cnn", "group"),
        *((name, "batch") for name in sorted(MODELS.keys() - {"resnet20", "resnet32", "resnet56"})),
    ],
)
def test_bfloat16_stays_what_it_is(model: str, normalization: str):
    """Or else the convolutions after a layer that turns it into float32 are float32 too."""
    options = small(model)
    architecture = Architecture(model, normalization=normalization, dropout=True, **options)
    model_shapes = nnx.eval_shape(lambda: build(architecture, ROOMY, 10, KEY))
    skeleton, *state = nnx.split(model_shapes, nnx.Param, ...)
    types = {}

    def record(name: str, value: jax.Array) -> jax.Array:
        types[name] = value.dtype
        return value

    def forward(params: dict, statistics: dict, images: jax.Array) -> jax.Array:
        params = jax.tree.map(lambda leaf: leaf.astype(images.dtype), params)
        network = nnx.merge(skeleton, params, statistics)
        return network(images, Mode(True, KEY, 0.5), tap=record)

    jax.eval_shape(forward, *state, jax.ShapeDtypeStruct((2, *ROOMY), jnp.bfloat16))
    inner = {name: kind for name, kind in types.items() if "conv" in name or "norm" in name}
    assert inner and set(inner.values()) == {jnp.dtype("bfloat16")}, types
