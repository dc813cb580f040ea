"""Residual blocks with projected shortcuts against plain lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from cnn_jax.models import Architecture, Mode
from cnn_jax.models.residual import Residual, WideResidual

IMAGES = jax.random.normal(jax.random.key(1), (4, 8, 6, 4))
BATCH = Architecture(model="wide_resnet", normalization="batch", convolution="lax")


def conv(x: jax.Array, layer: dict, pad: int, stride: int) -> jax.Array:
    pads = ((pad, pad),) * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    kernel = layer["conv"]["kernel"]
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, None, None, numbers)


def norm(x: jax.Array, layer: dict) -> jax.Array:
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    layer = layer["norm"]
    return (x - mean) / jnp.sqrt(variance + 1e-5) * layer["scale"] + layer["bias"]


def plain_residual(p: dict, x: jax.Array, stride: int) -> jax.Array:
    body, shortcut = p["body"], p["shortcut"]
    y = jax.nn.relu(norm(conv(x, body["conv1"], 1, stride), body["norm1"]))
    y = norm(conv(y, body["conv2"], 1, 1), body["norm2"])
    return y + norm(conv(x, shortcut["conv"], 0, stride), shortcut["norm"])


def plain_wide_residual(p: dict, x: jax.Array, stride: int) -> jax.Array:
    body = p["body"]
    activated = jax.nn.relu(norm(x, p["entry"]["norm1"]))
    y = jax.nn.relu(norm(conv(activated, body["conv1"], 1, stride), body["norm2"]))
    y = conv(y, body["conv2"], 1, 1)
    return y + (conv(activated, p["shortcut"]["conv"], 0, stride) if "shortcut" in p else x)


def residual(stride: int) -> nnx.Module:
    return Residual(BATCH, 4, 4 * stride, projection=True, rngs=nnx.Rngs(0))


def wide_residual(filters: int, stride: int) -> nnx.Module:
    return WideResidual(BATCH, 4, filters, stride=stride, dropout=1, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "make, plain, stride",
    [
        (lambda: residual(2), plain_residual, 2),
        (lambda: wide_residual(6, 1), plain_wide_residual, 1),
        (lambda: wide_residual(6, 2), plain_wide_residual, 2),
        (lambda: wide_residual(4, 1), plain_wide_residual, 1),
    ],
)
def test_blocks_are_those_written_out_in_lax(make, plain, stride: int):
    skeleton, *shapes = nnx.split(nnx.eval_shape(make), nnx.Param, ...)
    rng = np.random.default_rng(0)
    params, statistics = (
        jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32),
            nnx.to_pure_dict(shape),
        )
        for shape in shapes
    )

    @jax.jit
    def both(params: dict, statistics: dict, images: jax.Array) -> tuple:
        block = nnx.merge(skeleton, params, statistics)
        ours = block(images, Mode(train=True), lambda name, value: value)
        return ours, plain(params, images, stride)

    ours, theirs = both(params, statistics, IMAGES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_dropout_of_a_wide_block_is_before_its_second_convolution():
    architecture = Architecture(model="wide_resnet", dropout=True)
    blocks = [
        nnx.eval_shape(
            lambda place=place: WideResidual(
                architecture, 4, 4, stride=1, dropout=place, rngs=nnx.Rngs(0)
            )
        )
        for place in (1, 2)
    ]
    for place, block in enumerate(blocks, start=1):
        assert block.body.names == ("conv1", "activation2", "dropout", "conv2")
        assert block.body.dropout.index == place
