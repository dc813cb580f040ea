"""The page that leads to the other pages of a run, or of all runs of a folder."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn_jax.analysis.pages import page_template

INDEX_FILE = "index.html"


class Listed(NamedTuple):
    """A run or a sweep.

    Attributes:
        name: of it.
        data: the name of its data set.
        model: of its network.
        accuracy: on the test split, in [0, 1], of a sweep its best row's mean; None where there is
            none (yet).
        rows: those of a sweep; 0 of a run.
        started: when.
        pages: the name and the address of each, relative to the index.
    """

    name: str
    data: str
    model: str
    accuracy: float | None
    rows: int
    started: str
    pages: Sequence[tuple[str, str]]


def render_index(
    title: str, entries: Sequence[Listed], commands: Sequence[tuple[str, str]] = ()
) -> str:
    """The page; its links lead to files beside it.

    Args:
        title: its heading.
        entries: runs and sweeps, in the order shown.
        commands: what can be done next, in words and as a shell takes it.
    """
    template = page_template("index.html")
    return template.render(title=title, entries=entries, commands=commands)


def with_way_back(page: str) -> str:
    """A page of a run, with a link to the index beside it."""
    link = f'<p class="note"><a href="{INDEX_FILE}">All pages of this run</a></p>'
    return page.replace("</header>", f"{link}\n</header>", 1)
