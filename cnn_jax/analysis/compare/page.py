"""The page that sets runs side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis.compare.paired import Paired
from cnn_jax.analysis.figures import PALETTE, empty_figure, legend, tidy, to_svg
from cnn_jax.analysis.pages import page_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = {
    "loss": ("train_loss", "validation_loss"),
    "accuracy": ("train_accuracy", "validation_accuracy"),
}


class ComparedRun(NamedTuple):
    """What is said of one run.

    Attributes:
        name: of its folder.
        accuracy: on its test split, in [0, 1]; None where it has not ended.
        interval: the 95% interval of that.
        differing: its choices that are not the same in all runs, by name, as text.
        history: one record an epoch.
    """

    name: str
    accuracy: float | None
    interval: tuple[float, float] | None
    differing: Mapping[str, str]
    history: Sequence[Mapping[str, float]]


class Pair(NamedTuple):
    """Two runs' answers to the same test images; or why they have none in common."""

    first: str
    second: str
    paired: Paired | None


def overlaid_curves(runs: Sequence[ComparedRun]) -> "Figure":
    """Loss and accuracy of all runs against the epoch; validation is dashed."""
    figure = empty_figure(7.4, 2.9)
    colors = list(PALETTE.values())
    grid = figure.subplots(1, len(_CURVES))
    for axes, (panel, names) in zip(grid, _CURVES.items(), strict=True):
        for index, run in enumerate(runs):
            for name, line in zip(names, ("-", "--"), strict=True):
                points = [(row["epoch"], row[name]) for row in run.history if name in row]
                if points:
                    label = run.name if line == "-" else None
                    color = colors[index % len(colors)]
                    marker = "o" if len(points) == 1 else None
                    axes.plot(*zip(*points, strict=True), line, marker=marker, color=color,
                              label=label)  # fmt: skip
        axes.set_title(panel, loc="left")
        axes.set_xlabel("epoch")
        tidy(axes)
    legend(grid[0])
    return figure


def render_comparison(runs: Sequence[ComparedRun], pairs: Sequence[Pair]) -> str:
    """The page, self-contained.

    Args:
        runs: at least two.
        pairs: their answers, each pair once.
    """
    return page_template("compare/page.html").render(
        runs=runs,
        pairs=pairs,
        names=list(dict.fromkeys(name for run in runs for name in run.differing)),
        curves_svg=to_svg(overlaid_curves(runs), "curves"),
    )
