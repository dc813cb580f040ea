"""Figures of an ablation sweep: the means with their intervals, and the grid of two axes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_jax.analysis.ablation.lines import lowest_near
from cnn_jax.analysis.ablation.records import DIVERGED, SweepRecord
from cnn_jax.analysis.ablation.summaries import NO_RESULT, VariantSummary, mean_text, summarize
from cnn_jax.analysis.figures import INK, PALETTE, frame, legend, panel, short
from cnn_jax.analysis.statistics import BETTER, EQUIVALENT, UNDECIDED, WORSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SOFT = "#9aa5b1"
_SEED: dict[str, Any] = {
    "marker": "o",
    "linestyle": "none",
    "markersize": 3.6,
    "markerfacecolor": "white",
    "markeredgecolor": _SOFT,
}
# verdict -> color and marker; none where the variant is the baseline or there is no baseline
_VERDICTS = {
    BETTER: (PALETTE["blue"], ">"),
    WORSE: (PALETTE["vermilion"], "<"),
    EQUIVALENT: (PALETTE["green"], "s"),
    UNDECIDED: (INK, "o"),
}


def dot_plot(record: SweepRecord) -> "Figure":
    """Mean test accuracy of every variant with its 95% interval and its seeds, the highest first.

    The seeds are small rings. What lies far below the rest is an arrow with its number at the left
    edge, so that one failure does not press the others together.
    """
    summaries = summarize(record)
    row = 0.27 if len(summaries) <= 24 else 0.19
    figure, axes = panel(6.2, row * len(summaries) + 1.0, x="test accuracy", percent="x")
    left, right = _limits(summaries)
    axes.set_xlim(left, right)
    axes.set_ylim(len(summaries) - 0.4, -0.6)
    names = [short(summary.label, 36) for summary in summaries]
    axes.set_yticks(range(len(names)), names, fontsize=8 if row > 0.2 else 7, parse_math=False)
    axes.tick_params(axis="y", length=0)

    for place, summary in enumerate(summaries):
        _draw_variant(axes, place, summary)
        if summary.variant == record.baseline:
            axes.get_yticklabels()[place].set_fontweight("bold")
            if summary.mean is not None and summary.mean.mean >= left:
                axes.axvline(
                    summary.mean.mean, color=_SOFT, linestyle="--", linewidth=0.9, zorder=1
                )
    _name_marks(figure, summaries, record.baseline)
    return figure


def _limits(summaries: Sequence[VariantSummary]) -> tuple[float, float]:
    """The ends of the accuracy axis: all but the far outliers and the ends of long intervals."""
    points = np.array([a for summary in summaries for a in summary.accuracies.values()])
    if not points.size:
        return 0.0, 1.0
    lowest, top = lowest_near(points), float(points.max())
    span = max(top - lowest, 0.002)
    means = [summary.mean for summary in summaries if summary.mean and summary.mean.mean >= lowest]
    low = min([lowest, *(mean.low for mean in means if mean.low is not None)])
    high = max([top, *(mean.high for mean in means if mean.high is not None)])
    left = max(low, lowest - span) - 0.03 * span
    return left, min(high, top + span, 1.0) + 0.03 * span


def _draw_variant(axes: "Axes", place: int, summary: VariantSummary) -> None:
    left, right = axes.get_xlim()
    if summary.mean is None:
        lost = f"{summary.diverged} of {summary.trials} {DIVERGED}"
        what = lost if summary.diverged else NO_RESULT
        _write_at_edge(axes, place, what, 4)
        return
    pair = summary.comparison
    color, marker = (INK, "D") if pair is None else _VERDICTS[pair.verdict]
    mean, low, high = summary.mean.mean, summary.mean.low, summary.mean.high
    if mean < left:
        axes.plot(left, place, marker=4, color=color, markersize=7, clip_on=False, zorder=4)
        _write_at_edge(axes, place, f"{mean:.2%}", 10)
        return
    if low is not None and high is not None:
        axes.plot([max(low, left), min(high, right)], [place, place], color=color, linewidth=1.6)
        for end, edge, arrow in ((low, left, 4), (high, right, 5)):
            if not left <= end <= right:
                axes.plot(edge, place, marker=arrow, color=color, markersize=6, clip_on=False)
    seeds = [value for value in summary.accuracies.values() if value >= left]
    axes.plot(seeds, [place] * len(seeds), **_SEED, zorder=3)
    axes.plot(mean, place, marker=marker, color=color, markersize=6, zorder=4)


def _write_at_edge(axes: "Axes", place: int, text: str, away: float) -> None:
    axes.annotate(
        text,
        (axes.get_xlim()[0], place),
        (away, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )


def _name_marks(
    figure: "Figure", summaries: Sequence[VariantSummary], baseline: int | None
) -> None:
    from matplotlib.lines import Line2D

    found = {summary.verdict for summary in summaries}
    marks = {name: look for name, look in _VERDICTS.items() if name in found}
    first = "mean" if baseline is None else "baseline"
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", markersize=6, label=name)
        for name, (color, marker) in ({first: (INK, "D")} | marks).items()
    ]
    if any(len(summary.accuracies) > 1 for summary in summaries):
        handles.append(Line2D([], [], label="one seed", **_SEED))
    legend(
        figure,
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        columnspacing=1.2,
        handletextpad=0.3,
    )


def heat_map(record: SweepRecord) -> "Figure":
    """Mean test accuracy on the grid of exactly two compared axes, the numbers in the cells.

    The shade spans all but far outliers. The highest mean is framed, the baseline framed in dashes;
    an empty cell was not trained.

    Raises:
        ValueError: the record does not have two compared axes.
    """
    if len(record.axes) != 2:
        raise ValueError(f"a heat map has two compared axes, got {list(record.axes)}")
    # The longer axis runs down: a page has more room below than beside.
    (down, rows), (across, columns) = sorted(
        ((axis, _values_in_order(record, axis)) for axis in record.axes),
        key=lambda named: -len(named[1]),
    )
    summaries = summarize(record)
    places = {
        summary.variant: (
            rows.index(record.variants[summary.variant][down]),
            columns.index(record.variants[summary.variant][across]),
        )
        for summary in summaries
    }
    figure, axes = _empty_grid(down, rows, across, columns)
    grid = np.full((len(rows), len(columns)), math.nan)
    for summary in summaries:
        grid[places[summary.variant]] = summary.mean.mean if summary.mean else math.nan
        _write_cell(axes, places[summary.variant], summary)
    low, high = _shades(grid)
    axes.imshow(grid, cmap="Blues", vmin=low, vmax=high, aspect="auto", interpolation="none")
    _frame(axes, places[summaries[0].variant], 0.47, "-")
    if record.baseline is not None:
        _frame(axes, places[record.baseline], 0.42, (0, (3, 2)))
    return figure


def _values_in_order(record: SweepRecord, axis: str) -> list[str]:
    """The values that variants have on an axis: as written there, then that it is not read."""
    found = {variant[axis] for variant in record.variants}
    return [
        value for value in dict.fromkeys((*record.axes[axis], *sorted(found))) if value in found
    ]


def _shades(grid: np.ndarray) -> tuple[float, float]:
    """The accuracies that are white and darkest blue, so far apart that ink stays readable.

    Turned over in dark mode too, where a middle blue is what light ink is least seen on.
    """
    means = grid[np.isfinite(grid)]
    if not means.size:
        return 0.0, 1.0
    low, high = lowest_near(means), float(means.max())
    span = max(high - low, 0.001)
    return low - 0.15 * span, high + 1.4 * span


def _empty_grid(
    down: str, rows: Sequence[str], across: str, columns: Sequence[str]
) -> "tuple[Figure, Axes]":
    names = [short(name, 18) for name in columns]
    longest = max(map(len, names))
    turned = longest > 12 and len(names) > 6
    width = 0.9 if turned else max(0.95, 0.075 * longest)
    size = (width * len(columns) + 2.2, 0.4 * len(rows) + (1.6 if turned else 0.9))
    figure, axes = panel(*size, x=across, y=down, grid=False)
    axes.set_xticks(range(len(names)), names, parse_math=False)
    if turned:
        axes.tick_params(axis="x", rotation=90)
    axes.set_yticks(range(len(rows)), [short(name, 24) for name in rows], parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure, axes


def _write_cell(axes: "Axes", place: tuple[int, int], summary: VariantSummary) -> None:
    without = DIVERGED if summary.diverged else NO_RESULT
    text = mean_text(summary.mean) if summary.mean else without
    axes.text(place[1], place[0], text, ha="center", va="center", fontsize=7.5, color=INK)


def _frame(axes: "Axes", place: tuple[int, int], reach: float, line: Any) -> None:
    corner, side = (place[1] - reach, place[0] - reach), 2 * reach
    frame(axes, corner, side, side, edgecolor=INK, linewidth=1.4, linestyle=line)
