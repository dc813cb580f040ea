"""VGG: nothing but 3x3 convolutions and pooling, deep."""

from flax import nnx

from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.blocks import convolution, normalization, require_size, scaled
from cnn_jax.models.layers import Activation, Dense, Dropout, Flatten, Pooling

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
            layers[f"conv{suffix}"] = convolution(architecture, channels, filters, rngs=rngs)
            layers |= normalization(architecture, f"norm{suffix}", filters, rngs)
            layers[f"activation{suffix}"] = Activation(architecture.activation)
            channels = filters
        if stage == len(_STAGES):
            layers[f"pool{stage}"] = Pooling("max", (height, width))
        else:
            layers[f"pool{stage}"] = Pooling("max")
            height, width = height // 2, width // 2
    layers["flatten"] = Flatten()
    if architecture.dropout:
        layers["dropout1"] = Dropout(1)
    layers["output"] = Dense(channels, num_classes, rngs=rngs)
    return layers
