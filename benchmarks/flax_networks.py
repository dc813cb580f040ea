"""The networks of the benchmarks as Flax users write them: stock NNX layers, nothing of cnn_jax.

Each takes `(rngs)` and classifies normalized float32 images, n h w c, into 10 classes.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class MnistCnn(nnx.Module):
    """The CNN of Flax's MNIST example."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense1 = nnx.Linear(7 * 7 * 64, 256, rngs=rngs)
        self.output = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x: Float[Array, "n 28 28 1"]) -> Float[Array, "n 10"]:
        x = _halve(nnx.relu(self.conv1(x)))
        x = _halve(nnx.relu(self.conv2(x)))
        return self.output(nnx.relu(self.dense1(x.reshape(x.shape[0], -1))))


class LeNet5(nnx.Module):
    """LeNet-5 with tanh and average pooling."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 6, (5, 5), rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs)
        self.dense1 = nnx.Linear(5 * 5 * 16, 120, rngs=rngs)
        self.dense2 = nnx.Linear(120, 84, rngs=rngs)
        self.output = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x: Float[Array, "n 28 28 1"]) -> Float[Array, "n 10"]:
        x = _halve(jnp.tanh(self.conv1(x)))
        x = _halve(jnp.tanh(self.conv2(x)))
        x = jnp.tanh(self.dense1(x.reshape(x.shape[0], -1)))
        return self.output(jnp.tanh(self.dense2(x)))


class Block(nnx.Module):
    """Two normalized convolutions and a shortcut without parameters."""

    def __init__(self, channels: int, filters: int, rngs: nnx.Rngs):
        self.stride = 1 if channels == filters else 2
        self.missing = filters - channels
        self.conv1 = _convolution(channels, filters, self.stride, rngs)
        self.norm1 = nnx.BatchNorm(filters, momentum=0.9, rngs=rngs)
        self.conv2 = _convolution(filters, filters, 1, rngs)
        self.norm2 = nnx.BatchNorm(filters, momentum=0.9, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n oh ow f"]:
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        shortcut = x[:, :: self.stride, :: self.stride]
        shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, self.missing)))
        return nnx.relu(y + shortcut)


class ResNet20(nnx.Module):
    """ResNet-20 with batch norm."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = _convolution(3, 16, 1, rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        self.blocks = nnx.List(
            Block(channels, filters, rngs)
            for channels, filters in zip(widths, widths[1:], strict=False)
        )
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: Float[Array, "n 32 32 3"]) -> Float[Array, "n 10"]:
        x = nnx.relu(self.norm(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.output(jnp.mean(x, axis=(1, 2)))


def _halve(x: jax.Array) -> jax.Array:
    return nnx.avg_pool(x, (2, 2), strides=(2, 2))


def _convolution(channels: int, filters: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(channels, filters, (3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs)
