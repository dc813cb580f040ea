"""The page of a run or a sweep that is under way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_jax.analysis.figures import to_svg
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.report.charts import learning_curves

REFRESH_SECONDS = 2
STILL = "still"
"""The query of the address at which the page does not ask for itself again."""


class Row(NamedTuple):
    """Where one network is: its name, epochs done, last loss and accuracy, and state in words."""

    name: str
    epochs: int
    loss: float
    accuracy: float
    state: str


class Progress(NamedTuple):
    """How far a run or a sweep is.

    Attributes:
        name: of it.
        folder: where its files are.
        done: epochs, of all its networks.
        total: likewise, if none ends early.
        seconds_left: of training, at the pace so far; None where there is none.
        split: what the accuracies are of.
        rows: the networks of a sweep, or the epochs of a run.
        history: of a run, as `learning_curves` takes it; empty of a sweep.
    """

    name: str
    folder: str
    done: int
    total: int
    seconds_left: float | None
    split: str
    rows: Sequence[Row]
    history: Sequence[Mapping[str, float]] = ()

    @property
    def share(self) -> float:
        """Of the epochs, in [0, 1]."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


def render_progress(progress: Progress, still: bool = False) -> str:
    """The page, which asks for itself again after `REFRESH_SECONDS` unless it is to be still."""
    curves = to_svg(learning_curves(progress.history), "learning") if progress.history else ""
    template = page_template("progress.html")
    every = None if still else REFRESH_SECONDS
    return template.render(progress=progress, curves=curves, every=every, still=STILL)
