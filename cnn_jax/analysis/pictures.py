"""From any picture to what a network was trained on: size, channels, ground and place.

A picture of a user may be dark on light where the training images are light on dark, and its
subject anywhere. What the training images have in common is learned from them, and only what all
of them share is imposed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, UInt8

from cnn_jax.data import AS_THEY_ARE, PixelRule
from cnn_jax.data.folders import Decoded, decode, resize

_SAMPLE = 2000
# What of a border may differ from its level, and from it on what is ink, in bytes.
_SAME = 24
_INK = 51
# A training set has a frame if this share of all border pixels has one level, and if the size and
# the place of the ink vary no more than this, as a share of the image's side.
_UNIFORM = 0.98
_SIZE_VARIES = 0.2
_PLACE_VARIES = 0.05
# The least contrast, in bytes, that is taken for a drawing.
_CONTRAST = 24


class _Frame(NamedTuple):
    """How gray training images on an even ground place what they show.

    Attributes:
        level: of the ground, in [0, 255].
        peak: of the ink at its strongest, likewise.
        size: longest side of the ink's bounding box, in pixels.
        row: of the ink's center.
        column: likewise.
        by_mass: whether that center is the center of mass; otherwise that of the box.
    """

    level: float
    peak: float
    size: int
    row: float
    column: float
    by_mass: bool


class Style(NamedTuple):
    """What the images of a training set have in common.

    Attributes:
        shape: height, width, channels.
        darkest: least brightness of a border (its median), in [0, 255].
        lightest: greatest, likewise.
        frame: how they place what they show, or None where they differ in it.
    """

    shape: tuple[int, int, int]
    darkest: float
    lightest: float
    frame: _Frame | None

    def to_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold."""
        frame = None if self.frame is None else self.frame._asdict()
        return self._asdict() | {"frame": frame}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            KeyError, TypeError: if it is something else.
        """
        height, width, channels = content["shape"]
        frame = content["frame"]
        return cls(
            (height, width, channels),
            content["darkest"],
            content["lightest"],
            None if frame is None else _Frame(**frame),
        )


class Fitted(NamedTuple):
    """A picture as the network takes it, and what was done to it beside cutting and scaling.

    Attributes:
        image: of the training set's size and style.
        inverted: whether light and dark were exchanged.
        centered: whether what it shows was cut out and placed as in the training images.
        truncated: whether its file ended too early, so that gray stands for what is missing.
    """

    image: UInt8[np.ndarray, "h w c"]
    inverted: bool
    centered: bool
    truncated: bool = False


def read_picture(path: Path, channels: int, rule: PixelRule = AS_THEY_ARE) -> Decoded:
    """A picture file turned upright, transparent parts on white, in gray or RGB.

    Args:
        path: of the file.
        channels: 1 for gray, 3 for RGB.
        rule: of the training set, by which values that are no bytes become bytes.

    Raises:
        ValueError: it cannot be read, with the reason for a reader.
    """
    from PIL import UnidentifiedImageError

    try:
        return decode(path, channels, rule)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except UnidentifiedImageError:
        if path.is_file() and not path.stat().st_size:
            raise ValueError("the file is empty") from None
        raise ValueError("it is not a picture, or of a format that is not known") from None
    # Pillow's decoders raise nearly anything on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"it cannot be decoded: {reason}") from error


def learn_style(images: UInt8[np.ndarray, "n h w c"]) -> Style:
    """What training images have in common, from up to 2000 of them."""
    sample = images[:: -(-len(images) // _SAMPLE)]
    medians = np.median(_border(sample), axis=1)
    shape = (sample.shape[1], sample.shape[2], sample.shape[3])
    frame = _learn_frame(sample[..., 0]) if shape[2] == 1 and min(shape[:2]) >= 8 else None
    return Style(shape, float(medians.min()), float(medians.max()), frame)


def fit_picture(
    picture: UInt8[np.ndarray, "h w c"], style: Style, invert: bool | None = None,
    rule: PixelRule = AS_THEY_ARE,
) -> Fitted:  # fmt: skip
    """The picture as an image of the training set's size and style.

    Where the training images share a frame, the picture's subject is put in the same: its ink is
    cut out, scaled to the size that ink has there, and placed at the same center. A picture that
    has the size of the training images, or of the pictures that were resized to become them, and
    their ground, is taken as those were.

    Args:
        picture: with the channels of the training images.
        style: of the training images.
        invert: whether to exchange light and dark; None: where the border says that light and dark
            are not as in the (gray) training images.
        rule: of the training set, by which pictures of another shape became its images.
    """
    if invert is None:
        invert = style.shape[2] == 1 and _is_negative(picture, style)
    if invert:
        picture = 255 - picture
    height, width, _ = style.shape
    as_trained = picture.shape[:2] == (height, width) or rule.is_of(*picture.shape[:2])
    if style.frame is not None and (invert or not as_trained):
        placed = _place(picture[..., 0], style.frame, height, width)
        if placed is not None:
            return Fitted(placed[..., None], invert, True)
    if rule.resize != "crop" and height == width:
        return Fitted(resize(picture, height, rule.resize), invert, False)
    return Fitted(_cover(picture, height, width), invert, False)


def _border(images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n p"]:
    """The outermost pixels of each image."""
    edges = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
    return np.concatenate([edge.reshape(len(images), -1) for edge in edges], axis=1)


def _is_negative(picture: np.ndarray, style: Style) -> bool:
    """Whether no training image has such a border, and its negative is nearer to theirs."""
    level = float(np.median(_border(picture[None])))

    def outside(value: float) -> float:
        return max(style.darkest - value, value - style.lightest, 0.0)

    return outside(255 - level) < outside(level)


def _learn_frame(images: UInt8[np.ndarray, "n h w"]) -> _Frame | None:
    border = _border(images[..., None]).astype(float)
    level = float(np.median(border))
    if np.mean(np.abs(border - level) <= _SAME) < _UNIFORM:
        return None
    ink = _ink(images.astype(float), level, dark_ground=level < 128)
    boxes = [_box(each >= _INK) for each in ink]
    some = [index for index, box in enumerate(boxes) if box is not None]
    if len(some) < 2:
        return None
    found = np.array([boxes[index] for index in some], float)
    longest = np.maximum(found[:, 1] - found[:, 0], found[:, 3] - found[:, 2])
    centers = {
        True: np.array([_center_of_mass(ink[index]) for index in some]),
        False: (found[:, [0, 2]] + found[:, [1, 3]] - 1) / 2,
    }
    spread = {by_mass: center.std(axis=0).max() for by_mass, center in centers.items()}
    by_mass = bool(spread[True] < spread[False])
    side = max(images.shape[1:])
    varies = float(np.quantile(longest, 0.9) - np.quantile(longest, 0.1))
    if varies > _SIZE_VARIES * side or spread[by_mass] > _PLACE_VARIES * side:
        return None
    row, column = np.median(centers[by_mass], axis=0)
    peak = float(np.median(ink[some].max(axis=(1, 2))))
    return _Frame(
        level,
        level + peak if level < 128 else level - peak,
        int(np.median(longest)),
        float(row),
        float(column),
        by_mass,
    )


def _ink(
    images: Float[np.ndarray, "*n h w"], level: float, dark_ground: bool
) -> Float[np.ndarray, "*n h w"]:
    """How far each pixel is from the ground, towards light on a dark ground, else towards dark."""
    return np.maximum(images - level if dark_ground else level - images, 0)


def _place(
    picture: UInt8[np.ndarray, "h w"], frame: _Frame, height: int, width: int
) -> UInt8[np.ndarray, "height width"] | None:
    """What is drawn in a picture, in the frame; None where nothing is."""
    from PIL import Image

    ground = float(np.median(_border(picture[None, ..., None])))
    ink = _ink(picture.astype(float), ground, dark_ground=frame.level < 128)
    if ink.max() < _CONTRAST:
        return None
    threshold = _otsu(ink)
    # Noise and shading of the ground go, and strokes become as even as in the training images.
    strength = np.median(ink[ink > threshold])
    low = threshold / 2
    ink = np.clip((ink - low) / max(strength - low, 1), 0, 1)
    box = _box(ink > 0.5)
    if box is None:
        return None
    top, bottom, left, right = box
    cut = Image.fromarray((255 * ink[top:bottom, left:right]).astype(np.uint8))
    scale = min(frame.size / max(cut.size), height / cut.height, width / cut.width)
    size = max(1, round(cut.width * scale)), max(1, round(cut.height * scale))
    small = np.asarray(cut.resize(size, Image.Resampling.BILINEAR), float)
    small /= max(small.max(), 1)
    row, column = _center_of_mass(small) if frame.by_mass else (np.array(small.shape) - 1) / 2
    first_row = int(np.clip(round(frame.row - row), 0, height - small.shape[0]))
    first_column = int(np.clip(round(frame.column - column), 0, width - small.shape[1]))
    image = np.full((height, width), frame.level)
    part = image[first_row:, first_column:][: small.shape[0], : small.shape[1]]
    part += small * (frame.peak - frame.level)
    return np.round(image).astype(np.uint8)


def _cover(
    picture: UInt8[np.ndarray, "h w c"], height: int, width: int
) -> UInt8[np.ndarray, "height width c"]:
    """The largest centered part of the aspect ratio asked for, scaled as `data.resize` does."""
    if picture.shape[:2] == (height, width):
        return picture
    from PIL import Image

    scale = min(picture.shape[0] / height, picture.shape[1] / width)
    rows, columns = (max(1, round(side * scale)) for side in (height, width))
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    part = picture[top : top + rows, left : left + columns]
    image = Image.fromarray(part if part.shape[2] == 3 else part[..., 0])
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled).reshape(height, width, -1)


def _box(there: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int] | None:
    """Rows from and to, columns from and to (both ends after the last), of what is there."""
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    if not rows.size:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _center_of_mass(ink: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "2"]:
    total = ink.sum()
    rows, columns = np.arange(ink.shape[0]), np.arange(ink.shape[1])
    return np.array([ink.sum(1) @ rows, ink.sum(0) @ columns]) / total


def _otsu(values: Float[np.ndarray, "h w"]) -> float:
    """The threshold that best parts values in [0, 255] in two: Otsu, IEEE Trans. SMC 9, 1979."""
    counts = np.bincount(np.round(values).astype(int).ravel(), minlength=256)
    below = np.cumsum(counts)
    above = below[-1] - below
    moments = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moments / below - (moments[-1] - moments) / above) ** 2
    return float(np.argmax(np.nan_to_num(between)))
