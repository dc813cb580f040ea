"""A picture file as bytes of gray or RGB, by rules that hold for a whole set.

Pictures are turned as their EXIF tag says, of several frames the first is read, and what is
transparent is laid on white (on black where the picture would vanish on white). A truncated JPEG is
what every viewer shows of it.
"""

import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import AS_THEY_ARE, PixelRule

# What is read: Pillow's formats for pictures, without those that run programs or hold none.
FORMATS = (
    "PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO",
    "PCX", "QOI", "SGI",
)  # fmt: skip
# Has no mark at its beginning, so it is believed only by its name.
_BY_NAME = {".tga": "TGA"}
PICTURE_SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".bmp", ".dib", ".gif",
        ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k",
        ".jpx", ".ico", ".pcx", ".qoi", ".sgi", ".tga", ".heic", ".heif", ".hif",
    }
)  # fmt: skip
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_GRAY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_WIDE = (*_GRAY_16_BIT, "I", "F")
_GRAY_MODES = ("1", "L", "LA", "La", *_WIDE)
_EXIF_ORIENTATION = 0x0112
# Cameras have up to a hundred million. Decoding takes up to 25 bytes for each.
MOST_PIXELS = 120_000_000
_END_OF_JPEG = b"\xff\xd9"


class Header(NamedTuple):
    """What is known of a picture without its pixels.

    Attributes:
        size: height and width, once upright.
        gray: whether it holds no color.
        mode: Pillow's.
        frames: whether it has several.
        deep: whether it has colors of 16 bits, of which Pillow gives the upper 8.
    """

    size: tuple[int, int]
    gray: bool
    mode: str
    frames: bool
    deep: bool

    @property
    def wide(self) -> bool:
        """Whether its values are no bytes."""
        return self.mode in _WIDE


class _NotReadError(ValueError):
    """It is a picture, but one that is not read."""


def open_picture(source: Any, name: str) -> Any:
    """A Pillow image of a file whose content is a picture.

    Args:
        source: the file, or its bytes.
        name: of the file.

    Raises:
        ValueError: it is HEIC, which needs a plug-in, or too large. Pillow raises nearly anything
            on others.
    """
    from PIL import Image

    formats = [*FORMATS, *filter(None, [_BY_NAME.get(Path(name).suffix.lower())])]
    try:
        picture = Image.open(source, formats=formats)
    except Image.DecompressionBombError as error:
        raise _NotReadError(f"it is too large: {error}") from None
    except Image.UnidentifiedImageError:
        if not _heif_brand(source):
            raise
        picture = _open_heif(source)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise _NotReadError(
            f"it has {width:,} x {height:,} pixels, and at most {MOST_PIXELS:,} are read"
        )
    return picture


