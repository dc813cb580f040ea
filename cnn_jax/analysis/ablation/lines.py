"""Line figures of an ablation sweep: accuracy against the epoch, and against a hyperparameter.

In one panel, or, where the lines are many, each in a panel of its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnn_jax.analysis.ablation.records import (
    DIVERGED,
    FINISHED,
    NOT_READ,
    PRUNED,
    SweepRecord,
    TrialRecord,
    label,
    shown_trials,
)
from cnn_jax.analysis.ablation.summaries import VariantSummary, summarize, summarize_tuning
from cnn_jax.analysis.figures import (
    FAINT,
    INK,
    PALETTE,
    empty_figure,
    legend,
    logarithmic,
    panel,
    short,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More lines than this in one panel cannot be told apart: each then has a panel of its own.
MAX_LINES = 7
_COLUMNS = 4
_STYLES = (
    ("blue", "-", "o"),
    ("vermilion", "--", "s"),
    ("green", "-.", "^"),
    ("purple", ":", "D"),
    ("orange", (0, (6, 1.5)), "v"),
    ("sky blue", (0, (4, 1, 1, 1, 1, 1)), "P"),
    ("black", (0, (1, 0.7)), "X"),
)
# Marks in the strip beneath the lines: key, marker, height in the panel.
_STRIP = (("pruned", "|", 0.045), ("diverged", "x", 0.05), ("below", 7, 0.02))
_STRETCHED_TICKS = np.array([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999])


class Line(NamedTuple):
    """One line with the range of its seeds, and what has no place in the line.

    Attributes:
        label: of the line.
        x: in rising order.
        y: the mean over the seeds, NaN where the line breaks.
        low: the lowest seed.
        high: the highest seed.
        traces: (x, y) of trials that diverged, each thin and ending in a cross.
        strip: by "pruned", "diverged" and "below" the x of marks beneath the lines.
        chosen: the x in a circle, if one was chosen.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    traces: Sequence[np.ndarray] = ()
    strip: Mapping[str, Sequence[float]] = {}
    chosen: float | None = None


def line_of_seeds(label: str, values: Mapping[float, Sequence[float]], **rest: Any) -> Line:
    """The line of the means, from the values of the seeds by x; the rest as in `Line`."""
    x = sorted(values)
    rows = [(np.mean(values[at]), min(values[at]), max(values[at])) for at in x]
    mean, low, high = np.array(rows, float).reshape(-1, 3).T
    return Line(label, np.array(x, float), mean, low, high, **rest)


def lowest_near(values: np.ndarray) -> float:
    """The lowest value that is no far outlier.

    A far outlier is further below the median than ten times what the highest is above it, and
    than two points: one variant that learns nothing must not press the others together.
    """
    middle = np.median(values)
    return float(values[values >= middle - 10 * max(values.max() - middle, 0.002)].min())


def without_far_outliers(lines: Sequence[Line]) -> list[Line]:
    """The lines broken where their mean is a far outlier; a mark in the strip says that it is."""
    means = np.concatenate([line.y for line in lines]) if lines else np.zeros(0)
    if not means.size:
        return list(lines)
    floor = lowest_near(means)
    cut = []
    for line in lines:
        below = line.y < floor
        y, low, high = (
            np.where(below, math.nan, value)
            for value in (line.y, np.maximum(line.low, floor), line.high)
        )
        strip = {**line.strip, "below": line.x[below].tolist()}
        cut.append(line._replace(y=y, low=low, high=high, strip=strip))
    return cut


def accuracy_by_epoch(record: SweepRecord) -> "Figure":
    """Validation accuracy against the epoch, the mean over the seeds in a band from min to max.

    The train accuracy, where there is no validation split. Only finished, chosen trials are in the
    mean; those that diverged are thin lines that end in a cross.
    """
    from matplotlib.ticker import MaxNLocator

    key = accuracy_key(record)
    order = [summary.variant for summary in summarize(record)]
    figure, panels = draw_lines(
        [_learning_line(record, variant, key) for variant in order],
        "epoch",
        key.replace("_", " "),
        place_of_baseline(record, order),
        record.validation_examples or record.test_examples,
    )
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    return figure


def accuracy_key(record: SweepRecord) -> str:
    """Which accuracy the learning curves show: that of the validation split if there is one."""
    rows = (row for trial in record.trials for row in trial.history)
    validated = any("validation_accuracy" in row for row in rows)
    return "validation_accuracy" if validated else "train_accuracy"


def _learning_line(record: SweepRecord, variant: int, key: str) -> Line:
    trials = shown_trials(record, variant)
    traces = [_curve(trial, key) for trial in trials if trial.status == DIVERGED]
    values: dict[float, list[float]] = {}
    for trial in trials:
        for epoch, value in _curve(trial, key) if trial.status == FINISHED else ():
            values.setdefault(epoch, []).append(value)
    return line_of_seeds(
        label(record, variant), values, traces=[trace for trace in traces if len(trace)]
    )


