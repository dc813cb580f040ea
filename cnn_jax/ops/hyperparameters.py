"""Hyperparameters: numbers of a function that may be traced, declared where the function stands.

    def cosine(t, *, final_fraction: Annotated[Number, Interval("[0, 1]"), "of the peak"] = 0.0)

says default, range and help of `final_fraction` once; whatever checks, lists, documents or sweeps
it reads them from there with `declared`.
"""

import inspect
import math
from collections.abc import Callable
from ctypes import c_float
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin

from jaxtyping import Array, Float

# Plain, or traced so that one compiled program sweeps over it.
Number = float | Float[Array, ""]


@dataclass(frozen=True)
class Interval:
    """The numbers that a hyperparameter may be.

    Attributes:
        text: as mathematics writes it: "[0, 1)" holds 0 and not 1. No interval holds infinity, or
            what numbers of 32 bits, with which is computed, round to it or to an end left out.
    """

    text: str = "(-inf, inf)"

    @cached_property
    def low(self) -> float:
        """The lower bound."""
        return float(self.text[1:-1].split(",")[0])

    @cached_property
    def high(self) -> float:
        """The upper bound."""
        return float(self.text[1:-1].split(",")[1])

    def __contains__(self, value: float) -> bool:
        numbers = (value, self.low, self.high)
        computed = (c_float(number).value for number in numbers)
        return self._holds(*numbers) and self._holds(*computed)

    def _holds(self, value: float, low: float, high: float) -> bool:
        above = value >= low if self.text[0] == "[" else value > low
        below = value <= high if self.text[-1] == "]" else value < high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        return f"a number in {self.text}"


@dataclass(frozen=True)
class Whole:
    """The whole numbers that an argument may be, both ends included; it is static."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class OneOf:
    """The words that an argument may be; it is static."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(self.words)


@dataclass(frozen=True)
class Hyperparameter:
    """What is known of a number that a function reads.

    Attributes:
        default: its value where none is chosen.
        interval: the values that it may have.
        help: what it does, in one line.
    """

    default: float
    interval: Interval = Interval()
    help: str = ""


def keyword_arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a function that have a default, in their order."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }


def annotations(parameter: inspect.Parameter, kind: Any) -> list[Any]:
    """What `Annotated` says of an argument beside its type, of one kind of object."""
    if get_origin(parameter.annotation) is not Annotated:
        return []
    return [item for item in get_args(parameter.annotation)[1:] if isinstance(item, kind)]


def declared(function: Callable[..., Any]) -> dict[str, Hyperparameter]:
    """The hyperparameters of a function: its keyword-only numbers that have a default.

    Args:
        function: any. A number without an `Interval` in its annotation may be any finite one.

    Returns:
        By name, in the order of the arguments.
    """
    return {
        name: Hyperparameter(
            parameter.default,
            *(annotations(parameter, Interval) or [Interval()])[:1],
            *annotations(parameter, str)[:1],
        )
        for name, parameter in keyword_arguments(function).items()
        if is_number(parameter.default)
    }


def is_number(value: object) -> bool:
    """Whether a default is one of a hyperparameter, and no word, switch or array."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_by(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Those of the values that a function has a keyword-only argument for."""
    return {name: values[name] for name in keyword_arguments(function) if name in values}
