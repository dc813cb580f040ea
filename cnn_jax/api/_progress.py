"""A bar of progress in a terminal or a notebook, and none where nobody looks."""

import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# `(share that is done, what goes on)`.
Show = Callable[[float, str], None]


@contextmanager
def progress_bar(wanted: bool) -> Iterator[Show]:
    """A function that moves a bar, which is gone at the end.

    Args:
        wanted: whether anything is shown.
    """
    console = Console()
    if wanted and console.is_jupyter:
        with _in_notebook() as show:
            yield show
        return
    columns = BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    disable = not (wanted and console.is_terminal)
    with Progress(*columns, console=console, disable=disable, transient=True) as progress:
        bar = progress.add_task("", total=1.0)
        yield lambda share, text: progress.update(bar, completed=share, description=text)


def say_in_notebook(wanted: bool) -> Callable[[str], None]:
    """A function that prints a line in a notebook, and does nothing elsewhere."""
    return print if wanted and Console().is_jupyter else lambda line: None


@contextmanager
def _in_notebook() -> Iterator[Show]:
    """By the notebook's own means: rich would ask for ipywidgets."""
    from IPython.display import HTML, display

    place: Any = display(HTML(""), display_id=True)

    def show(share: float, text: str) -> None:
        place.update(HTML(f"<progress value={share:.4f}></progress> {html.escape(text)}"))

    try:
        yield show
    finally:
        place.update(HTML(""))