def _curve(trial: TrialRecord, key: str) -> np.ndarray:
    """(epoch, value) where the value is finite."""
    points = [(row["epoch"], row.get(key, math.nan)) for row in trial.history]
    return np.array([point for point in points if math.isfinite(point[1])], float).reshape(-1, 2)


def place_of_baseline(record: SweepRecord, order: Sequence[int]) -> int | None:
    """The place of the baseline in an order of the variants."""
    return order.index(record.baseline) if record.baseline in order else None


def numeric_names(record: SweepRecord) -> list[str]:
    """The tuned hyperparameters, then the compared axes of numbers, with two values or more."""
    axes = [name for name, values in record.axes.items() if len(_numbers(values)) > 1]
    return [name for name, values in record.tuned.items() if len(set(values)) > 1] + axes


def _numbers(values: Sequence[str]) -> dict[str, float]:
    """The values as numbers; empty if one of them is none."""
    try:
        return {value: float(value) for value in values if value != NOT_READ}
    except ValueError:
        return {}


def accuracy_against(record: SweepRecord, name: str) -> "Figure":
    """Accuracy against a hyperparameter of `numeric_names`.

    Of a tuned one it shows the last validation accuracy, one line per variant that reads it: the
    mean over the finished seeds in a band from min to max, the chosen value in a circle; where
    others are tuned too, with the best of them. Of a compared one it shows the test accuracy, one
    line per value of the other axes. Beneath the lines a cross marks trials that diverged, a
    stroke those that were pruned, an arrow means far below the rest.
    """
    tuned = name in record.tuned
    order = [summary.variant for summary in summarize(record)]
    if tuned:
        readers = {trial.variant for trial in record.trials if name in trial.tuned}
        order = [variant for variant in order if variant in readers]
        lines = [tuned_line(record, variant, name) for variant in order]
        numbers = sorted({t.tuned[name] for t in record.trials if name in t.tuned})
    else:
        lines = _axis_lines(record, name)
        numbers = sorted(set(_numbers(record.axes[name]).values()))
    figure, panels = draw_lines(
        without_far_outliers(lines),
        name,
        "validation accuracy" if tuned else "test accuracy",
        place_of_baseline(record, order) if tuned else None,
        record.validation_examples if tuned else record.test_examples,
    )
    for axes in panels:
        number_axis(axes, numbers)
    return figure


