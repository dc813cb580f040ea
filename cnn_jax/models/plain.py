"""Networks without shortcuts: convolutional blocks of any shape, LeNet-5 and VGG."""

from collections.abc import Sequence
from itertools import pairwise

from flax import nnx

from cnn_jax.errors import FIELD, FieldError
from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.layers import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Pooling,
    hidden_init,
    normalization,
    require_size,
    scaled,
)


def cnn(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """Blocks of convolution, normalization, activation and pooling, then dense layers."""
    height, width, channels = image_shape
    layers: dict[str, nnx.Module] = {}
    dropouts = 0
    for block, filters in enumerate(architecture.filters, start=1):
        if min(height, width) < 2:
            raise FieldError(
                f"{FIELD.filters} asks for {len(architecture.filters)} blocks, but after block "
                f"{block - 1} the {image_shape[0]}x{image_shape[1]} image is down to "
                f"{height}x{width} and cannot be pooled again; give fewer filters"
            )
        if architecture.kernel_size > 2 * min(height, width) - 1:
            raise FieldError(
                f"{FIELD.kernel_size}={architecture.kernel_size} does not fit the "
                f"{height}x{width} feature map of block {block}; give at most "
                f"{2 * min(height, width) - 1}"
            )
        for repeat in range(1, architecture.convolutions_per_block + 1):
            suffix = f"{block}" if architecture.convolutions_per_block == 1 else f"{block}_{repeat}"
            layers[f"conv{suffix}"] = Convolution(
                architecture, channels, filters, architecture.kernel_size, padding="SAME", rngs=rngs
            )
            layers |= normalization(architecture, f"norm{suffix}", filters, rngs)
            layers[f"activation{suffix}"] = Activation(architecture.activation)
            channels = filters
        layers[f"pool{block}"] = Pooling(architecture.pooling)
        height, width = height // 2, width // 2
        if architecture.dropout:
            dropouts += 1
            layers[f"dropout{dropouts}"] = Dropout(dropouts)
    neurons = (height * width * channels, *architecture.hidden, num_classes)
    return layers | _dense_layers(architecture, neurons, dropouts, rngs)


def _dense_layers(
    architecture: Architecture, neurons: Sequence[int], dropouts: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """From feature maps of so many values to the output, behind so many layers of dropout."""
    layers: dict[str, nnx.Module] = {"flatten": Flatten()}
    *hidden, output = pairwise(neurons)
    for index, sizes in enumerate(hidden, start=1):
        layers[f"dense{index}"] = Dense(*sizes, kernel_init=hidden_init(architecture), rngs=rngs)
        layers[f"dense_activation{index}"] = Activation(architecture.activation)
        if architecture.dropout:
            layers[f"dropout{dropouts + index}"] = Dropout(dropouts + index)
    layers["output"] = Dense(*output, rngs=rngs)
    return layers


def lenet5(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """LeNet-5 (LeCun et al. 1998), its first convolution padded as its 32x32 inputs were.

    As is usual today it has plain pooling, a fully connected second convolution and a dense output
    in place of trained subsampling, the connection table and radial basis functions.
    """
    height, width, channels = image_shape
    require_size(architecture, image_shape, 12)
    after = [((size // 2) - 4) // 2 for size in (height, width)]
    layers: dict[str, nnx.Module] = {}
    for block, (inputs, filters, padding) in enumerate(
        ((channels, 6, "SAME"), (6, 16, "VALID")), start=1
    ):
        layers[f"conv{block}"] = Convolution(
            architecture, inputs, filters, 5, padding=padding, use_bias=True, rngs=rngs
        )
        layers |= normalization(architecture, f"norm{block}", filters, rngs)
        layers[f"activation{block}"] = Activation(architecture.activation)
        layers[f"pool{block}"] = Pooling(architecture.pooling)
    neurons = (after[0] * after[1] * 16, 120, 84, num_classes)
    return layers | _dense_layers(architecture, neurons, 0, rngs)


_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def vgg(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """VGG-11 (Simonyan and Zisserman 2015, column A) as it is used on CIFAR: one dense layer.

    Each of the five stages ends in max pooling. The last one's window is all that is left of the
    image, which is 2x2 for the usual 32x32 pixels, so that other sizes do as well. The usual form
    has `normalization="batch"`, which the paper did not know.
    """
    require_size(architecture, image_shape, 16)
    height, width, channels = image_shape
    layers: dict[str, nnx.Module] = {}
    for stage, widths in enumerate(_STAGES, start=1):
        for repeat, full in enumerate(widths, start=1):
            filters = scaled(architecture, full)
            suffix = f"{stage}_{repeat}"
            layers[f"conv{suffix}"] = Convolution(architecture, channels, filters, rngs=rngs)
            layers |= normalization(architecture, f"norm{suffix}", filters, rngs)
            layers[f"activation{suffix}"] = Activation(architecture.activation)
            channels = filters
        layers[f"pool{stage}"] = Pooling("max", (height, width) if stage == len(_STAGES) else 2)
        height, width = height // 2, width // 2
    layers["flatten"] = Flatten()
    if architecture.dropout:
        layers["dropout1"] = Dropout(1)
    layers["output"] = Dense(channels, num_classes, rngs=rngs)
    return layers
