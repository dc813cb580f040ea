"""Figures of how good a network is: confusions, reliability, precision against recall."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.figures import INK, PALETTE, empty_figure, legend, panel, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this many classes a cell is too small for every count, and only the larger shares have one.
MAX_CLASSES_FULLY_COUNTED = 30
LARGE_SHARE = 0.02
# A color says which label it is, and so does the line style where colors come round again.
_COLORS = ("blue", "vermilion", "green", "purple", "orange", "sky blue", "black")
_STYLES = ("-", "--", "-.", ":")
# Above it a curve cannot be told from the top of the figure.
_TOP = 0.995


def confusion_matrix(matrix: Int[np.ndarray, "c c"], class_names: Sequence[str]) -> "Figure":
    """The confusion matrix: counts as numbers, shading by the share of the row.

    The shade grows with the square root of the share, so that one mistake in a hundred shows.
    Up to 30 classes every count but zero is written; above, those of at least 2% of their row.

    Args:
        matrix: counts; row = true class, column = guessed class.
        class_names: one name per class.
    """
    from matplotlib.colors import PowerNorm

    matrix = np.asarray(matrix)
    classes = len(class_names)
    names = [short(name, 18) for name in class_names]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    inches = 0.34 if classes <= MAX_CLASSES_FULLY_COUNTED else 0.165
    cell = max(2.0 / classes, 0.42 if classes <= 15 else inches)
    side = cell * classes + 0.075 * max(map(len, names)) + 0.6
    figure, axes = panel(side + 0.8, side, x="guessed class", y="true class", grid=False)
    picture = axes.imshow(
        share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="none"
    )
    size = min(9.0, 72 * cell * 0.6)
    turned = 0.62 * size * max(map(len, names)) > 72 * cell
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
    binned = reliability_bins(probabilities, labels, bins)
    figure = empty_figure(4.2, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    tidy(upper, y="accuracy", percent="y")
    tidy(lower, x="confidence (probability of the first guess)", y="examples (log)", percent="x")
    place = {"x": binned.edges[:-1], "width": np.diff(binned.edges), "align": "edge"}
    gap = binned.confidence - binned.accuracy
    upper.bar(height=binned.accuracy, color=PALETTE["sky blue"], edgecolor="white", **place)
    upper.bar(
        height=gap,
        bottom=binned.accuracy,
        facecolor="none",
        edgecolor=PALETTE["vermilion"],
        hatch="////",
        linewidth=0.8,
        label="gap to the mean confidence",
        **place,
    )
    upper.plot([0, 1], [0, 1], "--", color=INK, linewidth=1, label="perfectly calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    legend(upper, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    lower.bar(height=binned.examples, color=PALETTE["sky blue"], edgecolor="white", **place)
    # A bin of a few examples is seen beside one of thousands, and its number can be read.
    lower.set(yscale="symlog", ylim=(0, 30 * max(1, binned.examples.max())))
    lower.set_yticks([])
    lower.set_yticks([], minor=True)
    for left, right, count in zip(binned.edges, binned.edges[1:], binned.examples, strict=False):
        if count:
            where = {"ha": "center", "va": "bottom", "rotation": 90, "fontsize": 6, "color": INK}
            lower.text((left + right) / 2, 1.2 * count, f"{int(count):,}", **where)

    if not binned.examples.any():
        upper.text(0.5, 0.5, "no finite probabilities", ha="center", fontsize=9, color=INK)
    return figure


class PrecisionRecall(NamedTuple):
    """The precision-recall curve of one label, from the highest threshold to the lowest."""

    threshold: Float[np.ndarray, "k"]
    precision: Float[np.ndarray, "k"]
    recall: Float[np.ndarray, "k"]


def precision_recall(
    scores: Float[np.ndarray, "n"], truth: UInt8[np.ndarray, "n"]
) -> PrecisionRecall:
    """Precision and recall of a label at every score as its threshold.

    Args:
        scores: higher for surer. Scores that are not finite are never said to have the label.
        truth: 1 where the label is there.

    Returns:
        One point for each different score; none for a label without positives.
    """
    finite = np.isfinite(scores)
    order = np.argsort(-scores[finite], kind="stable")
    ranked, hit = scores[finite][order], truth[finite][order].astype(np.int64)
    positives = int(truth.sum())
    # Tied examples are said to have the label together: a point lies where a tie ends.
    last = np.flatnonzero(np.diff(ranked, append=-np.inf)) if positives else np.array([], int)
    hits = np.cumsum(hit)[last]
    return PrecisionRecall(ranked[last], hits / (last + 1), hits / max(positives, 1))


def precision_recall_curves(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    names: Sequence[str],
    thresholds: Sequence[float],
    average_precision: Sequence[float],
) -> "Figure":
    """Precision against recall for each label, the threshold that is used marked by a dot.

    Args:
        probabilities: one for each label of each example.
        labels: multi-hot.
        names: one for each label.
        thresholds: one for each label.
        average_precision: likewise, for the key.
    """
    curves = [
        precision_recall(score, truth)
        for score, truth in zip(probabilities.T, labels.T, strict=True)
    ]
    of_recall = "recall: of the images with the label, those found"
    figure, axes = panel(5.0, 3.9, x=of_recall, y="precision", percent="xy")
    for index, (name, curve) in enumerate(zip(names, curves, strict=True)):
        color = PALETTE[_COLORS[index % len(_COLORS)]]
        style = _STYLES[index // len(_COLORS) % len(_STYLES)]
        key = f"{short(name, 24)} (AP {average_precision[index]:.3f})"
        axes.plot(curve.recall, curve.precision, style, color=color, linewidth=1.5, label=key)
        said = np.flatnonzero(curve.threshold >= thresholds[index])
        if said.size:
            place = said[-1]
            axes.plot(
                curve.recall[place],
                curve.precision[place],
                "o",
                color=color,
                markersize=6,
                markeredgecolor="white",
                clip_on=False,
            )
    # The axis of recall begins where the first curve leaves the top. A curve of precision is
    # followed to 95% recall: beyond, every curve falls to the share of the label.
    left = _start([curve.recall[curve.precision < _TOP] for curve in curves])
    bottom = _start([curve.precision[curve.recall <= 0.95] for curve in curves])
    axes.set(xlim=(left, 1.005), ylim=(bottom, 1.005))

    legend(axes, loc="lower left")
    return figure


def _start(parts: Sequence[np.ndarray]) -> float:
    """Where an axis begins that these parts of curves fill: at a full tenth of up to 90%."""
    least = min((float(part.min()) for part in parts if part.size), default=0.0)
    return min(0.9, np.floor(10 * least) / 10)
