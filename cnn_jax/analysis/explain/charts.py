"""Pictures of explanations, and of what is inside a network: arrays in, a matplotlib Figure out.

Values with a sign are blue where they speak for something and vermilion where against; values
without one go from light to dark. A map has its own scale, so that weak ones show as well.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from cnn_jax.analysis.figures import (
    FAINT,
    INK,
    PALETTE,
    bare,
    displayable,
    draw_image,
    empty_figure,
    frame,
    short,
    short_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_FOR = PALETTE["blue"]
_AGAINST = PALETTE["vermilion"]
_MIDDLE = PALETTE["purple"]
_MOST = "#2d0a4e"
# A map is drawn up to this quantile of its absolute values: single pixels would outshine it.
_STRONGEST = 0.995
# Beneath a map the image keeps this much of its contrast, and none of its color.
_CONTRAST = 0.25
# What a color bar says at the least, the middle and the greatest value, with signs and without.
_OF_HEAT = {True: ("against", "nothing", "for"), False: ("nothing", "", "most")}
_OF_WEIGHTS = {True: ("negative weight", "0", "positive")}
_OF_MAPS = {True: ("negative", "0", "positive"), False: ("0", "", "largest of the layer")}


def colors(signed: bool) -> "Colormap":
    """The diverging color map of values with a sign, or the sequential one of those without."""
    from matplotlib.colors import LinearSegmentedColormap

    if signed:
        return LinearSegmentedColormap.from_list("against to for", [_AGAINST, "white", _FOR])
    return LinearSegmentedColormap.from_list("nothing to most", ["white", _MIDDLE, _MOST])


def heat_scale(heat: Float[np.ndarray, "*dims"]) -> float:
    """The absolute value at which a map, or several that are to be compared, has all its color."""
    strength = np.abs(np.where(np.isfinite(heat), heat, 0))
    return float(np.quantile(strength, _STRONGEST) or strength.max() or 1.0)


def heat_over_image(
    image: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"], signed: bool, scale: float
) -> Float[np.ndarray, "h w 3"]:
    """The map over the faded image as RGB in [0, 1], as if one were printed on the other.

    Args:
        image: 1, 3 or 4 channels.
        heat: the map; a value that is not finite is drawn as 0.
        signed: which of the `colors` to take.
        scale: the absolute value that has the strongest color, as `heat_scale` finds it.
    """
    gray = displayable(image)
    gray = (gray if gray.ndim == 2 else gray[..., :3].mean(-1)) / 255
    faded = (1 - _CONTRAST + _CONTRAST * gray)[..., None]
    values = np.clip(np.where(np.isfinite(heat), heat, 0) / scale, -1, 1)
    return faded * colors(signed)((values + 1) / 2 if signed else values)[..., :3]


def explanation_rows(
    images: UInt8[np.ndarray, "n h w c"],
    heats: Mapping[str, Float[np.ndarray, "n h w"]],
    captions: Sequence[str],
) -> "Figure":
    """A row for each image: the image, then the map of every method over it.

    Args:
        images: 1, 3 or 4 channels.
        heats: by the name of the method, one map for each image. A method whose maps have both
            signs is drawn with the sign.
        captions: one per image, beside it: what is explained, for example; of one line or several.
    """
    columns = len(heats) + 1
    figure = empty_figure(1.5 * columns + 0.3, 1.5 * len(images) + 0.9)
    grid = figure.subplots(len(images), columns, squeeze=False)
    for axes, title in zip(grid[0], ["image", *heats], strict=True):
        axes.set_title(short(title, 22), fontsize=9, color=INK, parse_math=False)
    signed = {name: bool(np.nanmin(heat) < 0) for name, heat in heats.items()}
    for row, image, caption in zip(range(len(images)), images, captions, strict=True):
        draw_image(grid[row, 0], image)
        grid[row, 0].set_ylabel(short_lines(caption, 22), fontsize=9, color=INK, parse_math=False)
        for axes, (name, heat) in zip(grid[row, 1:], heats.items(), strict=True):
            _draw_heat(axes, image, heat[row], signed[name], heat_scale(heat[row]))
    _color_bars(figure, grid.flat, set(signed.values()), _OF_HEAT)
    return figure


def neighbor_rows(
    images: UInt8[np.ndarray, "n h w c"],
    captions: Sequence[str],
    neighbors: UInt8[np.ndarray, "n k h w c"],
    neighbor_captions: Sequence[Sequence[str]],
) -> "Figure":
    """A row for each image: the image, then its nearest neighbors, nearest first.

    Args:
        images: the images looked up.
        captions: one per image, its class for example.
        neighbors: the images found for each of them.
        neighbor_captions: one per neighbor, class and distance for example.
    """
    count, most = neighbors.shape[:2]
    figure = empty_figure(1.15 * (most + 1.3), 1.4 * count)
    widths = [1, 0.12, *[1] * most]
    grid = figure.subplots(count, most + 2, squeeze=False, width_ratios=widths)
    for row in range(count):
        draw_image(grid[row, 0], images[row], captions[row], weight="bold")
        grid[row, 1].axis("off")
        for axes, image, caption in zip(
            grid[row, 2:], neighbors[row], neighbor_captions[row], strict=True
        ):
            draw_image(axes, image, caption)
    return figure


def evidence_grid(
    images: UInt8[np.ndarray, "n h w c"],
    heats: Float[np.ndarray, "n h w"],
    captions: Sequence[str],
    columns: int = 4,
) -> "Figure":
    """Images, each with its evidence beneath it: blue for, vermilion against.

    Args:
        images: 1, 3 or 4 channels.
        heats: one map for each.
        captions: one per image, of one line or several: what the evidence speaks for.
        columns: images in a row.
    """
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    lines = 1 + max(caption.count("\n") for caption in captions)
    figure = empty_figure(1.5 * columns + 0.3, (2.8 + 0.16 * lines) * rows + 0.5)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    pairs = grid.reshape(rows, 2, columns).swapaxes(1, 2).reshape(-1, 2)
    for axes in pairs[len(images) :].flat:
        axes.set_visible(False)
    for (above, below), image, heat, caption in zip(pairs, images, heats, captions, strict=False):
        draw_image(above, image)
        _draw_heat(below, image, heat, True, heat_scale(heat))
        below.set_xlabel(short_lines(caption, 24), fontsize=8, color=INK, parse_math=False)
    _color_bars(figure, grid.flat, {True}, _OF_HEAT)
    return figure


def image_grid(
    images: Shaped[np.ndarray, "n h w c"],
    captions: Sequence[str],
    columns: int = 5,
    patches: Int[np.ndarray, "n 4"] | None = None,
) -> "Figure":
    """Images with a caption beneath each, those that `maximize` found for example.

    Args:
        images: bytes, or any floats, whose least and greatest of each image become black and white.
        captions: one per image.
        columns: images in a row.
        patches: first row and column, height and width of a place to frame in each image: that
            of `first_seen` for example.
    """
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = empty_figure(1.3 * columns, 1.55 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_visible(False)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = grid.flat[index]
        draw_image(axes, as_bytes(image), caption)
        if patches is not None:
            top, left, height, width = patches[index]
            # A pixel's center is its coordinate, so that its corner is half a pixel before.
            corner = (left - 0.5, top - 0.5)
            frame(axes, corner, width, height, linewidth=2, edgecolor=PALETTE["orange"])
    return figure


def as_bytes(image: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """The image as bytes; of floats, the least becomes 0 and the greatest 255."""
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return image
    span = image.max() - image.min()
    return np.round(255 * (image - image.min()) / (span if span > 0 else 1)).astype(np.uint8)


def ambiguous_card(
    image: UInt8[np.ndarray, "h w c"],
    probabilities: Float[np.ndarray, " classes"],
    class_names: Sequence[str],
    evidence: Float[np.ndarray, "2 h w"],
    caption: str = "",
) -> "Figure":
    """One image, its two first guesses, and the evidence for each: duck or rabbit?

    Args:
        image: 1, 3 or 4 channels.
        probabilities: one per class, each in [0, 1].
        class_names: one name per class.
        evidence: the map that speaks for the first guess, and the one for the second; they share
            a scale.
        caption: beneath the image, its true class for example.
    """
    guesses = np.argsort(-np.asarray(probabilities), kind="stable")[:2]
    names = [short(class_names[guess], 14) for guess in guesses]
    figure = empty_figure(6.6, 3.0)
    shown, first, second = figure.subplots(1, 3)
    draw_image(shown, image, caption, most=36)
    shown.set_title(f"{names[0]} or {names[1]}?", fontsize=10, color=INK, parse_math=False)
    signed = bool(np.min(evidence) < 0)
    for axes, name, guess, heat in zip((first, second), names, guesses, evidence, strict=True):
        _draw_heat(axes, image, heat, signed, heat_scale(evidence))
        title = f"for {name}: {probabilities[guess]:.0%}"
        axes.set_title(title, fontsize=10, color=INK, parse_math=False)
    _color_bars(figure, [shown, first, second], {signed}, _OF_HEAT)
    return figure


def _draw_heat(
    axes: "Axes", image: np.ndarray, heat: np.ndarray, signed: bool, scale: float
) -> None:
    bare(axes)
    axes.imshow(heat_over_image(image, heat, signed, scale), interpolation="none")


def _color_bars(
    figure: "Figure",
    axes: Iterable["Axes"],
    signs: Collection[bool],
    marks: Mapping[bool, Sequence[str]],
) -> None:
    """A color bar beneath for values with a sign, and one for those without, as there are."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    above = list(axes)
    for signed in sorted(signs, reverse=True):
        bar = figure.colorbar(
            ScalarMappable(Normalize(-1 if signed else 0, 1), colors(signed)),
            ax=above,
            orientation="horizontal",
            ticks=[-1, 0, 1] if signed else [0, 0.5, 1],
            shrink=0.5,
            aspect=40,
            pad=0.02,
        )
        bar.ax.set_xticklabels(marks[signed], fontsize=8, color=INK)
        bar.ax.tick_params(length=0)
        bar.outline.set_visible(False)  # type: ignore[operator]


