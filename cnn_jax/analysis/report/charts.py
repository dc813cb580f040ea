"""Figures as pure functions: arrays in, a matplotlib Figure out.

Only matplotlib's object-oriented interface is used, so that drawing touches no global state and
needs no display.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cnn_jax.analysis.figures import FAINT, INK, PALETTE, RIGHT, WRONG, displayable, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this many classes a cell is too small for every count, and only the larger shares have one.
MAX_CLASSES_FULLY_COUNTED = 30
LARGE_SHARE = 0.02


class _Curve(NamedTuple):
    key: str
    label: str
    color: str
    line: str
    marker: str


def _train_and_validation(quantity: str) -> tuple[_Curve, _Curve]:
    return (
        _Curve(f"train_{quantity}", "train", PALETTE["blue"], "-", "o"),
        _Curve(f"validation_{quantity}", "validation", PALETTE["vermillion"], "--", "s"),
    )


_PANELS = {
    "loss": _train_and_validation("loss"),
    "accuracy": _train_and_validation("accuracy"),
    "learning rate": (_Curve("learning_rate", "learning rate", PALETTE["green"], "-", "o"),),
}


def history_panels(history: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The panels ("loss", "accuracy", "learning rate") that a history has a key for."""
    return tuple(
        name
        for name, curves in _PANELS.items()
        if any(curve.key in row for curve in curves for row in history)
    )