def _heif_brand(source: Any) -> bool:
    if isinstance(source, io.BytesIO):
        head = source.getvalue()[:12]
    else:
        with open(source, "rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _open_heif(source: Any) -> Any:
    from PIL import Image

    try:
        import pillow_heif
    except ImportError:
        raise _NotReadError("it is HEIC, which needs: pip install pillow-heif") from None
    pillow_heif.register_heif_opener()
    return Image.open(source, formats=["HEIF"])


def is_picture(path: Path) -> bool:
    """Whether the content of a file is that of a picture, or of a HEIC one."""
    try:
        with open_picture(path, path.name):
            return True
    except _NotReadError:
        return True
    except Exception:
        return False


def _orientation(picture: Any) -> int:
    """As the camera was held, 1 to 8; 1 too where the tag cannot be read, as viewers take it."""
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _upright(picture: Any) -> Any:
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(_orientation(picture))  # fmt: skip
    return picture if turn is None else picture.transpose(turn)


def read_header(path: Path) -> Header:
    """What is known of a picture before its pixels are read.

    Raises:
        Exception: nearly anything, where it is no picture.
    """
    with open_picture(path, path.name) as picture:
        width, height = picture.size
        # Orientations 5 to 8 exchange rows and columns.
        if 5 <= _orientation(picture) <= 8:
            width, height = height, width
        gray = picture.mode in _GRAY_MODES
        layout = picture.tile[0][3] if picture.tile else ""
        deep = picture.mode in ("RGB", "RGBA") and ";16" in str(layout)
        mode = picture.mode
        if mode in ("P", "PA", "RGBA", "RGBa"):
            # Drawings in black and white are often saved with a palette or an alpha channel.
            gray = _is_gray(on_ground(picture).convert("RGB"))
        return Header((height, width), gray, mode, _has_frames(picture), deep)


def _has_frames(picture: Any) -> bool:
    # The others of an MPO are its depth, or smaller copies.
    return picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1


def has_frames(path: Path) -> bool:
    """Whether a picture file has frames or pages beside the first, which is read.

    Raises:
        Exception: nearly anything, where it is no picture.
    """
    with open_picture(path, path.name) as picture:
        return _has_frames(picture)


def _is_gray(picture: Any) -> bool:
    red, green, blue = np.moveaxis(np.asarray(picture), -1, 0)
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def on_ground(picture: Any) -> Any:
    """Transparent parts on white; on black where nothing would be seen on white."""
    from PIL import Image

    transparent = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if not transparent and "transparency" not in picture.info:
        return picture
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(layer)
    alpha = layer.getchannel("A").getextrema()
    if alpha[0] != alpha[1] and np.asarray(white).min() == 255:
        black = Image.new("RGBA", picture.size, "black")
        black.alpha_composite(layer)
        return black
    return white


def read_values(path: Path) -> tuple[np.ndarray, bool]:
    """The values of a picture that are no bytes, and whether they are 16-bit ones."""
    with open_picture(path, path.name) as picture:
        return _values(picture)


def _values(picture: Any) -> tuple[np.ndarray, bool]:
    values = np.asarray(picture)
    # Older Pillows have one mode for integers of 16 and of 32 bits.
    fits = picture.mode == "I" and 0 <= values.min() <= values.max() < 1 << 16
    return values, fits or picture.mode in _GRAY_16_BIT


def to_bytes(values: np.ndarray, rule: PixelRule, sixteen: bool) -> UInt8[np.ndarray, "..."]:
    """Values that are no bytes as bytes, by the rule of the set.

    Raises:
        ValueError: they are floats, and the rule is of a set that holds none.
    """
    if sixteen:
        return np.minimum(values.astype(np.int64) >> (rule.bits - 8), 255).astype(np.uint8)
    if rule.low is None or rule.high is None:
        raise ValueError("its pixels are 32-bit, and those of the training pictures are not")
    span = rule.high - rule.low or 1.0
    share = np.clip(np.nan_to_num((values.astype(np.float64) - rule.low) / span), 0, 1)
    return np.round(255 * share).astype(np.uint8)


class Range:
    """The extremes of values that are no bytes, over a set."""

    def __init__(self) -> None:
        self.bits: int | None = None
        self.low, self.high = math.inf, -math.inf

    def add(self, values: np.ndarray, sixteen: bool) -> None:
        """Takes the values of one more picture into account."""
        if sixteen:
            self.bits = max(self.bits or 8, int(values.max(initial=0)).bit_length())
        else:
            finite = values[np.isfinite(values)].astype(np.float64)
            self.low = min(self.low, float(finite.min(initial=math.inf)))
            self.high = max(self.high, float(finite.max(initial=-math.inf)))

    def rule(self, resize: str) -> PixelRule:
        """What makes bytes of them. Floats within [0, 1] keep their meaning."""
        rule = PixelRule(self.bits or 16, resize=resize)
        if self.low > self.high:
            return rule
        if self.low >= 0 and self.high <= 1:
            return rule._replace(low=0.0, high=1.0)
        return rule._replace(low=self.low, high=self.high)


class Decoded(NamedTuple):
    """A picture as bytes, and whether its file ended too early."""

    image: UInt8[np.ndarray, "h w c"]
    truncated: bool


def decode(path: Path, channels: int, rule: PixelRule = AS_THEY_ARE) -> Decoded:
    """A picture file turned upright, transparent parts on white, in gray or RGB.

    Args:
        path: of the file.
        channels: 1 for gray, 3 for RGB.
        rule: of the set.

    Raises:
        Exception: nearly anything, on damaged files.
    """
    from PIL import Image

    picture, truncated = _load(path)
    picture = _upright(picture)
    if picture.mode in _WIDE:
        values, sixteen = _values(picture)
        picture = Image.fromarray(to_bytes(values, rule, sixteen))
    picture, mode = on_ground(picture), "L" if channels == 1 else "RGB"
    if picture.mode == "LAB":
        # Pillow knows no other way from it to gray.
        picture = picture.convert("RGB")
    # Pillow copies a picture that has the mode already.
    pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return Decoded(pixels.reshape(*pixels.shape[:2], channels), truncated)


def _load(path: Path) -> tuple[Any, bool]:
    """A picture with its pixels, and whether its file ended too early."""
    picture = open_picture(path, path.name)
    try:
        picture.load()
    except OSError:
        if picture.format not in ("JPEG", "MPO"):
            raise
        # Told that the picture ends here, the decoder fills up what is missing, as viewers do.
        content = io.BytesIO(path.read_bytes() + _END_OF_JPEG)
        picture = open_picture(content, path.name)
        picture.load()
        return picture, True
    return picture, False
