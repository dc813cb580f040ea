"""The networks: feature extraction, then classification."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.errors import UsageError
from cnn_jax.models.architecture import Architecture
from cnn_jax.models.layers import (
    EVALUATION,
    Activation,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    Mode,
    Normalization,
    Pooling,
    Sequential,
    Tap,
)

ImageShape = tuple[int, int, int]


class Classifier(nnx.Module):
    """A network: images in, one score (logit) per class out."""

    def __init__(self, layers: dict[str, nnx.Module]):
        self.network = Sequential(**layers)

    def __call__(
        self,
        images: Float[Array, "n h w c"],
        mode: Mode = EVALUATION,
        tap: Tap = lambda name, value: value,
    ) -> Float[Array, "n classes"]:
        """The logits of a batch.

        Args:
          images: normalised images, channels last.
          mode: training or not, and the dropout.
          tap: called with the name and the output of every layer, in order; what it returns goes
            on in the network. The identity by default: use it to look at or change feature maps.
        """
        return self.network(images, mode, tap)


def build(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, key: PRNGKeyArray
) -> Classifier:
    """The network that `architecture` describes, initialised from `key`.

    Raises:
      UsageError: if the images are too small for it.
    """
    layers = MODELS[architecture.model](architecture, image_shape, num_classes, nnx.Rngs(key))
    return Classifier(layers)


def build_abstract(
    architecture: Architecture, image_shape: ImageShape, num_classes: int
) -> Classifier:
    """The network with shapes in place of arrays: nothing is computed. Raises as `build` does."""
    return nnx.eval_shape(lambda: build(architecture, image_shape, num_classes, jax.random.key(0)))


def cnn(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """Blocks of convolution, normalisation, activation and pooling, then dense layers."""
    height, width, channels = image_shape
    layers: dict[str, nnx.Module] = {}
    dropouts = 0
    for block, filters in enumerate(architecture.filters, start=1):
        if min(height, width) < 2:
            raise UsageError(
                f"--filters asks for {len(architecture.filters)} blocks, but after block "
                f"{block - 1} the {image_shape[0]}x{image_shape[1]} image is down to "
                f"{height}x{width} and cannot be pooled again; give fewer filters"
            )
        if architecture.kernel_size > 2 * min(height, width) - 1:
            raise UsageError(
                f"--kernel_size={architecture.kernel_size} does not fit the {height}x{width} "
                f"feature map of block {block}; give at most {2 * min(height, width) - 1}"
            )
        for repeat in range(1, architecture.convolutions_per_block + 1):
            suffix = f"{block}" if architecture.convolutions_per_block == 1 else f"{block}_{repeat}"
            layers[f"conv{suffix}"] = Convolution(
                channels,
                filters,
                architecture.kernel_size,
                use_bias=architecture.normalization == "none",
                lowering=architecture.convolution,
                rngs=rngs,
            )
            if architecture.normalization != "none":
                layers[f"norm{suffix}"] = Normalization(
                    architecture.normalization, filters, rngs=rngs
                )
            layers[f"activation{suffix}"] = Activation(architecture.activation)
            channels = filters
        layers[f"pool{block}"] = Pooling(architecture.pooling)
        height, width = height // 2, width // 2
        if architecture.dropout:
            dropouts += 1
            layers[f"dropout{dropouts}"] = Dropout(dropouts)
    layers["flatten"] = Flatten()
    features = height * width * channels
    for index, neurons in enumerate(architecture.hidden, start=1):
        layers[f"dense{index}"] = Dense(features, neurons, rngs=rngs)
        layers[f"dense_activation{index}"] = Activation(architecture.activation)
        if architecture.dropout:
            dropouts += 1
            layers[f"dropout{dropouts}"] = Dropout(dropouts)
        features = neurons
    layers["output"] = Dense(features, num_classes, rngs=rngs)
    return layers


def lenet5(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """LeNet-5 (LeCun et al. 1998), its first convolution padded as its 32x32 inputs were.

    As is usual today it has plain pooling, a fully connected second convolution and a dense output
    in place of trained subsampling, the connection table and radial basis functions.
    """
    height, width, channels = image_shape
    if min(height, width) < 12:
        raise UsageError(f"lenet5 needs images of at least 12x12 pixels, got {height}x{width}")
    after = [((size // 2) - 4) // 2 for size in (height, width)]
    layers: dict[str, nnx.Module] = {}
    for block, (inputs, filters, padding) in enumerate(
        ((channels, 6, "SAME"), (6, 16, "VALID")), start=1
    ):
        layers[f"conv{block}"] = Convolution(
            inputs, filters, 5, padding=padding, lowering=architecture.convolution, rngs=rngs
        )
        if architecture.normalization != "none":
            layers[f"norm{block}"] = Normalization(architecture.normalization, filters, rngs=rngs)
        layers[f"activation{block}"] = Activation(architecture.activation)
        layers[f"pool{block}"] = Pooling(architecture.pooling)
    layers["flatten"] = Flatten()
    features = after[0] * after[1] * 16
    for index, neurons in enumerate((120, 84), start=1):
        layers[f"dense{index}"] = Dense(features, neurons, rngs=rngs)
        layers[f"dense_activation{index}"] = Activation(architecture.activation)
        if architecture.dropout:
            layers[f"dropout{index}"] = Dropout(index)
        features = neurons
    layers["output"] = Dense(features, num_classes, rngs=rngs)
    return layers


class Residual(nnx.Module):
    """Two convolutions and the input added to what they give (He et al. 2016).

    Where the block halves the image, the input is subsampled and padded with empty channels
    (option A of the paper, without parameters). The activation of the sum is the layer after.
    """

    def __init__(self, architecture: Architecture, channels: int, filters: int, rngs: nnx.Rngs):
        self.stride = 1 if channels == filters else 2
        self.missing = filters - channels
        layers: dict[str, nnx.Module] = {}
        for index, (inputs, stride) in enumerate(((channels, self.stride), (filters, 1)), start=1):
            layers |= _convolution_and_norm(architecture, f"{index}", inputs, filters, stride, rngs)
            if index == 1:
                layers["activation1"] = Activation(architecture.activation)
        self.body = Sequential(**layers)

    def __call__(
        self, x: Float[Array, "n h w c"], mode: Mode, tap: Tap
    ) -> Float[Array, "n oh ow f"]:
        shortcut = x[:, :: self.stride, :: self.stride]
        if self.missing:
            shortcut = jax.lax.pad(shortcut, 0.0, ((0, 0, 0),) * 3 + ((0, self.missing, 0),))
        return self.body(x, mode, tap) + shortcut


def _convolution_and_norm(
    architecture: Architecture,
    suffix: str,
    channels: int,
    filters: int,
    stride: int,
    rngs: nnx.Rngs,
) -> dict[str, nnx.Module]:
    layers: dict[str, nnx.Module] = {
        f"conv{suffix}": Convolution(
            channels,
            filters,
            3,
            stride=stride,
            padding=1,
            use_bias=architecture.normalization == "none",
            lowering=architecture.convolution,
            rngs=rngs,
        )
    }
    if architecture.normalization != "none":
        layers[f"norm{suffix}"] = Normalization(architecture.normalization, filters, rngs=rngs)
    return layers


def resnet20(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """ResNet-20 for small images (He et al. 2016, section 4.2): three stages of three blocks.

    The paper's network has `normalization="batch"`.
    """
    if min(image_shape[:2]) < 4:
        raise UsageError(
            f"resnet20 needs images of at least 4x4 pixels, got {image_shape[0]}x{image_shape[1]}"
        )
    layers = _convolution_and_norm(architecture, "1", image_shape[2], 16, 1, rngs)
    layers["activation1"] = Activation(architecture.activation)
    channels = 16
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            name = f"block{stage}_{block}"
            layers[name] = Residual(architecture, channels, filters, rngs)
            layers[f"{name}_activation"] = Activation(architecture.activation)
            channels = filters
    layers["pool"] = GlobalAveragePooling()
    if architecture.dropout:
        layers["dropout1"] = Dropout(1)
    layers["output"] = Dense(channels, num_classes, rngs=rngs)
    return layers


MODELS: dict[str, Callable[[Architecture, ImageShape, int, nnx.Rngs], dict[str, nnx.Module]]] = {
    "cnn": cnn,
    "lenet5": lenet5,
    "resnet20": resnet20,
}
