"""What was registered from outside, and what a name and its numbers may be."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from cnn_jax.errors import UsageError
from cnn_jax.models import MODELS, Architecture
from cnn_jax.ops.hyperparameters import declared, is_number, keyword_arguments
from cnn_jax.training import Config, known_hyperparameters
from cnn_jax.training.step import skeleton

# What stands for itself where a function is written down.
PLAIN = (bool, int, float, str, bytes, type(None))
# Words that mean something else where names are given.
_RESERVED = frozenset({"none", "help"})
# What a hyperparameter cannot be called: the choices of a run, and those of its data.
_CHOICES = frozenset(
    {field.name for kind in (Architecture, Config) for field in fields(kind)}
    | {"dataset", "data_dir", "download", "image_size", "train_examples", "validation_fraction"}
    | {"split_seed", "seed", "workdir", "resume", "extend", "run", "resize", "on_error", "labels"}
    | {"class_pattern", "init_seed", "init_from", "keep_epoch", "patience"}
    | {"learning_rate", "dropout_rate"}
)


class ExtensionError(UsageError):
    """What is wrong with something registered from outside: file, kind, name and reason."""


class Extension(NamedTuple):
    """Something registered from outside.

    Attributes:
        kind: "activation", "loss", ...
        name: by which it is chosen.
        function: as it was given.
        file: the name of the file that registered it, or None: from Python.
        remove: takes it back.
        options: with which it was registered.
    """

    kind: str
    name: str
    function: Callable[..., Any]
    file: str | None
    remove: Callable[[], None]
    options: Mapping[str, Any] = {}


EXTENSIONS: dict[tuple[str, str], Extension] = {}
# The files that are being read, the innermost last.
reading: list[str] = []
# Where a file is run to see whether it can be: nothing is registered.
rehearsing: list[str] = []


def name_of(function: Callable[..., Any], name: str | None) -> str:
    """The name that was given, or the function's own."""
    return name or str(getattr(function, "__name__", ""))


def register(
    kind: str,
    function: Callable[..., Any],
    name: str | None,
    tables: Sequence[tuple[Any, Any]],
    taken: Callable[[str], bool],
    check: Callable[[], None],
    static_numbers: bool = False,
) -> None:
    """Puts a function into the registries of its kind, once it is known to work.

    Args:
        kind: of the function.
        function: as the user gave it.
        name: to choose it by; the function's own if None.
        tables: the registries, each with what stands for the function there.
        taken: whether a name is one of the kind's.
        check: tries the function; raises `ExtensionError` with the reason alone.
        static_numbers: whether its numbers shape a network, and so are no hyperparameters.

    Raises:
        ExtensionError: naming file, kind, function and reason.
    """
    if rehearsing:
        return
    name = name_of(function, name)
    file = reading[-1] if reading else None
    before = EXTENSIONS.get((kind, name))
    try:
        _check_name(name, taken, before, file)
        _check_numbers(function, static_numbers)
        check()
    except ExtensionError as error:
        raise ExtensionError(f"{_label(kind, name, file)}: {error}") from error.__cause__
    if before is not None:
        before.remove()
    for table, item in tables:
        table[name] = item

    def remove() -> None:
        for table, _ in tables:
            table.pop(name, None)
        EXTENSIONS.pop((kind, name), None)
        skeleton.cache_clear()

    EXTENSIONS[kind, name] = Extension(kind, name, function, file, remove)
    try:
        if not static_numbers:
            known_hyperparameters()
    except ValueError as error:
        remove()
        raise ExtensionError(
            f"{_label(kind, name, file)}: {error}; rename the number, or leave its annotation out"
        ) from None


def _label(kind: str, name: str, file: str | None) -> str:
    return f"{file + ': ' if file else ''}{kind} {name or '(without a name)'}"


def _check_name(
    name: str, taken: Callable[[str], bool], before: Extension | None, file: str | None
) -> None:
    if not re.fullmatch(r"[A-Za-z]\w*", name) or name in _RESERVED:
        raise ExtensionError(
            "its name must be letters, digits and underscores, and none of none and help; give it "
            "one by def, or name='...' where it is registered"
        )
    if before is None and taken(name):
        raise ExtensionError("its name is taken by one of cnn_jax's own; give it another")
    if before is not None and before.file != file:
        raise ExtensionError(
            f"its name is taken by that of {before.file or 'this session'}; give it another"
        )


def _check_numbers(function: Callable[..., Any], static: bool) -> None:
    try:
        found = keyword_arguments(function)
    except (TypeError, ValueError, NameError) as error:
        raise ExtensionError(f"its arguments cannot be read: {error}") from error
    for name, item in declared(function).items():
        try:
            possible = item.default in item.interval
        except (ValueError, IndexError) as error:
            text = item.interval.text
            raise ExtensionError(
                f"the interval {text!r} of its number {name} is none; write it as '[0, 1)'"
            ) from error
        if not possible:
            raise ExtensionError(
                f"its number {name}={item.default:g} is by default not {item.interval}"
            )
    shaping = {name for model in MODELS.values() for name, _ in model.numbers}
    for name in found:
        if name in _CHOICES or name in (known_hyperparameters() if static else shaping):
            raise ExtensionError(
                f"its number {name} has the name of another choice of a run; rename it"
            )


def require_numbers(function: Callable[..., Any]) -> None:
    """Refuses keyword-only arguments that are no numbers.

    Raises:
        ExtensionError: naming the first.
    """
    for name, parameter in keyword_arguments(function).items():
        if not is_number(parameter.default):
            raise ExtensionError(
                f"its keyword {name}={parameter.default!r} is no number; only numbers can be "
                "hyperparameters, so fix the others inside"
            )


def stands(extension: Extension) -> bool:
    """Whether a name still is that of the function that was registered by it.

    One that is defined again as it was, as when a cell of a notebook is run twice, is the same.
    """
    now = EXTENSIONS.get((extension.kind, extension.name))
    return now is not None and _alike(now.function, extension.function)


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, PLAIN):
        return type(one) is type(other) and one == other
    one, other = inspect.unwrap(one), inspect.unwrap(other)
    if not (inspect.isfunction(one) and inspect.isfunction(other)):
        return False
    held = [[cell.cell_contents for cell in each.__closure__ or ()] for each in (one, other)]
    defaults = [repr((each.__defaults__, each.__kwdefaults__)) for each in (one, other)]
    # The same code has as many cells.
    return one.__code__ == other.__code__ and defaults[0] == defaults[1] and all(map(_alike, *held))
