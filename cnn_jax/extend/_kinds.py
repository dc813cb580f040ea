"""A decorator for every kind of function that can be registered.

Each is used bare, with arguments, or as a call, and returns the function as it is:

    @cnn_jax.activation
    def my_wave(x, *, frequency=1.0): ...

    @cnn_jax.loss(calibrated=True)
    def my_loss(logits, targets, *, my_margin=0.5): ...

    cnn_jax.optimizer(optax.sm3, name="sm3", learning_rate=0.1)

Keyword-only numbers are hyperparameters: they have flags, help and axes of a sweep. What they may
be and mean can be said as in `Annotated[float, cnn_jax.ops.Interval("[0, 1]"), "in one line"]`.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from cnn_jax.data.arrays import as_dataset
from cnn_jax.data.registry import DATASETS, MULTI_LABEL
from cnn_jax.errors import UsageError
from cnn_jax.extend._registry import EXTENSIONS, ExtensionError, name_of, register, require_numbers
from cnn_jax.extend._trials import (
    attempt,
    defaults,
    differentiate,
    reason,
    require_finite,
    require_shape,
)
from cnn_jax.models import MODELS, NORMALIZATIONS, Model
from cnn_jax.ops import (
    ACTIVATIONS,
    CALIBRATED,
    LOSS_OUTPUT,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    PARAMETRIC_ACTIVATIONS,
    PER_LABEL,
    POOLINGS,
    OneOf,
    ParametricActivation,
)
from cnn_jax.ops.augment import AUGMENTATIONS, Augmentation
from cnn_jax.ops.hyperparameters import Whole, annotations, is_number, keyword_arguments
from cnn_jax.training import OPTIMIZERS, SCHEDULES
from cnn_jax.training.optimizers import Optimizer

Function = TypeVar("Function", bound=Callable[..., Any])


class _Members:
    """A set of names as a table, in which a name stands or does not."""

    def __init__(self, names: set[str]):
        self._names = names

    def __setitem__(self, name: str, there: bool) -> None:
        (self._names.add if there else self._names.discard)(name)

    def pop(self, name: str, default: Any = None) -> None:
        """Takes a name out."""
        self._names.discard(name)


def _decorator(put: Callable[..., None]) -> Callable[..., Any]:
    """A function that registers, as a decorator with or without arguments and as a call."""

    @wraps(put)
    def decorate(function: Function | None = None, **options: Any) -> Any:
        if function is None:
            return partial(decorate, **options)
        if not callable(function):
            kind = put.__name__
            raise ExtensionError(f"{kind}: expected a function, got {type(function).__name__}")
        put(function, **options)
        key = put.__name__, name_of(function, options.get("name"))
        if key in EXTENSIONS:
            EXTENSIONS[key] = EXTENSIONS[key]._replace(options=options)
        return function

    return decorate


def _table(*pairs: tuple[Any, Any]) -> dict[int, tuple[Any, Any]]:
    return dict(enumerate(pairs))


def _features() -> Array:
    """Ordinary inputs of a layer, zero among them."""
    return jnp.linspace(-4, 4, 2 * 3 * 3 * 4 + 1).at[:-1].get().reshape(2, 3, 3, 4).at[0, 0].set(0)


def _positional(function: Callable[..., Any], count: int, what: str) -> None:
    """Refuses a function that cannot be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        raise ExtensionError(f"it is called as {what}: {error}") from error


@_decorator
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
        _positional(function, count, called + hint)
        numbers, learned = defaults(function), () if initial is None else (jnp.float32(initial),)
        if learned:
            learn = partial(_of_parameter, function)
            shape = _features().shape
            differentiate(learn, "its result", shape, *learned, _features(), numbers)
        for x in (_features(), _features()[:, 0, 0]):
            call = partial(_with_numbers, function)
            differentiate(call, "its result", x.shape, x, *learned, numbers)

    item = function if initial is None else ParametricActivation(function, float(initial))
    table = ACTIVATIONS if initial is None else PARAMETRIC_ACTIVATIONS
    taken = {*ACTIVATIONS, *PARAMETRIC_ACTIVATIONS}.__contains__
    register("activation", function, name, _table((table, item)), taken, check)


