"""The page that sets runs side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis.compare.paired import Paired
from cnn_jax.analysis.figures import PALETTE, empty_figure, legend, tidy, to_svg
from cnn_jax.analysis.pages import page_template
from cnn_jax.display import p_value

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
    from matplotlib.ticker import MaxNLocator

    figure = empty_figure(7.4, 2.9)
    colors = list(PALETTE.values())
    grid = figure.subplots(1, len(_CURVES))
    for axes, (panel, names) in zip(grid, _CURVES.items(), strict=True):
        tidy(axes, panel.capitalize(), "epoch", percent="y" if panel == "accuracy" else "")
        for index, run in enumerate(runs):
            look = {"color": colors[index % len(colors)], "linewidth": 1.6, "markersize": 3.5}
            for name, line in zip(names, ("o-", "s--"), strict=True):
                points = [(row["epoch"], row[name]) for row in run.history if name in row]
                label = run.name if line == "o-" else None
                axes.plot(*zip(*points, strict=True) if points else ([], []), line, label=label,
                          **look)  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
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
        p_value=p_value,
    )
