"""Figures of images with several labels: arrays in, a matplotlib Figure out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.analysis.figures import INK, PALETTE, short, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A color says which label it is, and so does the line style where colors come round again.
_COLORS = ("blue", "vermillion", "green", "purple", "orange", "sky blue", "black")
_STYLES = ("-", "--", "-.", ":")
# Above it a curve cannot be told from the top of the figure.
_TOP = 0.995


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
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    curves = [
        precision_recall(score, truth)
        for score, truth in zip(probabilities.T, labels.T, strict=True)
    ]
    figure = Figure(figsize=(5.0, 3.9), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, x="recall: of the images with the label, those found", y="precision")
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
    axes.set(xlim=(_left(curves), 1.005), ylim=(_floor(curves), 1.005))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, fontsize=8, loc="lower left", labelcolor=INK)
    return figure


def _left(curves: Sequence[PrecisionRecall]) -> float:
    """Where the axis of recall begins: before it every curve is at the top."""
    falls = [curve.recall[curve.precision < _TOP] for curve in curves]
    first = min((float(part.min()) for part in falls if part.size), default=0.0)
    return min(0.9, np.floor(10 * first) / 10)


def _floor(curves: Sequence[PrecisionRecall]) -> float:
    """Where the axis of precision begins, so that good curves are not all one line at the top.

    A curve is followed to 95% recall: beyond, every curve falls to the share of the label.
    """
    seen = [curve.precision[curve.recall <= 0.95] for curve in curves]
    lowest = min((float(part.min()) for part in seen if part.size), default=0.0)
    return max(0.0, min(0.9, np.floor(10 * lowest) / 10))