def _with_numbers(function: Callable[..., Any], *arguments: Any) -> Any:
    """Of a function whose hyperparameters come last, in a dict."""
    *given, numbers = arguments
    return function(*given, **numbers)


def _of_parameter(function: Callable[..., Any], parameter: Array, x: Array, numbers: dict) -> Any:
    return function(x, parameter, **numbers)


@_decorator
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
        _positional(function, 2, "(logits, targets)")
        if output not in OUTPUT_ACTIVATIONS:
            known = " or ".join(OUTPUT_ACTIVATIONS)
            raise ExtensionError(f"output={output!r} is not one of {known}")
        logits = jnp.asarray(np.random.default_rng(0).normal(0, 2, (5, 3)), jnp.float32)
        hot = jnp.asarray([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], jnp.float32)
        targets = [jnp.arange(5) % 3, *([hot] if per_label else [])]
        for target in targets:
            call = partial(_with_numbers, function)
            differentiate(call, "its result", (5,), logits, target, defaults(function))

    tables = _table(
        (LOSSES, function),
        (LOSS_OUTPUT, output),
        (_Members(PER_LABEL), per_label),
        (_Members(CALIBRATED), calibrated),
    )
    register("loss", function, name, tables, LOSSES.__contains__, check)


@_decorator
def schedule(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a learning-rate schedule: `(t, *, numbers) -> factor`, t from 0 to 1.

    Args:
        function: of the progress of training.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        _positional(function, 1, "(t)")
        for t in (0.0, 0.5, 1.0):
            found = attempt(partial(_with_numbers, function), jnp.float32(t), defaults(function))
            require_shape(f"its factor at t={t:g}", np.asarray(found), ())
            require_finite(f"its factor at t={t:g}", np.asarray(found))

    table = _table((SCHEDULES, function))
    register("schedule", function, name, table, SCHEDULES.__contains__, check)


@_decorator
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

    def check() -> None:
        _positional(function, 1, "(learning_rate)")
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

    rate = learning_rate
    if rate is None:
        first = next(iter(inspect.signature(function).parameters.values()), None)
        rate = first.default if first is not None and is_number(first.default) else 1e-3
    item = Optimizer(function, float(rate))
    table = _table((OPTIMIZERS, item))
    register("optimizer", function, name, table, OPTIMIZERS.__contains__, check)


def _built(function: Callable[..., Any]) -> Any:
    try:
        return function(1e-3)
    except Exception as error:
        raise ExtensionError(reason(error)) from error


@_decorator
def augmentation(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    batch: bool = False,
    color: bool = False,
) -> None:
    """Registers an augmentation: `(key, image, *, strengths) -> image`, values in [0, 1].

    Args:
        function: of one image `h w c`; or with `batch`, `(key, images, targets) -> (images,
            targets)`, targets being soft rows.
        name: to choose it by; the function's own if not given.
        batch: whether it works on a batch and its targets.
        color: whether it needs three channels.
    """

    def check() -> None:
        _positional(function, 3 if batch else 2, f"(key, image{'s, targets' if batch else ''})")
        static: dict[str, Any] = {}
        traced: dict[str, Any] = {}
        for argument, parameter in keyword_arguments(function).items():
            word = not is_number(parameter.default)
            if word and not annotations(parameter, OneOf):
                raise ExtensionError(
                    f"its argument {argument} is no number; annotate it with cnn_jax.ops.OneOf"
                )
            fixed = word or bool(annotations(parameter, Whole))
            (static if fixed else traced)[argument] = parameter.default
        for channels in (3,) if color else (1, 3):
            images = jnp.linspace(0, 1, 4 * 8 * 8 * channels).reshape(4, 8, 8, channels)
            given = (images, jnp.eye(4)) if batch else (images[0],)
            call = partial(_with_numbers, partial(function, **static))
            key = jax.random.key(0)
            found = attempt(call, key, *given, jax.tree.map(jnp.float32, traced))
            if batch and (not isinstance(found, tuple) or len(found) != 2):
                raise ExtensionError("it must return images and targets")
            for what, value, like in zip(
                ("the image", "the targets"), found if batch else (found,), given, strict=False
            ):
                require_shape(what, value, like.shape)
                require_finite(what, value)

    text = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
    item = Augmentation(function, text or "from outside", batch=batch, color=color)
    table = _table((AUGMENTATIONS, item))
    register("augmentation", function, name, table, AUGMENTATIONS.__contains__, check)


@_decorator
def normalization(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a normalization: `(feature maps n h w c, *, numbers) -> the same shape`.

    A learned scale and bias for each channel follow it, as with the built-in ones.

    Args:
        function: that treats every image by itself: it is the same in training and in use.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        _positional(function, 1, "(x)")
        x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (4, 5, 5, 8)), jnp.float32)
        call = partial(_with_numbers, function)
        differentiate(call, "its result", x.shape, x, defaults(function))
        alone = attempt(call, x[:1], defaults(function))
        together = attempt(call, x, defaults(function))
        if not np.allclose(alone, together[:1], atol=1e-4):
            raise ExtensionError(
                "it mixes the images of a batch, so it would give another answer in use; treat "
                "every image by itself"
            )

    table = _table((NORMALIZATIONS, function))
    register("normalization", function, name, table, NORMALIZATIONS.__contains__, check)


