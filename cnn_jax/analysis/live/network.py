"""A trained network as a page carries it: its layers in words that `engine.js` knows, its weights.

Kernels are float16, vectors (biases, normalizations) float32: of every network these are few.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_jax.analysis.explain import TrainedNetwork
from cnn_jax.analysis.pictures import Style
from cnn_jax.data import PixelRule
from cnn_jax.models import layers, residual
from cnn_jax.models.airnet import Whitening
from cnn_jax.ops import activations, pooling

Described = dict[str, Any]
MOST_BYTES = 4_000_000
"""What the weights may take in a page, if not said otherwise."""


class Live(NamedTuple):
    """What a page carries of a network.

    Attributes:
        network: what `loadNetwork` of `engine.js` takes, as JSON can hold it; None where the page
            is still.
        still: why it is, a sentence; "" where it is not.
    """

    network: Described | None
    still: str = ""


class _UnknownLayerError(Exception):
    """A layer that the engine does not know; its message is the kind."""


def in_page(
    trained: TrainedNetwork,
    style: Style,
    rule: PixelRule,
    class_names: Sequence[str],
    output: str,
    *,
    thresholds: Sequence[float] | None = None,
    temperature: float = 1.0,
    tta: str = "none",
    most: int = MOST_BYTES,
) -> Live:
    """The trained network for a page, or why the page is still.

    Args:
        trained: the network.
        style: of its training images; with it pictures are prepared.
        rule: of its training set, by which pictures of another shape become like them.
        class_names: one for each output.
        output: "softmax" or "sigmoid".
        thresholds: of labels: the probability from which on each is said to be there.
        temperature: by which logits are divided.
        tta: the views of a picture that predictions average; the page reads each once, and says so.
        most: what the weights may take in the page, in bytes.
    """
    weights = jax.device_get(trained.weights)
    try:
        described = describe(trained.structure.merge(*weights).network)
    except _UnknownLayerError as error:
        return Live(None, f"It runs no {error}, a layer that is not one of the project's own.")
    size = sum(map(_size, _arrays(described)))
    if size > most:
        return Live(
            None,
            f"The network’s weights would take {size / 1e6:,.1f} MB, and --page_weights allows "
            f"{most / 1e6:,.1f}.",
        )
    if not all(np.isfinite(_decoded(each)).all() for each in _arrays(described)):
        return Live(None, "Not all of the network’s weights are finite as float16.")
    ends = np.array([0, 255], np.float32)[:, None, None, None] * np.ones(style.shape[2], np.float32)
    black, white = np.asarray(trained.normalize(jnp.asarray(ends))).reshape(2, -1)
    return Live(
        {
            "shape": list(style.shape),
            "factor": _vector((white - black) / 255),
            "shift": _vector(black),
            "layers": described,
            "output": output,
            "classes": list(class_names),
            "thresholds": None if thresholds is None else [float(each) for each in thresholds],
            "temperature": temperature,
            "tta": tta,
            "style": style.to_json(),
            "resize": rule.resize,
            "sides": [rule.shortest, rule.longest],
        }
    )


def describe(network: nnx.Module) -> list[Described]:
    """The layers of a network, in their order, with the weights that they have.

    Raises:
        _UnknownLayerError: the engine does not know one of them.
    """
    if not isinstance(network, layers.Sequential):
        raise _UnknownLayerError(type(network).__name__)
    return _sequence(network, "")


def rounded(weights: Any) -> Any:
    """Weights as a page has them: kernels rounded to float16."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float16).astype(leaf.dtype) if leaf.ndim > 1 else leaf, weights
    )


def _sequence(network: layers.Sequential, prefix: str) -> list[Described]:
    described = []
    for name in network.names:
        layer = getattr(network, name)
        if isinstance(layer, residual.Residual | residual.WideResidual):
            described += _block(layer, f"{prefix}{name}.")
            described[-1]["name"] = prefix + name
        else:
            described += [one | {"name": prefix + name} for one in _layer(layer)]
    return described


def _block(block: residual.Residual | residual.WideResidual, prefix: str) -> list[Described]:
    body = _sequence(block.body, prefix)
    shortcut: list[Described] = []
    if block.shortcut is not None:
        shortcut = _sequence(block.shortcut, f"{prefix}shortcut.")
    if isinstance(block, residual.Residual):
        if block.shortcut is None and (block.stride > 1 or block.missing):
            shortcut = [{"kind": "subsample", "stride": block.stride, "missing": block.missing}]
        return [{"kind": "sum", "branches": [body, shortcut]}]
    entry = _sequence(block.entry, prefix)
    if block.shortcut is None:
        return [{"kind": "sum", "branches": [entry + body, []]}]
    return [*entry, {"kind": "sum", "branches": [body, shortcut]}]


