"""Many pictures as one array: headers first, then pixels, in parallel."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.cache import progress
from cnn_jax.data.dataset import PixelRule
from cnn_jax.data.folders._pixels import Header, Range, decode, read_header, read_values
from cnn_jax.data.folders._resize import check_room, different_sizes, resize
from cnn_jax.data.folders._scan import TEXT_LINK, is_text_link
from cnn_jax.errors import FIELD, FieldError

# Of many bad files so many are named.
_NAMED = 50
# So many pictures are under way at a time: what waits takes memory too.
_BLOCK = 4096

_Result = TypeVar("_Result")


class Pictures(NamedTuple):
    """What was read.

    Attributes:
        images: of the pictures that could be read, in their order.
        rule: by which values became bytes.
        bad: why others could not, by their index.
        notes: what a reader should know.
    """

    images: UInt8[np.ndarray, "n h w c"]
    rule: PixelRule
    bad: dict[int, str]
    notes: tuple[str, ...]


def read_pictures(
    name: str,
    paths: Sequence[Path],
    image_size: int | None,
    how: str,
    rule: PixelRule | None = None,
) -> Pictures:
    """Reads pictures, in threads (Pillow decodes outside the interpreter's lock).

    Args:
        name: of the data set.
        paths: of the files.
        image_size: side to which every picture is resized; None: all have one size.
        how: see `resize`.
        rule: by which values become bytes; None: by their own range.

    Raises:
        FieldError: sizes differ, and none was given.
    """
    with warnings.catch_warnings():
        # What Pillow warns of (large files, damaged tags) it then reads, or refuses with a reason.
        warnings.filterwarnings("ignore", module="PIL")
        headers, bad = _map(read_header, f"Looking through {name}", paths)
        unread: dict[int, str] = {}
        if rule is None:
            rule, unread = _learn_rule(name, paths, headers, how)
            rule = rule.resized((header.size for header in headers.values()), image_size)
        good = [index for index in headers if index not in unread]
        images, decoded, unread_pixels = _decode(
            name, [paths[index] for index in good], [headers[index] for index in good],
            image_size, rule,
        )  # fmt: skip
    bad |= unread | {good[index]: why for index, why in unread_pixels.items()}
    kept = [headers[index] for index in headers if index not in bad]
    return Pictures(images, rule, dict(sorted(bad.items())), _notes(kept, rule, sum(decoded)))


def _learn_rule(
    name: str, paths: Sequence[Path], headers: dict[int, Header], how: str
) -> tuple[PixelRule, dict[int, str]]:
    wide = [index for index, header in headers.items() if header.wide]
    found = Range()
    if not wide:
        return found.rule(how), {}
    extremes, bad = _map(
        lambda path: _extremes(*read_values(path)), f"Measuring {name}", [paths[i] for i in wide]
    )
    for values, sixteen in extremes.values():
        found.add(values, sixteen)
    return found.rule(how), {wide[index]: why for index, why in bad.items()}


def _extremes(values: np.ndarray, sixteen: bool) -> tuple[np.ndarray, bool]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("it holds no finite number")
    return np.array([finite.min(), finite.max()]), sixteen


def _decode(
    name: str,
    paths: Sequence[Path],
    headers: Sequence[Header],
    image_size: int | None,
    rule: PixelRule,
) -> tuple[UInt8[np.ndarray, "n h w c"], list[bool], dict[int, str]]:
    channels = 1 if all(header.gray for header in headers) else 3
    sizes = [header.size for header in headers]
    if not image_size and len(set(sizes)) > 1:
        other = next(index for index, size in enumerate(sizes) if size != sizes[0])
        raise different_sizes(
            sizes,
            f"{paths[other]} is {sizes[other][0]} x {sizes[other][1]} pixels but {paths[0]} is "
            f"{sizes[0][0]} x {sizes[0][1]} (height x width)",
        )
    shape = (image_size, image_size) if image_size else (sizes or [(0, 0)])[0]
    check_room(name, (len(paths), *shape, channels))
    images = np.empty((len(paths), *shape, channels), np.uint8)

    def read_into(path: Path, image: np.ndarray) -> bool:
        found = decode(path, channels, rule)
        image[...] = resize(found.image, image_size, rule.resize)
        return found.truncated

    truncated, bad = _map(read_into, f"Decoding {name}", paths, images)
    if bad:
        images = np.delete(images, list(bad), axis=0)
    return images, list(truncated.values()), bad


def _map(
    function: Callable[..., _Result], description: str, paths: Sequence[Path], *others: Any
) -> tuple[dict[int, _Result], dict[int, str]]:
    """`function` of each path by its index, and why some could not be read."""
    results: dict[int, _Result] = {}
    bad: dict[int, str] = {}

    def attempt(*arguments: Any) -> _Result | Exception:
        try:
            return function(*arguments)
        # Pillow's decoders raise nearly anything on damaged files.
        except Exception as error:
            return error

    # As many as there are cores: large pictures take hundreds of megabytes while they are decoded.
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(description, len(paths)) as advance:
        for start in range(0, len(paths), _BLOCK):
            blocks = (each[start : start + _BLOCK] for each in (paths, *others))
            for index, result in enumerate(pool.map(attempt, *blocks), start):
                if isinstance(result, Exception):
                    bad[index] = _reason(paths[index], result)
                else:
                    results[index] = result
                advance(1)
    return results, bad


def _reason(path: Path, error: Exception) -> str:
    """Why a picture cannot be read, for a reader, without its path."""
    from PIL import Image

    if isinstance(error, FileNotFoundError):
        return "there is nothing"
    size = path.stat().st_size
    if size == 0:
        return "empty file"
    if isinstance(error, Image.UnidentifiedImageError):
        return TEXT_LINK if is_text_link(path, size) else "no picture"
    reason = " ".join(str(error).replace(str(path), "").split())
    return reason or type(error).__name__


def _notes(headers: Sequence[Header], rule: PixelRule, truncated: int) -> tuple[str, ...]:
    notes = []
    if truncated:
        notes.append(f"{truncated:,} truncated JPEG read as viewers show it, missing parts gray")
    if frames := sum(header.frames for header in headers):
        notes.append(f"{frames:,} with several frames or pages: the first is read")
    if deep := sum(header.deep for header in headers):
        notes.append(f"{deep:,} with colors of 16 bits: the upper 8 are read")
    wide = {header.mode for header in headers if header.wide}
    if wide - {"I", "F"}:
        notes.append(
            f"16-bit pictures hold values of up to {rule.bits} bits, of which the upper 8 are read"
        )
    if wide & {"I", "F"}:
        notes.append(f"32-bit values from {rule.low or 0:g} to {rule.high or 0:g} became 0 to 255")
    return tuple(notes)


def refuse_bad(folder: Path, bad: dict[str, str]) -> None:
    """Ends reading with all files that cannot be used, in one message.

    Args:
        folder: that they lie in.
        bad: why each cannot be used, by its path.

    Raises:
        FieldError: if there are any.
    """
    if not bad:
        return
    (path, why), *others = list(bad.items())[:_NAMED]
    message = f"{os.path.join(folder, path)} cannot be read ({why})"
    if others:
        message += "; nor can " + ", ".join(f"{path} ({why})" for path, why in others)
    if len(bad) > _NAMED:
        message += f" and {len(bad) - _NAMED:,} more"
    raise FieldError(
        f"{message}; {FIELD.on_error}=skip leaves them out; unreadable pictures: {len(bad)}"
    )
