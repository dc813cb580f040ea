"""How kernels begin: draws that keep the size of what passes through, by the activation's gain."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops import ACTIVATIONS, PARAMETRIC_ACTIVATIONS, Number
from cnn_jax.ops.hyperparameters import declared

# Of a standard normal distribution that is cut off at -2 and 2.
_DEVIATION_CUT_AT_2 = 0.87962566103423978
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
# The numbers of the network that is being built.
_NUMBERS: ContextVar[Mapping[str, Number]] = ContextVar("numbers", default=MappingProxyType({}))


def gain(activation: str) -> float:
    """How much larger than for the identity the kernels before an activation must be.

    A layer keeps the mean square of what passes through it if its kernel's deviation is LeCun's
    (1 / sqrt(inputs)) times 1 / sqrt(E[f(z)^2]), z standard normal: the square root of 2 for ReLU
    (He et al. 2015), 1 for the identity, 1.6 for tanh.

    Args:
        activation: a key of `ACTIVATIONS` or `PARAMETRIC_ACTIVATIONS`, with its initial slope; its
            hyperparameters are their defaults.
    """
    with jax.ensure_compile_time_eval():
        squares = np.asarray(_values(activation, {}), float) ** 2
    return float((squares @ _WEIGHTS / _WEIGHTS.sum()) ** -0.5)


def relative_gain(activation: str, numbers: Mapping[str, Number]) -> Float[Array, ""]:
    """The gain of an activation with these hyperparameters, as a multiple of `gain`.

    Args:
        activation: as in `gain`.
        numbers: by name, perhaps traced; the activation's defaults are those of the others.

    Returns:
        Exactly 1 where all of them are the defaults.
    """
    defaults = {
        name: jnp.float32(item.default) for name, item in declared(_function(activation)).items()
    }
    given = {name: jnp.float32(numbers.get(name, value)) for name, value in defaults.items()}
    before, now = (
        jnp.square(_values(activation, each)) @ jnp.asarray(_WEIGHTS, jnp.float32)
        for each in (defaults, given)
    )
    same = jnp.stack([given[name] == defaults[name] for name in defaults]).all()
    return jnp.where(same, 1, jnp.sqrt(before / now))


@contextlib.contextmanager
def numbers_of_network(numbers: Mapping[str, Number]) -> Iterator[None]:
    """Inside, kernels begin by the gain of an activation with these hyperparameters."""
    token = _NUMBERS.set(numbers)
    try:
        yield
    finally:
        _NUMBERS.reset(token)


def _function(activation: str) -> Callable[..., Array]:
    found = PARAMETRIC_ACTIVATIONS.get(activation)
    return ACTIVATIONS[activation] if found is None else found.function


def _values(activation: str, numbers: Mapping[str, Array]) -> Float[Array, " nodes"]:
    """Of an activation, at the nodes of the integral."""
    z = jnp.asarray(_NODES, jnp.float32)
    found = PARAMETRIC_ACTIVATIONS.get(activation)
    learned = () if found is None else (jnp.float32(found.initial),)
    return _function(activation)(z, *learned, **numbers)


def _by_gain(make: Callable[[float], nnx.Initializer], activation: str) -> nnx.Initializer:
    """Begins by the gain of an activation, with the numbers of the network that is being built."""
    draw, numbers = make(gain(activation)), _NUMBERS.get()
    if not declared(_function(activation)).keys() & numbers:
        return draw
    # What draws is linear in the gain.
    return lambda *shaped: draw(*shaped) * relative_gain(activation, numbers)


def _truncated_normal(gain: float) -> nnx.Initializer:
    """Flax's `variance_scaling(gain**2, "fan_in", "truncated_normal")`.

    It closes over the deviation as an array, which can so be an argument of the compiled program:
    the networks of all activations begin by the same (`compilation.closure_converted`).
    """

    def draw(
        key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "*shape"]:
        with jax.ensure_compile_time_eval():
            variance = jnp.array(gain**2 / math.prod(shape[:-1]), dtype)
            deviation = jnp.sqrt(variance) / jnp.array(_DEVIATION_CUT_AT_2, dtype)
        return jax.random.truncated_normal(key, -2, 2, shape, dtype) * deviation

    return draw


INITIALIZATIONS: dict[str, Callable[[str], nnx.Initializer]] = {
    "auto": lambda activation: _by_gain(_truncated_normal, activation),
    "glorot": lambda activation: nnx.initializers.glorot_normal(),
    "he": lambda activation: nnx.initializers.he_normal(),
    "lecun": lambda activation: nnx.initializers.lecun_normal(),
    "orthogonal": lambda activation: _by_gain(nnx.initializers.orthogonal, activation),
}
