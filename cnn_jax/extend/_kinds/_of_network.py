"""Functions that a network is made of, and networks."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from cnn_jax.errors import UsageError
from cnn_jax.extend._kinds._decorator import decorator, require_positional, with_numbers
from cnn_jax.extend._registry import ExtensionError, name_of, register, require_numbers
from cnn_jax.extend._trials import attempt, defaults, differentiate, reason
from cnn_jax.models import MODELS, NORMALIZATIONS, Model
from cnn_jax.ops import ACTIVATIONS, PARAMETRIC_ACTIVATIONS, POOLINGS, ParametricActivation
from cnn_jax.ops.hyperparameters import is_number, keyword_arguments


@decorator
def activation(
    function: Callable[..., Array], *, name: str | None = None, initial: float | None = None
) -> None:
    """Registers an activation: `(x) -> y` of the same shape, elementwise or over the last axis.

    Args:
        function: `(x, *, numbers)`; or with `initial`, `(x, parameter, *, numbers)`.
        name: to choose it by; the function's own if not given.
        initial: the value from which a learned parameter starts, one for each layer.
    """

    def check() -> None:
        require_numbers(function)
        count = 1 if initial is None else 2
        called = "(x)" if initial is None else "(x, parameter)"
        hint = "; for a learned parameter give initial=..." if initial is None else ""
        require_positional(function, count, called + hint)
        numbers, learned = defaults(function), () if initial is None else (jnp.float32(initial),)
        if learned:
            learn = partial(_of_parameter, function)
            shape = _features().shape
            differentiate(learn, "its result", shape, *learned, _features(), numbers)
        for x in (_features(), _features()[:, 0, 0]):
            call = partial(with_numbers, function)
            differentiate(call, "its result", x.shape, x, *learned, numbers)

    item = function if initial is None else ParametricActivation(function, float(initial))
    table = ACTIVATIONS if initial is None else PARAMETRIC_ACTIVATIONS
    taken = {*ACTIVATIONS, *PARAMETRIC_ACTIVATIONS}.__contains__
    register("activation", function, name, [(table, item)], taken, check)


def _of_parameter(function: Callable[..., Any], parameter: Array, x: Array, numbers: dict) -> Any:
    return function(x, parameter, **numbers)


def _features() -> Array:
    """Ordinary inputs of a layer, zero among them."""
    return jnp.linspace(-4, 4, 2 * 3 * 3 * 4 + 1).at[:-1].get().reshape(2, 3, 3, 4).at[0, 0].set(0)


@decorator
def normalization(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a normalization: `(feature maps n h w c, *, numbers) -> the same shape`.

    A learned scale and bias for each channel follow it, as with the built-in ones.

    Args:
        function: that treats every image by itself: it is the same in training and in use.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        require_positional(function, 1, "(x)")
        x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (4, 5, 5, 8)), jnp.float32)
        call = partial(with_numbers, function)
        differentiate(call, "its result", x.shape, x, defaults(function))
        alone = attempt(call, x[:1], defaults(function))
        together = attempt(call, x, defaults(function))
        if not np.allclose(alone, together[:1], atol=1e-4):
            raise ExtensionError(
                "it mixes the images of a batch, so it would give another answer in use; treat "
                "every image by itself"
            )

    register(
        "normalization",
        function,
        name,
        [(NORMALIZATIONS, function)],
        NORMALIZATIONS.__contains__,
        check,
    )


@decorator
def pooling(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a pooling: `(feature maps n h w c, window, *, numbers) -> n h/w w/w c`.

    Args:
        function: over windows that do not overlap: of one size, or of a height and a width; rows
            and columns that fill no window are left out.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        require_positional(function, 2, "(x, window)")
        rng = np.random.default_rng(0)
        for window, size, left in (
            (2, (4, 6), (2, 3)),
            (2, (5, 5), (2, 2)),
            ((2, 3), (4, 6), (2, 2)),
        ):
            x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
            call = partial(_over, function, window)
            what = f"its result for {size[0]}x{size[1]} maps and window {window}"
            differentiate(call, what, (2, *left, 3), x, defaults(function))

    register("pooling", function, name, [(POOLINGS, function)], POOLINGS.__contains__, check)


def _over(function: Callable[..., Any], window: Any, x: Array, numbers: dict) -> Any:
    return function(x, window, **numbers)


@decorator
def network(function: Callable[..., Any], *, name: str | None = None) -> None:
    """Registers a network: `(image_shape, num_classes, rngs, *, numbers) -> nnx.Module`.

    The module is called on images `n h w c` and returns logits `n c`; where its call has an
    argument `train`, `deterministic` or `rngs`, it gets these. Its keyword-only numbers are static
    (each value is a program of its own). With a first argument more, `(architecture, image_shape,
    num_classes, rngs)`, it may read `architecture.activation` and the like, and returns named
    layers, `dict[str, nnx.Module]`, which the parameter table and the explanations know one by one.

    Args:
        function: that builds it.
        name: to choose it by; the function's own if not given.
    """
    named = name_of(function, name)
    if inspect.isclass(function):
        raise ExtensionError(
            f"network {named} is a class; give a function that builds one: "
            f"(image_shape, num_classes, rngs) -> {named}"
        )
    layered = _layered(function)
    numbers = {} if layered else _static_numbers(function)

    def build(*arguments: Any, **given: Any) -> Any:
        typed = {key: type(numbers[key])(value) for key, value in given.items()}
        shape = arguments[-3]
        try:
            made = function(*arguments, **typed)
        except UsageError:
            raise
        except Exception as error:
            size = "x".join(map(str, shape))
            raise UsageError(
                f"network {named} cannot be built for images of {size}: {reason(error)}"
            ) from error
        if layered and not isinstance(made, dict):
            raise UsageError(f"network {named} returns {type(made).__name__}, expected layers")
        for key in made if isinstance(made, dict) else ():
            if not (isinstance(key, str) and key.isidentifier()):
                raise UsageError(
                    f"network {named} has a layer {key!r}, expected a name: letters, digits and _"
                )
        if not isinstance(made, dict | nnx.Module):
            raise UsageError(
                f"network {named} returns {type(made).__name__}, expected an nnx.Module"
            )
        return made

    def check() -> None:
        if not layered:
            require_numbers(function)
        require_positional(function, 4 if layered else 3, "(image_shape, num_classes, rngs)")

    item = Model(build, whole=not layered, outside=True, numbers=tuple(numbers.items()))
    register(
        "network", function, name, [(MODELS, item)], MODELS.__contains__, check, static_numbers=True
    )


def _layered(function: Callable[..., Any]) -> bool:
    try:
        return next(iter(inspect.signature(function).parameters), "") == "architecture"
    except (TypeError, ValueError):
        return False


def _static_numbers(function: Callable[..., Any]) -> dict[str, float]:
    try:
        found = keyword_arguments(function)
    except (TypeError, ValueError, NameError):
        return {}
    return {name: item.default for name, item in found.items() if is_number(item.default)}
