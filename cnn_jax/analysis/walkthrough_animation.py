"""The filter that slides over the image, one frame for each place, and the frames as a GIF."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.figures import FAINT, INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colors that the lecture names, as Okabe and Ito's palette has them.
INPUT, WINDOW, OUTPUT = PALETTE["blue"], PALETTE["green"], PALETTE["vermillion"]
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
    _frame(axes, 0, 0, width, height, INPUT)
    _frame(axes, place[1], place[0], kernel.shape[1], kernel.shape[0], WINDOW)
    _frame(axes, left, top, out_width, out_height, OUTPUT)
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


def _frame(axes: "Axes", x: float, y: float, width: float, height: float, color: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x, y), width, height, facecolor="none", edgecolor=color, linewidth=2.4)
    )