def number_axis(axes: "Axes", numbers: Sequence[float]) -> None:
    """A logarithmic axis where the numbers span decades; the numbers themselves where they fit."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if numbers[0] > 0 and numbers[-1] / numbers[0] >= 10:
        logarithmic(axes, "x")
    if len(numbers) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(numbers)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def tuned_line(record: SweepRecord, variant: int, name: str) -> Line:
    """Validation accuracy of a variant against the values of a tuned hyperparameter."""
    values: dict[float, Sequence[float]] = {}
    strip: dict[str, list[float]] = {DIVERGED: [], PRUNED: []}
    chosen = None
    for candidate in summarize_tuning(record, variant):
        at = candidate.tuned[name]
        if candidate.finished and np.mean(candidate.finished) > np.mean(values.get(at, [-1.0])):
            values[at] = candidate.finished
        for status, places in strip.items():
            places += [at] * candidate.number(status)
        chosen = at if candidate.chosen else chosen
    return line_of_seeds(label(record, variant), values, strip=strip, chosen=chosen)


def _axis_lines(record: SweepRecord, name: str) -> list[Line]:
    """One line per value of the other axes, in the order of the variants."""
    numbers = _numbers(record.axes[name])
    groups: dict[str, dict[float, VariantSummary]] = {}
    for summary in sorted(summarize(record), key=lambda summary: summary.variant):
        variant = record.variants[summary.variant]
        if variant[name] in numbers:
            others = [variant[axis] for axis in record.axes if axis != name]
            group = " · ".join(value for value in others if value != NOT_READ)
            groups.setdefault(group, {})[numbers[variant[name]]] = summary
    return [
        line_of_seeds(
            group,
            {at: list(summary.accuracies.values()) for at, summary in row.items() if summary.mean},
            strip={DIVERGED: [at for at, summary in row.items() if summary.diverged]},
        )
        for group, row in groups.items()
    ]


def draw_lines(
    lines: Sequence[Line], x: str, y: str, highlight: int | None, examples: int
) -> "tuple[Figure, list[Axes]]":
    """Draws all lines in one panel, or each in its own with the others in gray.

    Args:
        lines: at least one.
        x: label of the x axis.
        y: label of the y axis, whose values are accuracies in [0, 1].
        highlight: place of the line that every panel shows in dashes; None for none.
        examples: how many the accuracies are over: a stretched axis ends half a mistake below 100%.
    """
    if len(lines) <= MAX_LINES:
        figure, axes = panel(6.4, 3.6, x=x, y=y)
        grid = [axes]
        for style, line in zip(_STYLES, lines, strict=False):
            _draw_line(axes, line, style)
        if len(lines) > 1:
            legend(axes, handlelength=3.2, loc="upper left", bbox_to_anchor=(1.01, 1.02))
    else:
        figure, grid = _draw_apart(lines, highlight)
        figure.supxlabel(x, fontsize=8.5, color=INK)
        figure.supylabel(y, fontsize=8.5, color=INK)
    _accuracy_axis(grid, lines, examples)
    return figure, grid


def _draw_apart(lines: Sequence[Line], highlight: int | None) -> "tuple[Figure, list[Axes]]":
    rows = math.ceil(len(lines) / _COLUMNS)
    figure = empty_figure(9.6, 1.75 * rows + 0.3)
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True).ravel().tolist()
    while len(grid) > len(lines):
        grid.pop().remove()
    # One path with breaks instead of a path per line: a page with sixty panels stays small.
    behind_x = np.concatenate([[*line.x, math.nan] for line in lines])
    behind_y = np.concatenate([[*line.y, math.nan] for line in lines])
    for place, (axes, line) in enumerate(zip(grid, lines, strict=True)):
        tidy(axes, title=_plain(short(line.label, 30)))
        axes.tick_params(labelsize=7, labelbottom=place + _COLUMNS >= len(lines))
        axes.plot(behind_x, behind_y, color=FAINT, linewidth=0.7, zorder=1)
        if highlight is not None and place != highlight:
            marked = lines[highlight]
            axes.plot(marked.x, marked.y, "--", color=PALETTE["orange"], zorder=1.5)
        _draw_line(axes, line, _STYLES[0])
    return figure, grid


def _plain(text: str) -> str:
    """The text as it is: matplotlib would read what stands between dollar signs as a formula."""
    return text.replace("$", r"\$")


def _draw_line(axes: "Axes", line: Line, style: tuple[str, Any, str]) -> None:
    color, dashes, marker = PALETTE[style[0]], style[1], style[2]
    axes.plot(
        line.x,
        line.y,
        linestyle=dashes,
        color=color,
        marker=marker if len(line.x) <= 30 else None,
        markersize=4,
        linewidth=1.5,
        label=_plain(short(line.label, 30)),
        zorder=3,
    )
    axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0, zorder=2)
    for trace in line.traces:
        axes.plot(*trace.T, linestyle=dashes, color=color, linewidth=0.8, zorder=2.5)
        axes.plot(*trace[-1], "x", color=INK, markersize=6, zorder=4)
    for key, mark, height in _STRIP:
        places = sorted(set(line.strip.get(key, ())))
        axes.plot(
            places,
            [height] * len(places),
            linestyle="none",
            marker=mark,
            color=color,
            markersize=6,
            transform=axes.get_xaxis_transform(),
            zorder=4,
        )
    if line.chosen is not None and line.chosen in line.x:
        at = line.x.tolist().index(line.chosen)
        axes.plot(line.x[at], line.y[at], "o", markersize=10, mfc="none", mec=INK, zorder=4)


def _accuracy_axis(panels: "Sequence[Axes]", lines: Sequence[Line], examples: int) -> None:
    """Percent on the y axis, stretched towards 100% where the accuracies come near it.

    Between 98% and 99% half of all mistakes vanish; a linear axis would show next to nothing.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

    traces = [trace[:, 1] for line in lines for trace in line.traces]
    values = np.concatenate(
        [*(value for line in lines for value in (line.low, line.high)), *traces]
    )
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.array([0.0, 1.0])
    least = 0.5 / max(examples, 1)

    def stretch(accuracy: np.ndarray) -> np.ndarray:
        return -np.log10(np.maximum(1 - np.asarray(accuracy, float), least))

    def relax(stretched: np.ndarray) -> np.ndarray:
        return 1 - 10.0 ** -np.asarray(stretched, float)

    ticks = _STRETCHED_TICKS
    ticks = ticks[(ticks >= values.min()) & (ticks <= values.max())]
    stretched = values.max() >= 0.9 and len(ticks) >= 3
    ends = np.array([values.min(), values.max()])
    low, high = stretch(ends) if stretched else ends
    span = max(high - low, 1e-3)
    marks = any(places for line in lines for places in line.strip.values())
    limits = np.array([low - (0.2 if marks else 0.06) * span, high + 0.08 * span])
    for axes in panels:
        if stretched:
            axes.set_yscale("function", functions=(stretch, relax))
            axes.yaxis.set_major_locator(
                FixedLocator(ticks[:: 1 if len(ticks) <= 6 else 2].tolist())
            )
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
        else:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(*(relax(limits) if stretched else limits))
