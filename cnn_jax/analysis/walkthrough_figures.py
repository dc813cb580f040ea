"""The walkthrough's figures as pure functions: arrays in, a matplotlib Figure out.

Each is narrow, so that a phone shows it whole and a wide page sets several side by side.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.analysis.figures import FAINT, INK, PALETTE, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST, _SECOND, _THIRD = PALETTE["blue"], PALETTE["vermillion"], PALETTE["green"]
# A path has a color, a line and a mark of its own.
_PATHS = ((_FIRST, "-", "o"), (_THIRD, "--", "s"), (_SECOND, "-.", "^"))


def numbered_image(image: UInt8[np.ndarray, "h w 1"]) -> "Figure":
    """A gray image with the value of each pixel written into it."""
    from matplotlib.figure import Figure

    height, width, _ = image.shape
    figure = Figure(figsize=(0.37 * width, 0.37 * height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.axis("off")
    for row, column in np.ndindex(height, width):
        value = image[row, column, 0]
        color = "black" if value > 127 else "white"
        axes.text(column, row, str(value), ha="center", va="center", fontsize=8.5, color=color)
    return figure


def value_and_derivative(
    x: Float[np.ndarray, "n"],
    value: Float[np.ndarray, "n"],
    derivative: Float[np.ndarray, "n"],
    title: str,
) -> "Figure":
    """A function and its derivative in one plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.3, 2.5), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, title=title, x="x, the neuron's net input")
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.plot(x, value, color=_FIRST, linewidth=2, label="f(x)")
    axes.plot(x, derivative, "--", color=_SECOND, linewidth=1.6, label="its derivative")
    axes.set_ylim(-1.25, 2.25)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    return figure


def loss_curve(
    p: Float[np.ndarray, "n"], loss: Float[np.ndarray, "n"], title: str, most: float
) -> "Figure":
    """One loss against the probability given to what is true.

    Args:
        p: in (0, 1).
        loss: at each p.
        title: the name of the loss.
        most: where the axis of the loss ends, so that several can be compared.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5, 2.0), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, title=title, x="predicted probability p of the truth")
    axes.plot(p, loss, color=_FIRST, linewidth=2)
    axes.set(xlim=(0, 1), ylim=(-0.04 * most, most))
    return figure


def log_loss_curves(
    p: Float[np.ndarray, "n"],
    if_true: Float[np.ndarray, "n"],
    if_false: Float[np.ndarray, "n"],
    mark: tuple[float, float],
) -> "Figure":
    """The log loss where the label is 1 and where it is 0, with one prediction marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, x="predicted probability p", y="log loss (nats)")
    axes.plot(p, if_true, color=_FIRST, linewidth=2, label="label 1: −log p")
    axes.plot(p, if_false, "--", color=_SECOND, linewidth=2, label="label 0: −log(1 − p)")
    axes.plot(*mark, "o", color=INK, markersize=6)
    axes.annotate(
        f"p = {mark[0]:g}: {mark[1]:.2f}",
        mark,
        (12, -2),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 5.5))
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="center", bbox_to_anchor=(0.52, 0.6)
    )
    return figure


def soft_target_curves(
    p: Float[np.ndarray, "n"], curves: Mapping[str, Float[np.ndarray, "n"]], target: float
) -> "Figure":
    """Losses against p where the target itself is a probability, which a dotted line marks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, x="predicted probability p", y="nats")
    for (name, values), (color, line, _) in zip(curves.items(), _PATHS, strict=False):
        axes.plot(p, values, line, color=color, linewidth=2, label=name)
    axes.axvline(target, color=INK, linestyle=":", linewidth=1.2, label=f"target {target:g}")
    axes.set(xlim=(0, 1), ylim=(-0.1, 3))
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper center")
    return figure


def paths_on_contours(
    axes_values: tuple[Float[np.ndarray, "nx"], Float[np.ndarray, "ny"]],
    heights: Float[np.ndarray, "ny nx"],
    paths: Mapping[str, Float[np.ndarray, "steps 2"]],
    best: Float[np.ndarray, "2"],
) -> "Figure":
    """Ways down a surface, seen from above: contours of the loss, and the points of each path.

    Args:
        axes_values: the first and the second weight where the surface is known.
        heights: the loss there.
        paths: by the name in the legend, the weights after each step.
        best: the weights of the least loss.
    """
    from matplotlib.figure import Figure

    first, second = axes_values
    figure = Figure(figsize=(4.3, 3.4), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, x="first weight", y="second weight", grid=False)
    # Levels that rise as a square: a bowl then has contours of equal distance.
    low, high = heights.min(), heights.max()
    levels = low + (high - low) * np.linspace(0, 1, 11)[1:-1] ** 2
    axes.contour(first, second, heights, levels=levels, colors=FAINT, linewidths=1)
    for (name, path), (color, line, mark) in zip(paths.items(), _PATHS, strict=False):
        size = 3.2 if len(path) < 60 else 1.6
        axes.plot(*path.T, line, color=color, marker=mark, markersize=size, linewidth=1, label=name)
    start = next(iter(paths.values()))[0]
    axes.plot(*start, "D", color=INK, markersize=5)
    axes.annotate("start", start, (6, 6), textcoords="offset points", fontsize=8.5, color=INK)
    axes.plot(*best, "*", color=INK, markersize=12)
    axes.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]))
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1)
    )
    return figure


def loss_over_examples(
    curves: Mapping[str, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]],
) -> "Figure":
    """The loss against how many examples had to be looked at for it.

    Args:
        curves: by the name in the legend, examples looked at and the loss then.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3, 3.4), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes, x="examples looked at", y="loss over all examples")
    for (name, (seen, loss)), (color, line, mark) in zip(curves.items(), _PATHS, strict=False):
        shown = mark if len(seen) < 60 else None
        axes.plot(
            seen, loss, line, color=color, marker=shown, markersize=3.5, linewidth=1.5, label=name
        )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return figure
