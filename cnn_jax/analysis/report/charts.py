"""The learning curves of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnn_jax.analysis.figures import FAINT, INK, PALETTE, empty_figure, legend, logarithmic, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_PANELS = {
    "loss": ("train_loss", "validation_loss"),
    "accuracy": ("train_accuracy", "validation_accuracy"),
    "learning rate": ("learning_rate",),
}
# color, line and marker, by the first word of a curve's key
_LOOKS = {
    "train": (PALETTE["blue"], "-", "o"),
    "validation": (PALETTE["vermilion"], "--", "s"),
    "learning": (PALETTE["green"], "-", "o"),
}


def history_panels(history: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The panels ("loss", "accuracy", "learning rate") that a history has a key for."""
    return tuple(
        name
        for name, curves in _PANELS.items()
        if any(key in row for key in curves for row in history)
    )


def learning_curves(
    history: Sequence[Mapping[str, float]],
    panels: Sequence[str] | None = None,
    points: Sequence[Mapping[str, float]] = (),
) -> "Figure":
    """Loss, accuracy and learning rate against the epoch, one panel each, side by side.

    Args:
        history: one mapping per epoch with "epoch" and any of train_loss, validation_loss,
            train_accuracy, validation_accuracy (in [0, 1]) and learning_rate. What is missing is
            not drawn; where a value is not finite, the curve breaks and a line marks the epoch.
        panels: which panels to draw; by default all those of `history_panels`.
        points: what epochs looked like inside, likewise: a thin line behind, or for the learning
            rate, which no epoch has a mean of, the line itself.

    Raises:
        ValueError: there is nothing to draw, or a panel of that name does not exist.
    """
    panels = history_panels(history) if panels is None else panels
    if not panels or not set(panels) <= set(_PANELS):
        raise ValueError(f"panels must be one or more of {list(_PANELS)}, got {list(panels)}")
    figure = empty_figure(3.7 * len(panels), 2.7)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        _draw_panel(axes, panel, history, points)
    return figure


def _draw_panel(
    axes: "Axes",
    panel: str,
    history: Sequence[Mapping[str, float]],
    points: Sequence[Mapping[str, float]],
) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([row["epoch"] for row in history], float)
    values = {
        key: np.array([row.get(key, math.nan) for row in history], float)
        for key in _PANELS[panel]
        if any(key in row for row in history)
    }
    percent = "y" if panel == "accuracy" else ""
    tidy(axes, title=panel.capitalize(), x="epoch", percent=percent)
    for key, value in values.items():
        name = key.partition("_")[0]
        color, line, marker = _LOOKS[name]
        inside = [(row["epoch"], row[key]) for row in points if key in row]
        if inside:
            whole = key == "learning_rate"
            width, alpha = (1.6, 1.0) if whole else (0.8, 0.5)
            axes.plot(
                *zip(*inside, strict=True), "-", color=color, linewidth=width, alpha=alpha, zorder=1
            )
            if whole:
                continue
        axes.plot(
            epochs,
            np.where(np.isfinite(value), value, math.nan),
            line,
            color=color,
            label=name,
            marker=marker if len(epochs) <= 30 else None,
            markersize=3.5,
            linewidth=1.6,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    first = min([epochs.min() - 0.5, *(row["epoch"] for row in points)])
    axes.set_xlim(first, epochs.max() + 0.5)
    _mark_divergence(axes, epochs, list(values.values()))
    finite = np.unique([v for value in values.values() for v in value[np.isfinite(value)]])
    if panel == "learning rate" and len(finite) == 1:
        axes.set_ylim(0, 2 * float(finite[0]) or 1)
        axes.set_title(
            f"Learning rate, constant {finite[0]:.3g}", fontsize=10, color=INK, loc="left"
        )
    if not percent and _spans_decades(list(values.values())):
        logarithmic(axes, "y")
    if len(values) > 1:
        legend(axes)


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