def filter_grid(filters: Float[np.ndarray, "f kh kw c"], columns: int = 8) -> "Figure":
    """Filters side by side: gray ones with the sign of their weights, others as color images.

    Args:
        filters: values in [-1, 1] as from `filter_images`. Of 3 channels they are red, green and
            blue with no weight a middle gray; of any other number, their channels are summed.
        columns: filters in a row.
    """
    filters = np.asarray(filters)
    columns = min(columns, len(filters))
    rows = math.ceil(len(filters) / columns)
    in_color = filters.shape[-1] == 3
    height = 0.7 * rows + (0.0 if in_color else 0.5)
    figure = empty_figure(0.7 * columns, height)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(filters) :]:
        axes.set_visible(False)
    for axes, kernel in zip(grid.flat, filters, strict=False):
        bare(axes)
        if in_color:
            axes.imshow((kernel + 1) / 2, interpolation="none", vmin=0, vmax=1)
        else:
            weights = kernel.sum(-1)
            axes.imshow(weights, cmap=colors(True), vmin=-1, vmax=1, interpolation="none")
    if not in_color:
        _color_bars(figure, grid.flat, {True}, _OF_WEIGHTS)
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
    height = 0.86
    figure = empty_figure(1.5 + height * most, height * (len(maps) + 1) + 0.9)
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
    _color_bars(figure, grid.flat, signs, _OF_MAPS)
    return figure


def _draw_strip(
    axes: "Axes",
    pictures: Sequence[np.ndarray],
    label: str,
    colormap: "str | Colormap",
    low: float,
    high: float,
) -> None:
    for index, picture in enumerate(pictures):
        left, right, bottom, top = place = (index + 0.02, index + 0.98, 0.98, 0.02)
        axes.imshow(picture, cmap=colormap, vmin=low, vmax=high, interpolation="none", extent=place)
        # A map of zeros is as white as the page, and only its frame shows it.
        frame(axes, (left, top), right - left, bottom - top, linewidth=0.6, edgecolor=FAINT)
    axes.text(-0.1, 0.5, label, ha="right", va="center", fontsize=8, color=INK, parse_math=False)
