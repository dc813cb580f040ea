"""What is the same for every kind: how it is used, what it fills, how it is called."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from cnn_jax.extend._registry import EXTENSIONS, ExtensionError, name_of

Function = TypeVar("Function", bound=Callable[..., Any])


class Members:
    """A set of names as a table, in which a name stands or does not."""

    def __init__(self, names: set[str]):
        self._names = names

    def __setitem__(self, name: str, there: bool) -> None:
        (self._names.add if there else self._names.discard)(name)

    def pop(self, name: str, default: Any = None) -> None:
        """Takes a name out."""
        self._names.discard(name)


def decorator(put: Callable[..., None]) -> Callable[..., Any]:
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


def require_positional(function: Callable[..., Any], count: int, what: str) -> None:
    """Refuses a function that cannot be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        raise ExtensionError(f"it is called as {what}: {error}") from error


def with_numbers(function: Callable[..., Any], *arguments: Any) -> Any:
    """Of a function whose hyperparameters come last, in a dict."""
    *given, numbers = arguments
    return function(*given, **numbers)
