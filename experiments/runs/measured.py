"""What `experiments.evaluate` measures on, and what it makes of it for people and programs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnn_jax import data


class Subject(NamedTuple):
    """What is evaluated on.

    Attributes:
        name: of the data set and the split.
        slug: likewise, as part of a file's name.
        examples: the split.
        notes: what a reader should know of it.
    """

    name: str
    slug: str
    examples: data.Split
    notes: list[str]


class Measured(NamedTuple):
    """The results.

    Attributes:
        numbers: all of them, as what JSON can hold.
        headline: the accuracy with its interval, for the terminal.
        print_tables: prints the others.
        render: the page, given facts to say beside the numbers by their heading.
    """

    numbers: dict[str, Any]
    headline: str
    print_tables: Callable[[Console], None]
    render: Callable[[dict[str, str]], str]


def table(first: str, *others: str) -> Table:
    """An empty table for the terminal; all columns but the first hold numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column(first)
    for heading in others:
        made.add_column(Text(heading), justify="right")
    return made
