"""Values of arguments: numbers, switches, lists and paths, and the error that names an argument."""

import contextlib
import operator
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import MOST_SEEDS

SEEDS = frozenset({"seed", "init_seed", "split_seed"})


class ArgumentError(UsageError):
    """An argument that cannot be, by its name, and what would be right."""


def whole(name: str, value: Any, low: int = 1) -> int:
    """A whole number.

    Raises:
        ArgumentError: if it is none, or too small or large.
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ArgumentError(f"{name} must be a whole number, got {value!r}")
    if number < low:
        raise ArgumentError(f"{name} must be {'positive' if low else '0 or more'}, got {value!r}")
    if name in SEEDS and number >= MOST_SEEDS:
        raise ArgumentError(f"{name} must be at most {MOST_SEEDS - 1:,}, got {number:,}")
    return number


def switch(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        ArgumentError: if it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def number(name: str, value: Any) -> float:
    """A number.

    Raises:
        ArgumentError: if it is none.
    """
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, str | bool | np.bool_) and not np.ndim(value):
            return float(value)
    raise ArgumentError(f"{name} must be a number, got {value!r}")


def list_of(name: str, value: Any) -> Any:
    """A list, also as a text with commas between or as its only whole number.

    Raises:
        ArgumentError: if it is none.
    """
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, int | np.integer):
        return [value]
    if not isinstance(value, list | tuple | range | np.ndarray | jax.Array):
        raise ArgumentError(f"{name} must be a list, got {value!r}")
    return list(value)


def path_of(name: str, value: Any) -> Path:
    """An argument that is a path, where ~ is the user's own folder.

    Raises:
        ArgumentError: if it is none.
    """
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ArgumentError(f"{name} must be a path, got {value!r}")
    return Path(os.path.expanduser(value))
