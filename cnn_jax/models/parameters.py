"""The number of parameters, layer by layer: by formula and by counting the arrays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from cnn_jax.models.architecture import ImageShape
from cnn_jax.models.layers import Layer, Sequential
from cnn_jax.models.networks import Classifier
from cnn_jax.models.outside import Outside


@dataclass(frozen=True)
class ParameterRow:
    """One layer: `count` parameters by `formula`, `counted` numbers in its arrays.

    A module of a network from outside has no formula, and no shape of its output is known: its
    parameters are counted only.
    """

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
    if isinstance(model.network, Outside):
        return list(_counted(model.network.module))
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


def multiplications(model: Classifier, image_shape: ImageShape) -> int:
    """The products that one image's forward pass takes in convolutions and dense layers.

    A weight of a layer is multiplied once at every place of its output: biases and elementwise
    work are counted as products of one place, and make little of it. Of a network from outside the
    products are those that its program says.
    """
    if not isinstance(model.network, Outside):
        rows = count_parameters(model, image_shape)
        return sum(row.count * math.prod(row.output_shape[:-1]) for row in rows)
    graph, state = nnx.split(model)
    program = jax.make_jaxpr(lambda state, images: nnx.merge(graph, state)(images))(
        state, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    )
    return _products(program.jaxpr)


def _products(program: Any) -> int:
    """Of all products and convolutions of a program, those inside of others too."""
    total = 0
    for equation in program.eqns:
        out = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += out * math.prod(shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            filters = equation.params["dimension_numbers"].rhs_spec[0]
            kernel = equation.invars[1].aval.shape
            total += out * math.prod(kernel) // kernel[filters]
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_program_in):
            if (inner := _program_in(value)) is not None:
                total += _products(inner)
    return total


def _program_in(value: Any) -> Any:
    """The program that a parameter of an equation is, or holds."""
    inner = getattr(value, "jaxpr", value)
    return inner if hasattr(inner, "eqns") else None


def _counted(module: nnx.Module) -> Iterator[ParameterRow]:
    """The modules that hold parameters themselves, in the order of their names."""
    for path, node in nnx.iter_graph(module):
        if not isinstance(node, nnx.Module):
            continue
        own = [value for value in vars(node).values() if isinstance(value, nnx.Param)]
        if count := sum(math.prod(value.shape) for value in own):
            name = ".".join(map(str, path)) or type(node).__name__
            yield ParameterRow(name, type(node).__name__, (), "", count, count)


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
