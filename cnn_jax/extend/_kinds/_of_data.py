"""Functions that images come from, and that change them."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.data.arrays import as_dataset
from cnn_jax.data.registry import DATASETS, MULTI_LABEL
from cnn_jax.errors import UsageError
from cnn_jax.extend._kinds._decorator import Members, decorator, require_positional, with_numbers
from cnn_jax.extend._registry import ExtensionError, name_of, register
from cnn_jax.extend._trials import attempt, reason, require_finite, require_shape
from cnn_jax.ops import OneOf
from cnn_jax.ops.augment import AUGMENTATIONS, Augmentation
from cnn_jax.ops.hyperparameters import Whole, annotations, is_number, keyword_arguments


@decorator
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
        require_positional(function, 0, "()")

    register(
        "dataset",
        function,
        name,
        [(DATASETS, load), (Members(MULTI_LABEL), multi_label)],
        DATASETS.__contains__,
        check,
    )


@decorator
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
        require_positional(
            function, 3 if batch else 2, f"(key, image{'s, targets' if batch else ''})"
        )
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
            call = partial(with_numbers, partial(function, **static))
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
    register(
        "augmentation", function, name, [(AUGMENTATIONS, item)], AUGMENTATIONS.__contains__, check
    )
