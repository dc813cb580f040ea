"""Charts of images: each with the guesses of a network, or as augmentations change it.

Only matplotlib's object-oriented interface is used, so that drawing touches no global state and
needs no display.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cnn_jax.analysis.figures import INK, RIGHT, WRONG, displayable, draw_image, empty_figure, short
from cnn_jax.analysis.predictions import top_guesses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = 0.62


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
    if len(images) == 0:
        raise ValueError("images must hold at least one image, got none")
    guesses = top_guesses(probabilities, k)
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    heights = [1.5, 0.2 * guesses.shape[1]]
    figure = empty_figure(2.3 * columns, (sum(heights) + 0.5) * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=heights * rows)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column])
        truth = None if labels is None else int(labels[index])
        name = "" if truth is None else short(class_names[truth], 24)
        draw_image(above, image, name, most=24, fontsize=9, weight="bold")
        row = guesses[index]
        right = row == truth if truth is not None else np.ones(len(row), bool)
        if thresholds is not None:
            right = probabilities[index][row] >= thresholds[row]
            place = np.arange(len(row))
            below.vlines(thresholds[row], place - 0.5, place + 0.5, color=INK, linewidth=1)
        _draw_guesses(below, row, probabilities[index], class_names, right)
    return figure


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


def augmentation_rows(
    images: UInt8[np.ndarray, "n h w c"],
    augmented: Mapping[str, Sequence[UInt8[np.ndarray, "draws h w c"]]],
) -> "Figure":
    """One row per augmentation: each image's draws side by side, below the images themselves.

    Args:
        images: the originals.
        augmented: for each augmentation's name, as many stacks of draws as there are images.
    """
    from matplotlib.figure import Figure

    draws = len(next(iter(augmented.values()))[0])
    originals = [np.repeat(image[None], draws, 0) for image in images]
    rows = {"original": originals, **augmented}
    columns = len(images) * draws
    figure = Figure(figsize=(_INCHES * columns, _INCHES * len(rows)))
    grid = figure.subplots(
        len(rows),
        columns,
        squeeze=False,
        gridspec_kw={"wspace": 0.06, "hspace": 0.08, "left": 0.0, "right": 1.0},
    )
    for line, (name, stacks) in zip(grid, rows.items(), strict=True):
        pictures = [picture for stack in stacks for picture in stack]
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(displayable(picture), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        line[0].text(
            -0.15, 0.5, short(name, 28), transform=line[0].transAxes, ha="right", va="center",
            fontsize=9, color=INK,
        )  # fmt: skip
    if draws > 1:
        # An original stands once, before the draws of its row begin to differ.
        for index, axes in enumerate(grid[0]):
            axes.set_visible(index % draws == 0)
    return figure
