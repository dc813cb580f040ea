"""Trials of functions from outside: traced, shapes compared, values and gradients looked at."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cnn_jax import compilation
from cnn_jax.extend._registry import ExtensionError
from cnn_jax.ops.hyperparameters import declared

_UNTRACED = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.UnexpectedTracerError,
)


def reason(error: BaseException) -> str:
    """What went wrong inside of a function, in one line."""
    text = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())
    if isinstance(error, _UNTRACED):
        return (
            "cannot be traced by JAX, because it asks for the value of an array; use jax.numpy, "
            f"and jnp.where in the place of if ({type(error).__name__})"
        )
    return f"{type(error).__name__}: {text}"


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns as part of a compiled program.

    Raises:
        ExtensionError: with the reason why it cannot be called so.
    """
    try:
        return jax.device_get(compilation.jit(function)(*arguments))
    except Exception as error:
        raise ExtensionError(reason(error)) from error


def defaults(function: Callable[..., Any]) -> dict[str, Array]:
    """The hyperparameters of a function, as a run gives them: arrays that are traced."""
    return {name: jnp.float32(item.default) for name, item in declared(function).items()}


def require_shape(what: str, found: Any, shape: tuple[int, ...]) -> None:
    """Refuses what is no floating-point array of a shape.

    Raises:
        ExtensionError: saying what it is.
    """
    if not hasattr(found, "shape") or not hasattr(found, "dtype"):
        raise ExtensionError(f"{what} is {type(found).__name__}, expected an array")
    if found.shape != shape:
        raise ExtensionError(f"{what} has shape {found.shape}, expected {shape}")
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ExtensionError(f"{what} is of {found.dtype}, expected floating-point numbers")


def require_finite(what: str, found: Any) -> None:
    """Refuses NaN and infinity.

    Raises:
        ExtensionError: saying of what.
    """
    for leaf in jax.tree.leaves(found):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
            raise ExtensionError(f"{what} is not finite")


def differentiate(
    function: Callable[..., Any], what: str, shape: tuple[int, ...], *arguments: Any
) -> None:
    """Calls a function of arrays and asks for its gradient by the first of them.

    Raises:
        ExtensionError: if it cannot be called or differentiated in a compiled program, returns
            another shape, or values or gradients are not finite.
    """

    def both(*arguments: Any) -> tuple[Array, Array]:
        value, back = jax.vjp(lambda first: function(first, *arguments[1:]), arguments[0])
        return value, back(jnp.ones_like(value))[0]

    value = attempt(function, *arguments)
    require_shape(what, value, shape)
    require_finite(f"{what} at ordinary inputs", value)
    require_finite("its gradient at ordinary inputs", attempt(both, *arguments)[1])
