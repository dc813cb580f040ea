"""What all HTML pages share: their templates, and how they write numbers."""

import itertools
import math
import shlex
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from cnn_jax.analysis import figures

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


def page_template(name: str) -> "Template":
    """The Jinja2 template of a page, with the colors and the number formats of all pages.

    Args:
        name: of a file beside this one.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "decimal": _decimal, "duration": duration}
    environment.filters["repeating"] = repeating
    environment.globals["colors"] = {
        "right": figures.RIGHT,
        "wrong": figures.WRONG,
        "ink": figures.INK,
        "faint": figures.FAINT,
    }
    environment.globals["script"] = _script
    # What scripts are given has an order of its own.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.get_template(name)


def _read(name: str) -> str:
    return resources.files("cnn_jax.analysis").joinpath(name).read_text(encoding="utf-8")


def _script(name: str) -> "Markup":
    """A file of JavaScript beside this one, as it stands between script tags."""
    from markupsafe import Markup

    text = _read(name)
    assert "</script" not in text, f"{name} would end the script that it is in"
    return Markup(text)


def repeating(flags: str, environment: Mapping[str, str]) -> str:
    """The command that repeats a run into a new folder, as a shell takes it; "" from Python.

    Args:
        flags: the flagfile of the run.
        environment: with the command that started it.
    """
    words = shlex.split(environment.get("command", ""))
    program = list(itertools.takewhile(lambda word: not word.startswith("--"), words))
    given = [line for line in flags.splitlines() if line.startswith("--")]
    runs = program[:1] == ["cnn_jax"] or program[1:2] == ["-m"]
    return shlex.join([*program, *given]) if runs else ""


def _percent(fraction: float, digits: int = 2) -> str:
    return f"{fraction:.{digits}%}" if math.isfinite(fraction) else "–"


def _decimal(value: float, digits: int = 4) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "not finite"


def duration(seconds: float) -> str:
    """Seconds as a reader says them: "1 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