@singledispatch
def _layer(layer: nnx.Module) -> list[Described]:
    raise _UnknownLayerError(getattr(layer, "kind", type(layer).__name__))


@_layer.register
def _(layer: layers.Convolution) -> list[Described]:
    padding = layer.convolve.keywords["padding"]
    bias = None if layer.conv.bias is None else layer.conv.bias[...]
    return [
        {
            "kind": "convolution",
            "kernel": _kernel(layer.conv.kernel[...]),
            "bias": None if bias is None else _vector(bias),
            "stride": layer.convolve.keywords["strides"],
            "padding": [[padding] * 2] * 2 if isinstance(padding, int) else padding,
        }
    ]


@_layer.register
def _(layer: Whitening) -> list[Described]:
    kernel, bias = _kernel(layer.kernel[...]), _vector(layer.bias[...])
    same = {"stride": 1, "padding": "VALID"}
    return [{"kind": "convolution", "kernel": kernel, "bias": bias, **same}]


@_layer.register
def _(layer: layers.Dense) -> list[Described]:
    bias = None if layer.bias is None else _vector(layer.bias[...])
    return [{"kind": "dense", "kernel": _kernel(layer.kernel[...]), "bias": bias}]


@_layer.register
def _(layer: layers.Normalization) -> list[Described]:
    norm = layer.norm
    scale = np.ones(layer.channels) if norm.scale is None else np.asarray(norm.scale[...])
    assert norm.bias is not None
    bias = np.asarray(norm.bias[...])
    if isinstance(norm, nnx.GroupNorm):
        arrays = {"scale": _vector(scale), "bias": _vector(bias)}
        return [{"kind": "groupNorm", "groups": norm.num_groups, "epsilon": norm.epsilon, **arrays}]
    factor = scale / np.sqrt(np.asarray(norm.var[...], np.float64) + norm.epsilon)
    shift = bias - np.asarray(norm.mean[...], np.float64) * factor
    return [{"kind": "affine", "factor": _vector(factor), "shift": _vector(shift)}]


@_layer.register
def _(layer: layers.Activation) -> list[Described]:
    parametric = activations.PARAMETRIC_ACTIVATIONS.get(layer.kind)
    function: Callable = parametric.function if parametric else activations.ACTIVATIONS[layer.kind]
    if function.__module__ != activations.__name__:
        raise _UnknownLayerError(layer.kind)
    slope = {"slope": float(layer.slope[...])} if parametric else {}
    return [{"kind": "activation", "function": layer.kind, **slope}]


@_layer.register
def _(layer: layers.Pooling) -> list[Described]:
    if layer.function not in (pooling.max_pool, pooling.avg_pool):
        raise _UnknownLayerError(layer.kind)
    window = layer.window if isinstance(layer.window, tuple) else (layer.window,) * 2
    largest = layer.function is pooling.max_pool
    return [{"kind": "pooling", "window": list(window), "largest": largest}]


@_layer.register
def _(layer: layers.GlobalAveragePooling) -> list[Described]:
    return [{"kind": "globalAverage"}]


@_layer.register
def _(layer: layers.Flatten) -> list[Described]:
    return [{"kind": "flatten"}]


@_layer.register
def _(layer: layers.Scaling) -> list[Described]:
    return [{"kind": "scaling", "factor": layer.factor}]


@_layer.register
def _(layer: layers.Dropout) -> list[Described]:
    return []


def _kernel(values: Any) -> Described:
    with np.errstate(over="ignore"):
        return _array(np.asarray(values), "float16")


def _vector(values: Any) -> Described:
    return _array(np.asarray(values), "float32")


def _array(values: np.ndarray, kind: str) -> Described:
    data = values.astype(f"<f{int(kind[5:]) // 8}").tobytes()
    return {"shape": list(values.shape), kind: base64.b64encode(data).decode("ascii")}


def _arrays(described: Any) -> list[Mapping[str, Any]]:
    """All arrays of a description."""
    if isinstance(described, list):
        return [array for each in described for array in _arrays(each)]
    if not isinstance(described, dict):
        return []
    return [described] if "shape" in described else _arrays(list(described.values()))


def _decoded(array: Mapping[str, Any]) -> np.ndarray:
    kind = "float16" if "float16" in array else "float32"
    return np.frombuffer(base64.b64decode(array[kind]), kind)


def _size(array: Mapping[str, Any]) -> int:
    return math.prod(array["shape"]) * (2 if "float16" in array else 4) * 4 // 3