def learning_curves(
    history: Sequence[Mapping[str, float]], panels: Sequence[str] | None = None
) -> "Figure":
    """Loss, accuracy and learning rate against the epoch, one panel each, side by side.

    Args:
        history: one mapping per epoch with "epoch" and any of train_loss, validation_loss,
            train_accuracy, validation_accuracy (in [0, 1]) and learning_rate. What is missing is
            not drawn; where a value is not finite, the curve breaks and a line marks the epoch.
        panels: which panels to draw; by default all those of `history_panels`.

    Raises:
        ValueError: there is nothing to draw, or a panel of that name does not exist.
    """
    from matplotlib.figure import Figure

    panels = history_panels(history) if panels is None else panels
    if not panels or not set(panels) <= set(_PANELS):
        raise ValueError(f"panels must be one or more of {list(_PANELS)}, got {list(panels)}")
    figure = Figure(figsize=(3.7 * len(panels), 2.7), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        _draw_panel(axes, panel, history)
    return figure


def _draw_panel(axes: "Axes", panel: str, history: Sequence[Mapping[str, float]]) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = np.array([row["epoch"] for row in history], float)
    values = {
        curve: np.array([row.get(curve.key, math.nan) for row in history], float)
        for curve in _PANELS[panel]
        if any(curve.key in row for row in history)
    }
    tidy(axes, title=panel.capitalize(), x="epoch")
    for curve, value in values.items():
        axes.plot(
            epochs,
            np.where(np.isfinite(value), value, math.nan),
            curve.line,
            color=curve.color,
            label=curve.label,
            marker=curve.marker if len(epochs) <= 30 else None,
            markersize=3.5,
            linewidth=1.6,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    _mark_divergence(axes, epochs, list(values.values()))
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif _spans_decades(list(values.values())):
        axes.set_yscale("log")
    if len(values) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _spans_decades(values: Sequence[np.ndarray]) -> bool:
    """Whether a logarithmic axis is possible and tells more than a linear one."""
    finite = np.concatenate([value[np.isfinite(value)] for value in values])
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > 100)


def _mark_divergence(axes: "Axes", epochs: np.ndarray, values: Sequence[np.ndarray]) -> None:
    # A missing validation value is no divergence: only an epoch without any finite value is.
    lost = ~np.any([np.isfinite(value) for value in values], axis=0)
    if not lost.any():
        return
    first = epochs[lost][0]
    axes.axvline(first, color=PALETTE["black"], linewidth=1, linestyle=":")
    axes.text(
        0.5,
        0.5,
        f"not finite at epoch {first:g}",
        transform=axes.transAxes,
        ha="center",
        fontsize=8,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": FAINT},
    )


def confusion_matrix(matrix: Int[np.ndarray, "c c"], class_names: Sequence[str]) -> "Figure":
    """The confusion matrix: counts as numbers, shading by the share of the row.

    The shade grows with the square root of the share, so that one mistake in a hundred shows.
    Up to 30 classes every count but zero is written; above, those of at least 2% of their row.

    Args:
        matrix: counts; row = true class, column = guessed class.
        class_names: one name per class.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    matrix = np.asarray(matrix)
    classes = len(class_names)
    names = [short(name, 18) for name in class_names]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cell = max(2.0 / classes, _cell_inches(classes))
    side = cell * classes + 0.075 * max(map(len, names)) + 0.6
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(
        share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="none"
    )
    size = min(9.0, 72 * cell * 0.6)
    turned = 0.62 * size * max(map(len, names)) > 72 * cell
    tidy(axes, x="guessed class", y="true class", grid=False)
    ticks = np.arange(classes)
    axes.set_xticks(ticks, names, fontsize=size, rotation=90 if turned else 0, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    _write_counts(axes, matrix, share, cell)
    marks = [0.0, 0.01, 0.05, 0.2, 0.5, 1.0]
    bar = figure.colorbar(
        picture, ax=axes, ticks=marks, fraction=0.04, pad=0.02, aspect=25 * side / 5
    )
    bar.ax.set_yticklabels([f"{mark:.0%}" for mark in marks], fontsize=8, color=INK)
    bar.set_label("share of the true class", fontsize=8, color=INK)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _cell_inches(classes: int) -> float:
    if classes <= 15:
        return 0.42
    return 0.34 if classes <= MAX_CLASSES_FULLY_COUNTED else 0.165


def _write_counts(axes: "Axes", matrix: np.ndarray, share: np.ndarray, cell: float) -> None:
    digits = max(2, len(str(matrix.max())))
    size = min(9.0, 1.3 * 72 * cell / digits)
    least = 0.0 if len(matrix) <= MAX_CLASSES_FULLY_COUNTED else LARGE_SHARE
    for row, column in np.argwhere((matrix > 0) & (share >= least)):
        axes.text(
            column,
            row,
            str(matrix[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if share[row, column] > 0.3 else INK,
        )


class ReliabilityBins(NamedTuple):
    """What a reliability diagram shows; a bin without examples has NaN for both means."""

    edges: Float[np.ndarray, "bins+1"]
    confidence: Float[np.ndarray, "bins"]
    accuracy: Float[np.ndarray, "bins"]
    examples: Int[np.ndarray, "bins"]


def reliability_bins(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], bins: int = 15
) -> ReliabilityBins:
    """Mean confidence and accuracy of the first guess, in equal bins (a, b] of its probability.

    Examples whose probabilities are not finite belong to no bin.
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equations 3 and 4.
    """
    finite = np.isfinite(probabilities).all(axis=1)
    probabilities, labels = probabilities[finite], labels[finite]
    confidence = probabilities.max(axis=1).astype(float)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    some = np.where(count > 0, count, math.nan)
    return ReliabilityBins(
        edges,
        np.bincount(which, confidence, bins) / some,
        np.bincount(which, correct, bins) / some,
        count,
    )


def reliability_diagram(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], bins: int = 15
) -> "Figure":
    """Accuracy against confidence, the gap to the diagonal hatched; beneath, how many examples.

    Args:
        probabilities: one row per example, each in [0, 1].
        labels: true classes.
        bins: how many equal bins to cut [0, 1] into.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    binned = reliability_bins(probabilities, labels, bins)
    figure = Figure(figsize=(4.2, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    tidy(upper, y="accuracy")
    tidy(lower, x="confidence (probability of the first guess)", y="examples")
    place = {"x": binned.edges[:-1], "width": np.diff(binned.edges), "align": "edge"}
    gap = binned.confidence - binned.accuracy
    upper.bar(height=binned.accuracy, color=PALETTE["sky blue"], edgecolor="white", **place)
    upper.bar(
        height=gap,
        bottom=binned.accuracy,
        facecolor="none",
        edgecolor=PALETTE["vermillion"],
        hatch="////",
        linewidth=0.8,
        label="gap to the mean confidence",
        **place,
    )
    upper.plot([0, 1], [0, 1], "--", color=INK, linewidth=1, label="perfectly calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.legend(
        frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, labelcolor=INK
    )
    lower.bar(height=binned.examples, color=PALETTE["sky blue"], edgecolor="white", **place)
    upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    lower.xaxis.set_major_formatter(PercentFormatter(1.0))
    if not binned.examples.any():
        upper.text(0.5, 0.5, "no finite probabilities", ha="center", fontsize=9, color=INK)
    return figure


def top_guesses(probabilities: Float[np.ndarray, "n c"], k: int = 5) -> Int[np.ndarray, "n k"]:
    """The `min(k, c)` most probable classes of each example, best first; NaN comes last."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


def ranked_guesses(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, "n"] | None,
    probabilities: Float[np.ndarray, "n classes"],
    class_names: Sequence[str],
    k: int = 5,
    thresholds: Float[np.ndarray, "classes"] | None = None,
) -> "Figure":
    """Images with their most probable classes as bars, up to four images in a row.

    The manner of Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural
    Networks", 2012, figure 4. The bar of the true class is plain, the others are hatched.

    Args:
        images: 1, 3 or 4 channels.
        labels: true classes, written beneath the images; None where they are not known.
        probabilities: one row per image, each in [0, 1].
        class_names: one name per class.
        k: how many guesses to show; fewer where there are fewer classes.
        thresholds: of labels, each of which is there or not: marked in the bars. One that does not
            reach its own is hatched.

    Raises:
        ValueError: there is no image.
    """
    from matplotlib.figure import Figure

    if len(images) == 0:
        raise ValueError("images must hold at least one image, got none")
    guesses = top_guesses(probabilities, k)
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    heights = [1.5, 0.2 * guesses.shape[1]]
    figure = Figure(figsize=(2.3 * columns, (sum(heights) + 0.5) * rows), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=heights * rows)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column])
        truth = None if labels is None else int(labels[index])
        _draw_image(above, image, "" if truth is None else class_names[truth])
        row = guesses[index]
        right = row == truth if truth is not None else np.ones(len(row), bool)
        if thresholds is not None:
            right = probabilities[index][row] >= thresholds[row]
            place = np.arange(len(row))
            below.vlines(thresholds[row], place - 0.5, place + 0.5, color=INK, linewidth=1)
        _draw_guesses(below, row, probabilities[index], class_names, right)
    return figure


def _draw_image(axes: "Axes", image: np.ndarray, caption: str) -> None:
    axes.imshow(displayable(image), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(short(caption, 24), fontsize=9, weight="bold", color=INK, parse_math=False)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _draw_guesses(
    axes: "Axes",
    guesses: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    right: Bool[np.ndarray, "k"],
) -> None:
    for place, guess in enumerate(guesses):
        value = np.nan_to_num(probabilities[guess])
        axes.barh(
            place,
            value,
            height=0.75,
            facecolor=RIGHT if right[place] else WRONG,
            edgecolor=INK if right[place] else "white",
            hatch=None if right[place] else "////",
            linewidth=0.5,
        )
        axes.text(1.03, place, f"{probabilities[guess]:.0%}", va="center", fontsize=7, color=INK)
    names = [short(class_names[guess], 12) for guess in guesses]
    axes.set_yticks(range(len(guesses)), names, fontsize=7, color=INK, parse_math=False)
    axes.set(xlim=(0, 1.3), ylim=(len(guesses) - 0.4, -0.6), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
