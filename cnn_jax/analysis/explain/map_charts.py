"""Pictures of what is inside a network: its first filters and its feature maps."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from cnn_jax.analysis.explain.charts import bare, color_bar, colors
from cnn_jax.analysis.figures import FAINT, INK, displayable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def filter_grid(filters: Float[np.ndarray, "f kh kw c"], columns: int = 8) -> "Figure":
    """Filters side by side: gray ones with the sign of their weights, others as color images.

    Args:
        filters: values in [-1, 1] as from `filter_images`. Of 3 channels they are red, green and
            blue with no weight a middle gray; of any other number, their channels are summed.
        columns: filters in a row.
    """
    from matplotlib.figure import Figure

    filters = np.asarray(filters)
    columns = min(columns, len(filters))
    rows = math.ceil(len(filters) / columns)
    in_color = filters.shape[-1] == 3
    height = 0.7 * rows + (0.0 if in_color else 0.5)
    figure = Figure(figsize=(0.7 * columns, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
        axes.set_visible(False)
    for axes, kernel in zip(grid.flat, filters, strict=False):
        axes.set_visible(True)
        if in_color:
            axes.imshow((kernel + 1) / 2, interpolation="none", vmin=0, vmax=1)
        else:
            weights = kernel.sum(-1)
            axes.imshow(weights, cmap=colors(True), vmin=-1, vmax=1, interpolation="none")
    if not in_color:
        color_bar(figure, grid.flat, True, ("negative weight", "0", "positive"))
    return figure


def feature_map_strips(
    image: UInt8[np.ndarray, "h w c"],
    maps: Mapping[str, Float[np.ndarray, "fh fw f"]],
    most: int = 8,
) -> "Figure":
    """One strip of feature maps per layer, top to bottom as the image goes through the network.

    Args:
        image: what the network saw.
        maps: of that image, by the name of the layer, in order. A layer whose values have both
            signs is drawn with the sign; all maps of a layer share a scale.
        most: maps to show of each layer.
    """
    from matplotlib.figure import Figure

    height = 0.86
    figure = Figure(figsize=(1.5 + height * most, height * (len(maps) + 1) + 0.9))
    figure.set_layout_engine("constrained", h_pad=0.01)
    grid = figure.subplots(len(maps) + 1, 1, squeeze=False)
    for axes in grid[:, 0]:
        axes.set(xlim=(0, most), ylim=(1, 0), aspect="equal")
        axes.axis("off")
    _draw_strip(grid[0, 0], [displayable(image)], "image", "gray", 0, 255)
    signs = set()
    for axes, (name, values) in zip(grid[1:, 0], maps.items(), strict=True):
        values = np.asarray(values)
        signed = bool(values.min() < 0)
        signs.add(signed)
        scale = np.abs(values).max() or 1.0
        fh, fw, count = values.shape
        label = f"{name}\n{fh}x{fw}, {min(most, count)} of {count}"
        shown = [values[..., index] for index in range(min(most, count))]
        _draw_strip(axes, shown, label, colors(signed), -scale if signed else 0, scale)
    if True in signs:
        color_bar(figure, grid.flat, True, ("negative", "0", "positive"))
    if False in signs:
        color_bar(figure, grid.flat, False, ("0", "", "largest of the layer"))
    return figure


def _draw_strip(
    axes: "Axes",
    pictures: Sequence[np.ndarray],
    label: str,
    colormap: "str | Colormap",
    low: float,
    high: float,
) -> None:
    from matplotlib.patches import Rectangle

    for index, picture in enumerate(pictures):
        left, right, bottom, top = place = (index + 0.02, index + 0.98, 0.98, 0.02)
        axes.imshow(picture, cmap=colormap, vmin=low, vmax=high, interpolation="none", extent=place)
        # A map of zeros is as white as the page, and only its frame shows it.
        frame = Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=0.6)
        frame.set_edgecolor(FAINT)
        axes.add_patch(frame)
    axes.text(-0.1, 0.5, label, ha="right", va="center", fontsize=8, color=INK, parse_math=False)
