"""The figures of the walkthrough, still and moving."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.analysis.figures import FAINT, INK, PALETTE, frame, legend, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIRST, _SECOND, _THIRD = PALETTE["blue"], PALETTE["vermilion"], PALETTE["green"]
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
    surrogate: Float[np.ndarray, "n"] | None = None,
) -> "Figure":
    """A function and its derivative, and the surrogate that is differentiated instead, if any."""
    figure, axes = panel(3.3, 2.5, title=title, x="x, the neuron's net input")
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.plot(x, value, color=_FIRST, linewidth=2, label="f(x)")
    axes.plot(x, derivative, "--", color=_SECOND, linewidth=1.6, label="its derivative")
    if surrogate is not None:
        axes.plot(x, surrogate, ":", color=INK, linewidth=1.6, label="surrogate of the derivative")
    axes.set_ylim(-1.25, 2.25)
    legend(axes, loc="upper left")
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
    figure, axes = panel(2.5, 2.0, title=title, x="predicted probability p of the truth")
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
    figure, axes = panel(4.4, 3.0, x="predicted probability p", y="log loss (nats)")
    axes.plot(p, if_true, color=_FIRST, linewidth=2, label="label 1: −log p")
    axes.plot(p, if_false, "--", color=_SECOND, linewidth=2, label="label 0: −log(1 − p)")
    axes.plot(*mark, "o", color=INK, markersize=6)
    text = f"p = {mark[0]:g}: {mark[1]:.2f}"
    axes.annotate(text, mark, (12, -2), textcoords="offset points", fontsize=9, color=INK)
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 5.5))
    legend(axes, 8.5, loc="center", bbox_to_anchor=(0.52, 0.6))
    return figure


def soft_target_curves(
    p: Float[np.ndarray, "n"], curves: Mapping[str, Float[np.ndarray, "n"]], target: float
) -> "Figure":
    """Losses against p where the target itself is a probability, which a dotted line marks."""
    figure, axes = panel(4.4, 3.0, x="predicted probability p", y="nats")
    for (name, values), (color, line, _) in zip(curves.items(), _PATHS, strict=False):
        axes.plot(p, values, line, color=color, linewidth=2, label=name)
    axes.axvline(target, color=INK, linestyle=":", linewidth=1.2, label=f"target {target:g}")
    axes.set(xlim=(0, 1), ylim=(-0.1, 3))
    legend(axes, 8.5, loc="upper center")
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
    first, second = axes_values
    figure, axes = panel(4.3, 3.4, x="first weight", y="second weight", grid=False)
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
    legend(axes, 8.5, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def loss_over_examples(
    curves: Mapping[str, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]],
) -> "Figure":
    """The loss against how many examples had to be looked at for it.

    Args:
        curves: by the name in the legend, examples looked at and the loss then.
    """
    figure, axes = panel(4.3, 3.4, x="examples looked at", y="loss over all examples")
    for (name, (seen, loss)), (color, line, mark) in zip(curves.items(), _PATHS, strict=False):
        shown = mark if len(seen) < 60 else None
        axes.plot(
            seen, loss, line, color=color, marker=shown, markersize=3.5, linewidth=1.5, label=name
        )
    axes.set_ylim(bottom=0)
    legend(axes, 8.5)
    return figure


# The colors that the lecture names, as Okabe and Ito's palette has them.
INPUT, WINDOW, OUTPUT = PALETTE["blue"], PALETTE["green"], PALETTE["vermilion"]
_GAP = 1.2


def window_places(feature_map: Float[np.ndarray, "oh ow"]) -> list[tuple[int, int]]:
    """Where the filter stands, in reading order: one place for each number of the feature map."""
    return [(int(row), int(column)) for row, column in np.ndindex(feature_map.shape)]


def weighted_sum(
    image: Float[np.ndarray, "h w"],
    kernel: Float[np.ndarray, "kh kw"],
    place: tuple[int, int],
    result: float,
) -> str:
    """The products under the filter and the number that they add up to, written out."""
    rows, columns = kernel.shape
    window = image[place[0] : place[0] + rows, place[1] : place[1] + columns]
    pairs = zip(window.flat, kernel.flat, strict=True)
    return " + ".join(f"{value:g}×{weight:g}" for value, weight in pairs) + f" = {result:g}"


def convolution_frame(
    image: Float[np.ndarray, "h w"],
    kernel: Float[np.ndarray, "kh kw"],
    feature_map: Float[np.ndarray, "oh ow"],
    place: tuple[int, int],
    caption: str = "",
) -> "Figure":
    """The image with the filter at one place, and the feature map as far as it is filled.

    Args:
        image: the input.
        kernel: the filter; its weights stand beside the values under it.
        feature_map: all of it.
        place: row and column of the filter's upper left corner, and of the number it gives.
        caption: beneath.
    """
    from matplotlib.figure import Figure

    height, width = image.shape
    out_height, out_width = feature_map.shape
    left, top = width + _GAP, (height - out_height) / 2
    bottom = height + (0.85 if caption else 0.1)
    figure = Figure(figsize=(0.5 * (left + out_width + 0.2), 0.5 * (bottom + 0.5)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.1, left + out_width + 0.1), ylim=(bottom, -0.5))
    axes.axis("off")
    for y, x in np.ndindex(image.shape):
        row, column = y - place[0], x - place[1]
        if 0 <= row < kernel.shape[0] and 0 <= column < kernel.shape[1]:
            _cell(axes, x, y, f"{image[y, x]:g}×{kernel[row, column]:g}", WINDOW)
        else:
            _cell(axes, x, y, f"{image[y, x]:g}")
    done = place[0] * out_width + place[1]
    for index, (row, column) in enumerate(window_places(feature_map)):
        text = f"{feature_map[row, column]:g}" if index <= done else ""
        _cell(axes, left + column, top + row, text, OUTPUT if index == done else None)
    frame(axes, (0, 0), width, height, edgecolor=INPUT, linewidth=2.4)
    frame(
        axes,
        (place[1], place[0]),
        kernel.shape[1],
        kernel.shape[0],
        edgecolor=WINDOW,
        linewidth=2.4,
    )
    frame(axes, (left, top), out_width, out_height, edgecolor=OUTPUT, linewidth=2.4)
    axes.text(0, -0.12, "image", color=INPUT, fontsize=9, weight="bold")
    axes.text(left, top - 0.12, "feature map", color=OUTPUT, fontsize=9, weight="bold")
    axes.text(0, height + 0.45, caption, color=INK, fontsize=9, va="center")
    return figure


def to_gif(figures: Sequence["Figure"], seconds: float = 1.2, dpi: int = 110) -> str:
    """Figures of one size as an animation that repeats, a `data:image/gif;base64,...` address.

    Args:
        figures: its frames, in order. Two alike in a row become one.
        seconds: how long each is seen; the last is seen twice as long.
        dpi: pixels per inch of the figures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    frames = []
    for figure in figures:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
        frames.append(Image.fromarray(pixels).quantize(64))
    milliseconds = round(1000 * seconds)
    data = io.BytesIO()
    frames[0].save(
        data,
        format="gif",
        save_all=True,
        append_images=frames[1:],
        duration=[milliseconds] * (len(frames) - 1) + [2 * milliseconds],
        loop=0,
        optimize=True,
    )
    return "data:image/gif;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _cell(axes: "Axes", x: float, y: float, text: str, color: str | None = None) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    tint = "white" if color is None else to_rgba(color, 0.22)
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=tint, edgecolor=FAINT, linewidth=0.7))
    size = 9 if len(text) > 2 else 12
    axes.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=size, color=INK)
