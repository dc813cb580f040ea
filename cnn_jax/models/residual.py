"""Residual networks: ResNets for small images, ResNet-18 and a wide one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.layers import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    GlobalAveragePooling,
    Mode,
    Sequential,
    Tap,
    normalization,
    require_size,
)


class Residual(nnx.Module):
    """Two convolutions and the input added to what they give (He et al. 2016).

    Where the block halves the image, the shortcut is the input subsampled and padded with empty
    channels (option A of the paper, without parameters), or a 1x1 convolution of the input with
    stride 2, normalized too (option B). The activation of the sum is the layer after.
    """

    def __init__(
        self,
        architecture: Architecture,
        channels: int,
        filters: int,
        *,
        projection: bool,
        rngs: nnx.Rngs,
    ):
        self.stride = 1 if channels == filters else 2
        self.missing = filters - channels
        layers: dict[str, nnx.Module] = {}
        for index, (inputs, stride) in enumerate(((channels, self.stride), (filters, 1)), start=1):
            layers[f"conv{index}"] = Convolution(
                architecture, inputs, filters, stride=stride, rngs=rngs
            )
            layers |= normalization(architecture, f"norm{index}", filters, rngs)
            if index == 1:
                layers["activation1"] = Activation(architecture.activation)
        self.body = Sequential(**layers)
        shortcut: dict[str, nnx.Module] = {}
        if projection and self.missing:
            shortcut["conv"] = Convolution(
                architecture, channels, filters, kernel_size=1, stride=self.stride, rngs=rngs
            )
            shortcut |= normalization(architecture, "norm", filters, rngs)
        self.shortcut = Sequential(**shortcut) if shortcut else None

    def __call__(
        self, x: Float[Array, "n h w c"], mode: Mode, tap: Tap
    ) -> Float[Array, "n oh ow f"]:
        y = self.body(x, mode, tap)
        if self.shortcut is not None:
            return y + self.shortcut(x, mode, lambda name, value: tap(f"shortcut.{name}", value))
        x = x[:, :: self.stride, :: self.stride]
        if self.missing:
            zero = jnp.zeros((), x.dtype)
            x = jax.lax.pad(x, zero, ((0, 0, 0),) * 3 + ((0, self.missing, 0),))
        return y + x

    def branches(self) -> list[tuple[str, Sequential]]:
        """The parts, each with the prefix of its layers' names, in the order of the calls."""
        shortcut = [] if self.shortcut is None else [("shortcut.", self.shortcut)]
        return [("", self.body), *shortcut]


def resnet(
    depth: int,
    architecture: Architecture,
    image_shape: ImageShape,
    num_classes: int,
    rngs: nnx.Rngs,
) -> dict[str, nnx.Module]:
    """The ResNet of `depth` = 6 n + 2 layers of He et al. 2016, section 4.2: three stages of n.

    The paper's networks have `normalization="batch"` and shortcuts without parameters.
    """
    require_size(architecture, image_shape, 4)
    blocks = (depth - 2) // 6
    return _stages(architecture, image_shape, num_classes, (16, 32, 64), blocks, False, rngs)


def resnet18(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
    """ResNet-18 (He et al. 2016, table 1) as it is used on CIFAR: four stages of two blocks.

    The first convolution is 3x3 with stride 1, and no pooling follows it. Shortcuts are projected
    where the image is halved; `normalization="batch"` is the paper's.
    """
    require_size(architecture, image_shape, 8)
    return _stages(architecture, image_shape, num_classes, (64, 128, 256, 512), 2, True, rngs)


def _stages(
    architecture: Architecture,
    image_shape: ImageShape,
    num_classes: int,
    widths: Sequence[int],
    blocks: int,
    projection: bool,
    rngs: nnx.Rngs,
) -> dict[str, nnx.Module]:
    channels = widths[0]
    layers: dict[str, nnx.Module] = {
        "conv1": Convolution(architecture, image_shape[2], channels, rngs=rngs),
        **normalization(architecture, "norm1", channels, rngs),
        "activation1": Activation(architecture.activation),
    }
    for stage, filters in enumerate(widths, start=1):
        for block in range(1, blocks + 1):
            name = f"block{stage}_{block}"
            layers[name] = Residual(
                architecture, channels, filters, projection=projection, rngs=rngs
            )
            layers[f"{name}_activation"] = Activation(architecture.activation)
            channels = filters
    layers["pool"] = GlobalAveragePooling()
    if architecture.dropout:
        layers["dropout1"] = Dropout(1)
    layers["output"] = Dense(channels, num_classes, rngs=rngs)
    return layers


# WRN-16-4 of the paper: 16 layers, 4 times as wide as the ResNet of that depth.
_DEPTH = 16
_WIDENING = 4


class WideResidual(nnx.Module):
    """Normalization, activation and convolution, twice, and the input added to what they give.

    Dropout, if any, is before the second convolution, at the place `dropout` among those of the
    network. Where the number of channels changes, the shortcut is a 1x1 convolution of the input
    as normalized and activated, not of the input itself (as in the authors' networks).
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
            "conv1": Convolution(architecture, channels, filters, stride=stride, rngs=rngs),
            **normalization(architecture, "norm2", filters, rngs),
            "activation2": Activation(architecture.activation),
        }
        if architecture.dropout:
            layers["dropout"] = Dropout(dropout)
        layers["conv2"] = Convolution(architecture, filters, filters, rngs=rngs)
        self.body = Sequential(**layers)
        shortcut: dict[str, nnx.Module] = {}
        if channels != filters:
            shortcut["conv"] = Convolution(
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
        "conv1": Convolution(architecture, image_shape[2], channels, rngs=rngs)
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
