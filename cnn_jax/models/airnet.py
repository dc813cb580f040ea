"""The network of the fastest training recipe for CIFAR-10 (Jordan 2024, arXiv:2404.00498)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.blocks import require_size, scaled
from cnn_jax.models.layers import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Mode,
    Normalization,
    Pooling,
    Scaling,
)
from cnn_jax.models.whitening import whitening_kernel
from cnn_jax.ops.convolution import Lowering, conv2d

_WIDTHS = (64, 256, 256)
_WHITENING_SIZE = 2
_LOGIT_SCALE = 1 / 9
_BATCH_NORM_MOMENTUM = 0.6
_BATCH_NORM_EPSILON = 1e-12

# Uniform within +-1 / sqrt(inputs of a neuron).
_UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Frozen(nnx.Variable):
    """An array that belongs to the network and is not trained."""


class Whitening(Layer):
    """A convolution by a kernel that comes from the data and stays; only its bias is trained.

    Until `whiten` sets it, the kernel is that of images whose pixels are white already: the values
    of a patch and their negatives.
    """

    kind = "whitening"

    def __init__(self, channels: int, size: int, lowering: Lowering):
        inputs = size * size * channels
        pixels = jnp.eye(inputs)
        kernel = jnp.concatenate([pixels, -pixels], axis=1)
        self.kernel = Frozen(kernel.reshape(size, size, channels, 2 * inputs))
        self.bias = nnx.Param(jnp.zeros(2 * inputs))
        self.lowering = lowering

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n oh ow f"]:
        kernel = self.kernel[...].astype(x.dtype)
        return conv2d(x, kernel, padding="VALID", lowering=self.lowering) + self.bias[...]

    def formula(self) -> tuple[str, int]:
        (filters,) = self.bias.shape
        return f"1 * {filters}", filters


def partial_identity(
    key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32
) -> Float[Array, "kh kw c f"]:
    """A kernel whose first filters pass the channels through, one each; the rest is random.

    Args:
      key: decides the rest, which is uniform within +-1 / sqrt(kh * kw * c).
      shape: kh, kw (both odd), c and f. Of more channels than filters the first f pass.
      dtype: of the kernel.
    """
    height, width, channels, filters = shape
    passed = min(channels, filters)
    identity = jnp.zeros((height, width, channels, passed), dtype)
    identity = identity.at[height // 2, width // 2].set(jnp.eye(channels, passed, dtype=dtype))
    rest = _UNIFORM(key, tuple(shape), dtype)[..., passed:]
    return jnp.concatenate([identity, rest], axis=-1)


def airnet(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """Whitened patches, then three groups of two convolutions (Jordan 2024, section 3.1).

    The recipe has `normalization="batch"` and `activation="gelu"`; its normalisations have a bias
    and no scale. The kernel of the whitening is set by `whiten`. The last pooling is over the
    whole feature map, 3x3 for the recipe's images of 32x32 pixels. The logits' factor of 1/9 is
    taken before the dense layer, which has no bias.
    """
    require_size(architecture, image_shape, _WHITENING_SIZE - 1 + 2 ** len(_WIDTHS))
    height, width, channels = image_shape
    layers: dict[str, nnx.Module] = {
        "whitening": Whitening(channels, _WHITENING_SIZE, architecture.convolution),
        "whitening_activation": Activation(architecture.activation),
    }
    channels = 2 * _WHITENING_SIZE**2 * channels
    height, width = height - _WHITENING_SIZE + 1, width - _WHITENING_SIZE + 1
    for group, full in enumerate(_WIDTHS, start=1):
        filters = scaled(architecture, full)
        for repeat, inputs in enumerate((channels, filters), start=1):
            suffix = f"{group}_{repeat}"
            layers[f"conv{suffix}"] = Convolution(
                inputs,
                filters,
                3,
                use_bias=architecture.normalization == "none",
                kernel_init=partial_identity,
                lowering=architecture.convolution,
                rngs=rngs,
            )
            if repeat == 1:
                layers[f"pool{group}"] = Pooling("max")
                height, width = height // 2, width // 2
            if architecture.normalization != "none":
                layers[f"norm{suffix}"] = Normalization(
                    architecture.normalization,
                    filters,
                    use_scale=False,
                    momentum=_BATCH_NORM_MOMENTUM,
                    epsilon=_BATCH_NORM_EPSILON,
                    rngs=rngs,
                )
            layers[f"activation{suffix}"] = Activation(architecture.activation)
        channels = filters
    layers["pool_output"] = Pooling("max", (height, width))
    layers["flatten"] = Flatten()
    if architecture.dropout:
        layers["dropout1"] = Dropout(1)
    layers["scale"] = Scaling(_LOGIT_SCALE)
    layers["output"] = Dense(channels, num_classes, use_bias=False, kernel_init=_UNIFORM, rngs=rngs)
    return layers


def whiten(statistics: PyTree, images: Float[Array, "n h w c"]) -> PyTree:
    """The statistics of an airnet with the whitening kernel of these normalised images."""
    network = statistics["network"]
    kernel = whitening_kernel(images, _WHITENING_SIZE)
    whitening = network["whitening"] | {"kernel": kernel}
    return statistics | {"network": network | {"whitening": whitening}}
