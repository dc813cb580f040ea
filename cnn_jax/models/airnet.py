"""The network of the fastest training recipe for CIFAR-10 (Jordan 2024, arXiv:2404.00498)."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.layers import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Mode,
    Pooling,
    Scaling,
    normalization,
    require_size,
    scaled,
)
from cnn_jax.ops import Lowering, conv2d


def patch_covariance(images: Float[Array, "n h w c"], size: int) -> Float[Array, "k k"]:
    """The mean of p p^T over all patches p of `size` x `size` pixels, k = size * size * c.

    The mean patch is not subtracted: the images are normalized, so that it is close to zero.

    Args:
        images: normalized images.
        size: height and width of a patch in pixels.

    Returns:
        A symmetric matrix. A patch is flattened in reading order: row, column, channel.

    Raises:
        ValueError: if the images are smaller than a patch.
    """
    _, height, width, _ = images.shape
    rows, columns = height - size + 1, width - size + 1
    if min(rows, columns) < 1:
        raise ValueError(f"a patch of {size}x{size} does not fit an image of {height}x{width}")
    patches = jnp.concatenate(
        [images[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)], -1
    )
    flat = patches.reshape(-1, patches.shape[-1])
    # Accelerators round the factors of a product unless told otherwise; small eigenvalues mind.
    return jnp.matmul(flat.T, flat, precision=lax.Precision.HIGHEST) / flat.shape[0]


def whitening_kernel(
    images: Float[Array, "n h w c"], size: int = 2, eps: float = 5e-4
) -> Float[Array, "kh kw c f"]:
    """The kernel of a convolution that whitens patches: f = 2 * kh * kw * c filters.

    With the eigenvalues l_i and the eigenvectors v_i of the patches' covariance, filter i is
    v_i / sqrt(l_i + eps), by descending eigenvalue, and filter i + f / 2 is the negative of filter
    i. The covariance of the first f / 2 outputs over the images is the identity, up to eps.

    An eigenvector's sign is arbitrary. Here its first entry (row, column, channel) of at least
    half the largest magnitude is positive; entries of equal magnitude, common among patches of
    pictures, so do not make the sign a matter of rounding. Where eigenvalues are equal, any basis
    of their space may come back. Works under `jit` and `vmap`.

    Args:
        images: normalized images, some thousand are enough.
        size: height and width of the kernel in pixels.
        eps: added to the eigenvalues, so that what hardly varies is not blown up.

    Raises:
        ValueError: if the images are smaller than the kernel.

    References:
        Page 2019, "How to train your ResNet 8"; Jordan 2024, arXiv:2404.00498, section 3.2.
    """
    eigenvalues, eigenvectors = jnp.linalg.eigh(patch_covariance(images, size))
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    magnitudes = jnp.abs(eigenvectors)
    first = jnp.argmax(magnitudes >= 0.5 * jnp.max(magnitudes, axis=0), axis=0, keepdims=True)
    signs = jnp.sign(jnp.take_along_axis(eigenvectors, first, axis=0))
    # Rounding may take an eigenvalue of zero below it.
    filters = signs * eigenvectors / jnp.sqrt(jnp.maximum(eigenvalues, 0) + eps)
    channels = images.shape[-1]
    return jnp.concatenate([filters, -filters], axis=1).reshape(size, size, channels, -1)


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
        return conv2d(
            x, kernel, self.bias[...], padding="VALID", lowering=self.lowering,
            split=mode.split_batch,
        )  # fmt: skip

    def formula(self) -> tuple[str, int]:
        (filters,) = self.bias.shape
        return f"1 * {filters}", filters


def partial_identity(
    key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
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

    The recipe has `normalization="batch"` and `activation="gelu"`; its normalizations have a bias
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
                architecture, inputs, filters, kernel_init=partial_identity, rngs=rngs
            )
            if repeat == 1:
                layers[f"pool{group}"] = Pooling("max")
                height, width = height // 2, width // 2
            layers |= normalization(
                architecture,
                f"norm{suffix}",
                filters,
                rngs,
                use_scale=False,
                momentum=_BATCH_NORM_MOMENTUM,
                epsilon=_BATCH_NORM_EPSILON,
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
    """The statistics of an airnet with the whitening kernel of these normalized images."""
    network = statistics["network"]
    kernel = whitening_kernel(images, _WHITENING_SIZE)
    whitening = network["whitening"] | {"kernel": kernel}
    return statistics | {"network": network | {"whitening": whitening}}
