"""Functions that a network is trained by: what is minimized, and how parameters move."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from cnn_jax.extend._kinds._decorator import Members, decorator, require_positional, with_numbers
from cnn_jax.extend._registry import ExtensionError, register, require_numbers
from cnn_jax.extend._trials import (
    attempt,
    defaults,
    differentiate,
    reason,
    require_finite,
    require_shape,
)
from cnn_jax.ops import CALIBRATED, LOSS_OUTPUT, LOSSES, OUTPUT_ACTIVATIONS, PER_LABEL
from cnn_jax.ops.hyperparameters import is_number
from cnn_jax.training import OPTIMIZERS, SCHEDULES
from cnn_jax.training.optimizers import Optimizer


@decorator
def loss(
    function: Callable[..., Array],
    *,
    name: str | None = None,
    per_label: bool = False,
    calibrated: bool = False,
    output: str = "softmax",
) -> None:
    """Registers a loss: `(logits, targets, *, numbers) -> one value per example`.

    Args:
        function: of logits `n c` and integer labels `n`; augmentations that mix examples ask for
            soft targets `n c` too.
        name: to choose it by; the function's own if not given.
        per_label: whether it asks of each output by itself, and so takes multi-hot targets `n c`:
            for images with several labels.
        calibrated: whether its minimum is at the true probabilities, so that the outputs may be
            read as such.
        output: "softmax" or "sigmoid": what turns logits into the probabilities to report.
    """

    def check() -> None:
        require_numbers(function)
        require_positional(function, 2, "(logits, targets)")
        if output not in OUTPUT_ACTIVATIONS:
            known = " or ".join(OUTPUT_ACTIVATIONS)
            raise ExtensionError(f"output={output!r} is not one of {known}")
        logits = jnp.asarray(np.random.default_rng(0).normal(0, 2, (5, 3)), jnp.float32)
        hot = jnp.asarray([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], jnp.float32)
        targets = [jnp.arange(5) % 3, *([hot] if per_label else [])]
        for target in targets:
            call = partial(with_numbers, function)
            differentiate(call, "its result", (5,), logits, target, defaults(function))

    tables = [
        (LOSSES, function),
        (LOSS_OUTPUT, output),
        (Members(PER_LABEL), per_label),
        (Members(CALIBRATED), calibrated),
    ]
    register("loss", function, name, tables, LOSSES.__contains__, check)


@decorator
def schedule(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a learning-rate schedule: `(t, *, numbers) -> factor`, t from 0 to 1.

    Args:
        function: of the progress of training.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        require_positional(function, 1, "(t)")
        for t in (0.0, 0.5, 1.0):
            found = attempt(partial(with_numbers, function), jnp.float32(t), defaults(function))
            require_shape(f"its factor at t={t:g}", np.asarray(found), ())
            require_finite(f"its factor at t={t:g}", np.asarray(found))

    register("schedule", function, name, [(SCHEDULES, function)], SCHEDULES.__contains__, check)


@decorator
def optimizer(
    function: Callable[..., optax.GradientTransformation],
    *,
    name: str | None = None,
    learning_rate: float | None = None,
) -> None:
    """Registers an optimizer: `(learning_rate, *, numbers) -> optax.GradientTransformation`.

    It is built anew in every step, from that step's learning rate and the hyperparameters, all of
    them traced; so it must not ask for their values, and its state must hold arrays only.

    Args:
        function: that builds it.
        name: to choose it by; the function's own if not given.
        learning_rate: the peak where none is chosen; the default of the function's first argument
            if not given, or else 0.001.
    """
    peak = learning_rate
    if peak is None:
        first = next(iter(inspect.signature(function).parameters.values()), None)
        peak = first.default if first is not None and is_number(first.default) else 1e-3

    def check() -> None:
        require_positional(function, 1, "(learning_rate)")
        if not 0 < peak < float("inf"):
            raise ExtensionError(f"its learning_rate must be positive, got {peak:g}")
        params = {"kernel": jnp.ones((3, 3, 2, 4)), "dense": jnp.ones((4, 3)), "bias": jnp.ones(3)}
        params = jax.tree.map(lambda leaf: leaf * 0.3, params)

        def start(params: Any, rate: Array, numbers: Any) -> Any:
            return function(rate, **numbers).init(params)

        def move(params: Any, state: Any, rate: Array, numbers: Any) -> Any:
            grads = jax.tree.map(jnp.sin, params)
            moves, state = function(rate, **numbers).update(grads, state, params)
            return optax.apply_updates(params, moves), state

        rate, numbers = jnp.float32(1e-3), defaults(function)
        made = _built(function)
        if not (hasattr(made, "init") and hasattr(made, "update")):
            kind = type(made).__name__
            raise ExtensionError(f"it returns {kind}, expected an optax.GradientTransformation")
        before = attempt(start, params, rate, numbers)
        for _ in range(2):
            params, after = attempt(move, params, before, rate, numbers)
            if str(jax.tree.structure(before)) != str(jax.tree.structure(after)):
                raise ExtensionError("an update changes the structure of its state")
            before = after
        require_finite("the parameters after an update", params)

    item = Optimizer(function, float(peak))
    register("optimizer", function, name, [(OPTIMIZERS, item)], OPTIMIZERS.__contains__, check)


def _built(function: Callable[..., Any]) -> Any:
    try:
        return function(1e-3)
    except Exception as error:
        raise ExtensionError(reason(error)) from error
