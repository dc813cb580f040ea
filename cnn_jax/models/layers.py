"""The layers that models are made of: Flax modules that compose `cnn_jax.ops`.

Every layer is called as `layer(x, mode)` and knows its parameter count by the lecture's formulas:
a convolution (w * h * previous + 1) * filters, pooling 0, a dense layer c * p + 1 * c.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.errors import UsageError
from cnn_jax.models.architecture import NORMALIZATIONS, Architecture, ImageShape
from cnn_jax.models.initialization import INITIALIZATIONS
from cnn_jax.ops import (
    Number,
    Padding,
    activations,
    batch_norm,
    batch_norm_in_training,
    conv2d,
    dense,
    dropout,
    flatten,
    pooling,
)
from cnn_jax.ops.hyperparameters import declared

_GROUPS = 8
_LECUN_NORMAL = nnx.initializers.lecun_normal()

Tap = Callable[[str, Array], Array]


class Mode(NamedTuple):
    """How a model is called.

    Attributes:
        train: batch statistics and dropout as in training; otherwise running statistics, no
            dropout.
        dropout_key: needed in training by a model with dropout.
        dropout_rate: probability in [0, 1), may be traced.
        split_batch: whether devices share the batch.
    """

    train: bool = False
    dropout_key: PRNGKeyArray | None = None
    dropout_rate: Float[Array, ""] | float = 0.0
    split_batch: bool = False


EVALUATION = Mode()


class Hyper(nnx.Variable):
    """A hyperparameter of a layer's function: kept in the network, which so predicts by itself."""


# Begins the names of the attributes that are such.
HYPER = "hyper_"


def set_hyperparameters(model: nnx.Module, values: Mapping[str, Number]) -> None:
    """Gives the functions of a network's layers those of the values that they read."""
    for path, node in nnx.iter_graph(model):
        if isinstance(node, Hyper):
            name = str(path[-1]).removeprefix(HYPER)
            if name in values:
                node[...] = jnp.asarray(values[name], jnp.float32)


class Layer(nnx.Module):
    """A layer as the parameter table shows it: its kind and its parameter count by formula."""

    kind = "layer"

    def hold(self, function: Callable[..., Array]) -> None:
        """Keeps the hyperparameters of a function that this layer calls."""
        for name, item in declared(function).items():
            setattr(self, HYPER + name, Hyper(jnp.asarray(item.default, jnp.float32)))

    def call(self, function: Callable[..., Array], x: Array, *arguments: Any) -> Array:
        """What the function makes of x with the hyperparameters held, in the type of x."""
        held = {name: getattr(self, HYPER + name)[...] for name in declared(function)}
        return function(x, *arguments, **held).astype(x.dtype)

    def __call__(self, x: Array, mode: Mode) -> Array:
        raise NotImplementedError

    def formula(self) -> tuple[str, int]:
        """The parameter count: the formula with its numbers, and its value."""
        return "0", 0


def hidden_init(architecture: Architecture) -> nnx.Initializer:
    """How the kernels begin that an activation follows."""
    return INITIALIZATIONS[architecture.init](architecture.activation)


