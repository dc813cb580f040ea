"""The wide residual network: few layers of many filters, activated before each convolution."""

from flax import nnx
from jaxtyping import Array, Float

from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.blocks import convolution, normalization, require_size
from cnn_jax.models.layers import (
    Activation,
    Dense,
    Dropout,
    GlobalAveragePooling,
    Mode,
    Sequential,
    Tap,
)

# WRN-16-4 of the paper: 16 layers, 4 times as wide as the ResNet of that depth.
_DEPTH = 16
_WIDENING = 4


class WideResidual(nnx.Module):
    """Normalisation, activation and convolution, twice, and the input added to what they give.

    Dropout, if any, is before the second convolution, at the place `dropout` among those of the
    network. Where the number of channels changes, the shortcut is a 1x1 convolution of the input
    as normalised and activated, not of the input itself (as in the authors' networks).
    """

    def __init__(
        self,
        architecture: Architecture,
        channels: int,
        filters: int,
        *,
        stride: int,
        dropout: int,
        rngs: nnx.Rngs,
    ):
        self.entry = Sequential(
            **normalization(architecture, "norm1", channels, rngs),
            activation1=Activation(architecture.activation),
        )
        layers: dict[str, nnx.Module] = {
            "conv1": convolution(architecture, channels, filters, stride=stride, rngs=rngs),
            **normalization(architecture, "norm2", filters, rngs),
            "activation2": Activation(architecture.activation),
        }
        if architecture.dropout:
            layers["dropout"] = Dropout(dropout)
        layers["conv2"] = convolution(architecture, filters, filters, rngs=rngs)
        self.body = Sequential(**layers)
        shortcut: dict[str, nnx.Module] = {}
        if channels != filters:
            shortcut["conv"] = convolution(
                architecture, channels, filters, kernel_size=1, stride=stride, rngs=rngs
            )
        self.shortcut = Sequential(**shortcut) if shortcut else None

    def __call__(
        self, x: Float[Array, "n h w c"], mode: Mode, tap: Tap
    ) -> Float[Array, "n oh ow f"]:
        activated = self.entry(x, mode, tap)
        y = self.body(activated, mode, tap)
        if self.shortcut is None:
            return y + x
        return y + self.shortcut(
            activated, mode, lambda name, value: tap(f"shortcut.{name}", value)
        )

    def branches(self) -> list[tuple[str, Sequential]]:
        """The parts, each with the prefix of its layers' names, in the order of the calls."""
        shortcut = [] if self.shortcut is None else [("shortcut.", self.shortcut)]
        return [("", self.entry), ("", self.body), *shortcut]


def wide_resnet(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """WRN-16-4 (Zagoruyko and Komodakis 2016, table 1): three stages of two blocks.

    The paper's networks have `normalization="batch"`; their dropout is inside the blocks.
    """
    require_size(architecture, image_shape, 4)
    blocks = (_DEPTH - 4) // 6
    channels = 16
    layers: dict[str, nnx.Module] = {
        "conv1": convolution(architecture, image_shape[2], channels, rngs=rngs)
    }
    for stage in (1, 2, 3):
        filters = 16 * _WIDENING * 2 ** (stage - 1)
        for block in range(1, blocks + 1):
            layers[f"block{stage}_{block}"] = WideResidual(
                architecture,
                channels,
                filters,
                stride=2 if stage > 1 and block == 1 else 1,
                dropout=(stage - 1) * blocks + block,
                rngs=rngs,
            )
            channels = filters
    layers |= normalization(architecture, "norm_output", channels, rngs)
    layers["activation_output"] = Activation(architecture.activation)
    layers["pool"] = GlobalAveragePooling()
    layers["output"] = Dense(channels, num_classes, rngs=rngs)
    return layers
