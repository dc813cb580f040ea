"""The number of parameters, layer by layer: by formula and by counting the arrays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from cnn_jax.models.architecture import ImageShape
from cnn_jax.models.layers import Layer, Sequential
from cnn_jax.models.networks import Classifier


@dataclass(frozen=True)
class ParameterRow:
    """One layer: `count` parameters by `formula`, `counted` numbers in its arrays."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    formula: str
    count: int
    counted: int


def count_parameters(model: Classifier, image_shape: ImageShape) -> list[ParameterRow]:
    """The parameter table of a network, in the order in which an image passes through it.

    Convolution: (w * h * previous + 1) * filters; pooling: 0; dense: c * p + 1 * c; a
    normalization: 2 * channels, or 1 * channels without its scale. Without a bias the 1 is a 0.
    What is not trained (running statistics, the kernel of a whitening) is not counted.

    Args:
        model: any network, its arrays or their shapes.
        image_shape: height, width and channels of its images.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str, value: Array) -> Array:
        shapes[name] = value.shape[1:]
        return value

    nnx.eval_shape(
        lambda network, images: network(images, tap=record),
        model,
        jax.ShapeDtypeStruct((1, *image_shape), jnp.float32),
    )
    return [
        ParameterRow(name, layer.kind, shapes[name], *layer.formula(), _size(layer))
        for name, layer in _layers(model.network)
    ]


def multiplications(rows: list[ParameterRow]) -> int:
    """The products that one image's forward pass takes in convolutions and dense layers.

    A weight is multiplied once at every place of its layer's output: biases and elementwise work
    are counted as products of one place, and make little of it.
    """
    return sum(row.count * math.prod(row.output_shape[:-1]) for row in rows)


def _layers(network: Sequential, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    for name in network.names:
        module = getattr(network, name)
        if isinstance(module, Layer):
            yield prefix + name, module
        else:
            for inner, branch in module.branches():
                yield from _layers(branch, f"{prefix}{name}.{inner}")


def _size(layer: Layer) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param)))
