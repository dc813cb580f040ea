"""A picture of what augmentations do: the same images, over and over."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from cnn_jax.analysis.figures import INK, displayable, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = 0.62


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