@_decorator
def pooling(function: Callable[..., Array], *, name: str | None = None) -> None:
    """Registers a pooling: `(feature maps n h w c, window, *, numbers) -> n h/w w/w c`.

    Args:
        function: over windows that do not overlap: of one size, or of a height and a width; rows
            and columns that fill no window are left out.
        name: to choose it by; the function's own if not given.
    """

    def check() -> None:
        require_numbers(function)
        _positional(function, 2, "(x, window)")
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

    table = _table((POOLINGS, function))
    register("pooling", function, name, table, POOLINGS.__contains__, check)


def _over(function: Callable[..., Any], window: Any, x: Array, numbers: dict) -> Any:
    return function(x, window, **numbers)


@_decorator
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
        if not isinstance(made, dict | nnx.Module):
            raise UsageError(
                f"network {named} returns {type(made).__name__}, expected an nnx.Module"
            )
        return made

    def check() -> None:
        if not layered:
            require_numbers(function)
        _positional(function, 4 if layered else 3, "(image_shape, num_classes, rngs)")

    item = Model(build, whole=not layered, outside=True, numbers=tuple(numbers.items()))
    table = _table((MODELS, item))
    register("network", function, name, table, MODELS.__contains__, check, static_numbers=True)


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


@_decorator
def dataset(
    function: Callable[[], Iterable[Any]], *, name: str | None = None, multi_label: bool = False
) -> None:
    """Registers a data set: a function without arguments that returns arrays.

    Args:
        function: returns `(images, labels, class_names)`, of which a fifth, of every class its
            share, is kept for testing, or `((images, labels), (test images, test labels),
            class_names)`. Images are uint8 `n h w c` with 1 or 3 channels, labels whole numbers
            from 0.
        name: to choose it by; the function's own if not given.
        multi_label: whether an image has any number of labels; labels are then rows of zeros and
            ones.
    """
    named = name_of(function, name)

    def load(cache_dir: Any) -> Any:
        try:
            returned = function()
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"data set {named} cannot be read: {reason(error)}") from error
        found = as_dataset(named, returned)
        if found.multi_label != multi_label:
            kind = "rows of labels" if found.multi_label else "one label an image"
            raise UsageError(
                f"data set {named} returns {kind}, but was registered with "
                f"multi_label={multi_label}"
            )
        return found

    def check() -> None:
        _positional(function, 0, "()")

    tables = _table((DATASETS, load), (_Members(MULTI_LABEL), multi_label))
    register("dataset", function, name, tables, DATASETS.__contains__, check)