class Convolution(Layer):
    """The parameters of `nnx.Conv` under `cnn_jax.ops.conv2d`.

    Without a given padding an odd kernel keeps the size of the image, or divides it by the stride.
    If not said otherwise its kernel begins as the architecture says, and it has a bias if the
    network is not normalized: else the next normalization has one.
    """

    kind = "convolution"

    def __init__(
        self,
        architecture: Architecture,
        channels: int,
        filters: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: Padding | None = None,
        use_bias: bool | None = None,
        kernel_init: nnx.Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        self.conv = nnx.Conv(
            channels,
            filters,
            (kernel_size, kernel_size),
            use_bias=architecture.normalization == "none" if use_bias is None else use_bias,
            kernel_init=kernel_init or hidden_init(architecture),
            rngs=rngs,
        )
        self.convolve = partial(
            conv2d,
            strides=stride,
            padding=kernel_size // 2 if padding is None else padding,
            lowering=architecture.convolution,
        )

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n oh ow f"]:
        bias = None if self.conv.bias is None else self.conv.bias[...]
        return self.convolve(x, self.conv.kernel[...], bias, split=mode.split_batch)

    def formula(self) -> tuple[str, int]:
        height, width, channels, filters = self.conv.kernel_shape
        bias = int(self.conv.use_bias)
        text = f"({width} * {height} * {channels} + {bias}) * {filters}"
        return text, (width * height * channels + bias) * filters


class Dense(Layer):
    """A neuron per output, connected to every input."""

    kind = "dense"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        use_bias: bool = True,
        kernel_init: nnx.Initializer = _LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(kernel_init(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if use_bias else None

    def __call__(self, x: Float[Array, "n p"], mode: Mode) -> Float[Array, "n c"]:
        bias = jnp.zeros(self.kernel.shape[1]) if self.bias is None else self.bias[...]
        return dense(x, self.kernel[...], bias)

    def formula(self) -> tuple[str, int]:
        inputs, outputs = self.kernel.shape
        bias = int(self.bias is not None)
        return f"{outputs} * {inputs} + {bias} * {outputs}", outputs * inputs + bias * outputs


class Normalization(Layer):
    """Batch (Ioffe and Szegedy 2015) or group norm (Wu and He 2018), then scale and bias.

    Args:
        name: "batch" or "group".
        channels: of the feature maps.
        use_scale: whether there is a scale beside the bias.
        momentum: what the running statistics of batch norm keep of themselves at each update.
        epsilon: added to the variance in batch norm.
        rngs: the random streams; what is learned starts at one and zero.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        *,
        use_scale: bool = True,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ):
        self.kind = f"{name} norm"
        self.channels = channels
        self.use_scale = use_scale
        # In training, too, by the statistics that it has.
        self.frozen = False
        self.norm: nnx.BatchNorm | nnx.GroupNorm
        if name == "batch":
            self.norm = nnx.BatchNorm(
                channels, momentum=momentum, epsilon=epsilon, use_scale=use_scale, rngs=rngs
            )
        else:
            groups = math.gcd(channels, _GROUPS)
            self.norm = nnx.GroupNorm(channels, num_groups=groups, use_scale=use_scale, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n h w c"]:
        norm = self.norm
        if isinstance(norm, nnx.GroupNorm):
            normed = norm(x)
        else:
            vectors = (
                None if vector is None else vector[...] for vector in (norm.scale, norm.bias)
            )
            how: Any = {"epsilon": norm.epsilon, "split": mode.split_batch}
            if mode.train and not self.frozen:
                normed, *found = batch_norm_in_training(x, *vectors, **how)
                for kept, new in zip((norm.mean, norm.var), found, strict=True):
                    kept[...] = norm.momentum * kept[...] + (1 - norm.momentum) * new
            else:
                normed = batch_norm(x, norm.mean[...], norm.var[...], *vectors, **how)
        # Statistics are float32, and so would be all that follows.
        return normed.astype(x.dtype)

    def formula(self) -> tuple[str, int]:
        vectors = 1 + int(self.use_scale)
        return f"{vectors} * {self.channels}", vectors * self.channels


class OwnNormalization(Layer):
    """A function of feature maps from `NORMALIZATIONS`, then scale and bias."""

    def __init__(self, name: str, channels: int, *, use_scale: bool = True, rngs: nnx.Rngs):
        self.kind = f"{name} norm"
        function = NORMALIZATIONS[name]
        assert function is not None
        self.function = function
        self.hold(function)
        self.scale = nnx.Param(jnp.ones(channels)) if use_scale else None
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n h w c"]:
        y = self.call(self.function, x)
        y = y if self.scale is None else y * self.scale[...].astype(x.dtype)
        return y + self.bias[...].astype(x.dtype)

    def formula(self) -> tuple[str, int]:
        vectors, (channels,) = 1 + int(self.scale is not None), self.bias.shape
        return f"{vectors} * {channels}", vectors * channels


class Activation(Layer):
    """An activation by its name; one with a learned parameter owns it (one for the whole layer)."""

    def __init__(self, name: str):
        self.kind = name
        if name in activations.PARAMETRIC_ACTIVATIONS:
            initial = activations.PARAMETRIC_ACTIVATIONS[name].initial
            self.slope = nnx.Param(jnp.asarray(initial, jnp.float32))
            self.hold(activations.PARAMETRIC_ACTIVATIONS[name].function)
        else:
            self.hold(activations.ACTIVATIONS[name])

    def __call__(self, x: Float[Array, "*dims"], mode: Mode) -> Float[Array, "*dims"]:
        if self.kind in activations.PARAMETRIC_ACTIVATIONS:
            function = activations.PARAMETRIC_ACTIVATIONS[self.kind].function
            return self.call(function, x, self.slope[...])
        return self.call(activations.ACTIVATIONS[self.kind], x)

    def formula(self) -> tuple[str, int]:
        return ("1", 1) if self.kind in activations.PARAMETRIC_ACTIVATIONS else ("0", 0)


class Pooling(Layer):
    """Max or average pooling over windows that do not overlap: of one size, or height and width."""

    def __init__(self, name: str, window: int | tuple[int, int] = 2):
        self.kind = f"{name} pooling"
        self.function = pooling.POOLINGS[name]
        self.window = window
        self.hold(self.function)

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n oh ow c"]:
        return self.call(self.function, x, self.window)


class GlobalAveragePooling(Layer):
    """The mean of every feature map."""

    kind = "global average pooling"

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode) -> Float[Array, "n c"]:
        return pooling.global_avg_pool(x)


class Flatten(Layer):
    """One row per example."""

    kind = "flatten"

    def __call__(self, x: Float[Array, "n *dims"], mode: Mode) -> Float[Array, "n d"]:
        return flatten(x)


class Scaling(Layer):
    """Every value times a constant."""

    kind = "scaling"

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, x: Float[Array, "*dims"], mode: Mode) -> Float[Array, "*dims"]:
        return x * self.factor


class Dropout(Layer):
    """Dropout at the rate of the mode; `index` tells a model's dropout layers apart."""

    kind = "dropout"

    def __init__(self, index: int):
        self.index = index

    def __call__(self, x: Float[Array, "*dims"], mode: Mode) -> Float[Array, "*dims"]:
        if not mode.train:
            return x
        if mode.dropout_key is None:
            raise ValueError("a model with dropout needs a dropout_key in training")
        return dropout(jax.random.fold_in(mode.dropout_key, self.index), x, mode.dropout_rate)


class Sequential(nnx.Module):
    """Named layers, one after the other; `tap` sees (and may replace) what each of them returns."""

    def __init__(self, **layers: nnx.Module):
        self.names = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x: Array, mode: Mode, tap: Tap) -> Array:
        for name in self.names:
            layer = getattr(self, name)
            if isinstance(layer, Layer):
                x = layer(x, mode)
            else:
                x = layer(x, mode, lambda inner, value, name=name: tap(f"{name}.{inner}", value))
            x = tap(name, x)
        return x


def require_size(architecture: Architecture, image_shape: ImageShape, pixels: int) -> None:
    """Refuses images that are smaller than `pixels` in height or width.

    Raises:
        UsageError: if they are.
    """
    height, width, _ = image_shape
    if min(height, width) < pixels:
        raise UsageError(
            f"{architecture.model} needs images of at least {pixels}x{pixels} pixels, "
            f"got {height}x{width}"
        )


def scaled(architecture: Architecture, filters: int) -> int:
    """`filters` times the architecture's width, at least one."""
    return max(1, round(filters * architecture.width))


def normalization(
    architecture: Architecture, name: str, channels: int, rngs: nnx.Rngs, **options: Any
) -> dict[str, nnx.Module]:
    """The normalization as a layer of that name, or no layer if the network is not normalized.

    The options are those of `Normalization`; a function of one's own has a scale or not.
    """
    kind = architecture.normalization
    if kind == "none":
        return {}
    if NORMALIZATIONS[kind] is None:
        return {name: Normalization(kind, channels, rngs=rngs, **options)}
    scaled = {key: value for key, value in options.items() if key == "use_scale"}
    return {name: OwnNormalization(kind, channels, rngs=rngs, **scaled)}
