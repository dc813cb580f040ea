"""What every figure shares: the palette, the look of its axes, and its writing as SVG or PNG text.

Colors are those of Okabe and Ito; whatever a color says, a line style, a hatch or a mark should
say too.
"""

import base64
import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging
from jaxtyping import UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008: told apart with any common color blindness.
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
# The page of a run under way is drawn beside its report; matplotlib's settings are of the process.
_settings = threading.RLock()
RIGHT = PALETTE["blue"]
WRONG = PALETTE["orange"]
INK = "#1f2933"
FAINT = "#d5dbe1"


def tidy(
    axes: "Axes", title: str = "", x: str = "", y: str = "", grid: bool = True, percent: str = ""
) -> None:
    """Gives axes the house look, their title and their labels; `percent` names axes of shares."""
    from matplotlib.ticker import PercentFormatter

    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=8.5, color=INK)
    axes.set_ylabel(y, fontsize=8.5, color=INK)
    axes.tick_params(which="both", labelsize=8, colors=INK, color=FAINT)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    if grid:
        axes.grid(color=FAINT, linewidth=0.5)
    for name in percent:
        getattr(axes, f"{name}axis").set_major_formatter(PercentFormatter(1.0))


def empty_figure(width: float, height: float) -> "Figure":
    """A figure of this size, in inches, whose parts will make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panel(width: float, height: float, **look: Any) -> "tuple[Figure, Axes]":
    """A figure of this size, in inches, with one panel that has the `look` of `tidy`."""
    figure = empty_figure(width, height)
    axes = figure.add_subplot()
    tidy(axes, **look)
    return figure, axes


def logarithmic(axes: "Axes", names: str) -> None:
    """Makes the axes of these names ("x", "y" or "xy") logarithmic, with plain numbers."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for name in names:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(Plain())
        axis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))


def legend(of: "Axes | Figure", fontsize: float = 8, **place: Any) -> None:
    """Gives axes or a figure a legend in the house look, `place` as matplotlib takes it."""
    of.legend(frameon=False, fontsize=fontsize, labelcolor=INK, **place)


def bare(axes: "Axes") -> None:
    """Makes axes those of a picture: a faint frame and no ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(FAINT)


def frame(
    axes: "Axes", corner: tuple[float, float], width: float, height: float, **line: Any
) -> None:
    """Draws a rectangle's outline from its upper left corner, `line` as matplotlib takes it."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, width, height, fill=False, **line))


def draw_image(
    axes: "Axes",
    image: UInt8[np.ndarray, "h w c"],
    caption: str = "",
    most: int = 20,
    fontsize: float = 8,
    weight: str = "normal",
) -> None:
    """Draws the image and its caption, each line cut to `most` characters to stay beneath it."""
    bare(axes)
    axes.imshow(displayable(image), cmap="gray", vmin=0, vmax=255, interpolation="none")
    text = short_lines(caption, most)
    axes.set_xlabel(text, fontsize=fontsize, weight=weight, color=INK, parse_math=False)


def short_lines(text: str, most: int) -> str:
    """The text with each of its lines cut to `most` characters."""
    return "\n".join(short(line, most) for line in text.split("\n"))


def short(text: str, most: int) -> str:
    """The text on one line, cut to `most` characters with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def displayable(image: UInt8[np.ndarray, "h w c"]) -> np.ndarray:
    """The image as matplotlib and PIL take it: gray without its channel axis, color as it is."""
    return image if image.shape[-1] in (3, 4) else image[..., 0]


def to_svg(figure: "Figure", name: str = "figure") -> str:
    """The figure as one <svg> element, the same text for the same figure.

    Args:
        figure: what to write; its text stays text, in the reader's fonts.
        name: letters, digits and hyphens; begins every id, so that several figures of different
            names can stand in one page.
    """
    import matplotlib

    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    text = io.StringIO()
    with (
        _settings,
        matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # Text is drawn by the reader's fonts, whatever letters those lack that measure it here.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(text, format="svg", bbox_inches="tight", pad_inches=0.04, metadata=nothing)
    element = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)


def to_png(figure: "Figure", dpi: int = 144) -> str:
    """The figure as a `data:image/png;base64,...` address, the same for the same figure."""
    return _png_address(png_bytes(figure, dpi))


def png_bytes(figure: "Figure", dpi: int = 144) -> bytes:
    """The figure as the content of a PNG file, the same for the same figure."""
    data = io.BytesIO()
    with missing_letters_said():
        figure.savefig(
            data, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None}
        )
    return data.getvalue()


@contextmanager
def missing_letters_said() -> Iterator[None]:
    """Says in one line that letters of names are drawn as boxes, where no font here has them."""
    with _settings, warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph")
        yield
    if any("Glyph" in str(each.message) for each in caught):
        logging.warning(
            "letters of names are drawn as boxes in pictures, for no font here has them; a font "
            "such as Noto Sans CJK does (pages are shown in the reader's fonts)"
        )


def image_to_png(image: UInt8[np.ndarray, "h w c"], longest: int = 112) -> str:
    """An image as a `data:image/png;base64,...` address, shrunk to `longest` pixels a side."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(displayable(image)))
    picture.thumbnail((longest, longest))
    data = io.BytesIO()
    picture.save(data, format="png", optimize=True)
    return _png_address(data.getvalue())


def _png_address(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
