"""Line figures of an ablation sweep: learning curves, and accuracy against a hyperparameter."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnn_jax.analysis.ablation.records import (
    DIVERGED,
    FINISHED,
    NOT_READ,
    PRUNED,
    SweepRecord,
    Trial,
    VariantSummary,
    candidates,
    label,
    shown_trials,
    summarize,
)
from cnn_jax.analysis.charts import Line, draw_lines, line_of_seeds, without_far_outliers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(record: SweepRecord) -> "Figure":
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
        _place_of_baseline(record, order),
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


def _curve(trial: Trial, key: str) -> np.ndarray:
    """(epoch, value) where the value is finite."""
    points = [(row["epoch"], row.get(key, math.nan)) for row in trial.history]
    return np.array([point for point in points if math.isfinite(point[1])], float).reshape(-1, 2)


def _place_of_baseline(record: SweepRecord, order: Sequence[int]) -> int | None:
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
        lines = [_tuned_line(record, variant, name) for variant in order]
        numbers = sorted({t.tuned[name] for t in record.trials if name in t.tuned})
    else:
        lines = _axis_lines(record, name)
        numbers = sorted(set(_numbers(record.axes[name]).values()))
    figure, panels = draw_lines(
        without_far_outliers(lines),
        name,
        "validation accuracy" if tuned else "test accuracy",
        _place_of_baseline(record, order) if tuned else None,
        record.validation_examples if tuned else record.test_examples,
    )
    for axes in panels:
        _number_axis(axes, numbers)
    return figure


def _number_axis(axes: "Axes", numbers: Sequence[float]) -> None:
    """A logarithmic axis where the numbers span decades; the numbers themselves where they fit."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if numbers[0] > 0 and numbers[-1] / numbers[0] >= 10:
        axes.set_xscale("log")
    if len(numbers) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(numbers)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _tuned_line(record: SweepRecord, variant: int, name: str) -> Line:
    values: dict[float, Sequence[float]] = {}
    strip: dict[str, list[float]] = {DIVERGED: [], PRUNED: []}
    chosen = None
    for candidate in candidates(record, variant):
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
