"""The table of a comparison, as a notebook shows it and as text."""

import html
import re
from dataclasses import dataclass
from typing import Any

from cnn_jax.api._values import ArgumentError


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a comparison: shows as a table in a notebook, and prints as one.

    Attributes:
        rows: a mapping for each row, by column.
        markdown: all of it as text.
    """

    rows: list[dict[str, Any]]
    markdown: str

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            ArgumentError: if there is no pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ArgumentError("there is no pandas here; pip install pandas") from error
        return pandas.DataFrame(self.rows)

    def __str__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return "".join(map(_part, self.markdown.strip().split("\n\n")))


def _part(text: str) -> str:
    """A table or a paragraph of Markdown as HTML."""
    if not text.startswith("|"):
        return f"<p>{_inline(text)}</p>"
    # A bar that is escaped is none.
    cells = [re.split(r"(?<!\\)\|", line[1:-1]) for line in text.splitlines()]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in cells[0])
    rows = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in cells[2:])
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _inline(text: str) -> str:
    """Words of the Markdown that `markdown_table` writes as HTML."""
    words = re.sub(r"(?<!\\)\*\*(.*?)(?<!\\)\*\*", "\0\\1\1", text.strip())
    words = re.sub(r"<sup>(.*?)</sup>", "\2\\1\3", words)
    words = html.escape(re.sub(r"\\(.)", r"\1", words))
    tags = {"\0": "<b>", "\1": "</b>", "\2": "<sup>", "\3": "</sup>"}
    return "".join(tags.get(letter, letter) for letter in words)
