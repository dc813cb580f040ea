"""Decoded data sets, kept on disk so that the second start takes seconds.

A data set is one uncompressed .npz file, named by a fingerprint of all it was made from: changed
data, another image size or another format of the cache is another file. Files are safe to delete.
"""

import hashlib
import io
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from cnn_jax import storage
from cnn_jax.data.dataset import Dataset, PixelRule, Split, check_dataset
from cnn_jax.display import shown
from cnn_jax.errors import UsageError

# Part of every fingerprint: raise it when decoding or the layout of the file changes.
_FORMAT = 5
# Half-made things that are older, in seconds, are no longer being made.
DAY = 86_400.0


def default_folder() -> Path:
    """Where things are kept between runs: the environment's `CNN_JAX_CACHE`, or ~/.cache/cnn_jax.

    All in it can be made again and is safe to delete.

    Raises:
        UsageError: there is no home folder, or none of the user whose name stands after a ~.
    """
    folder = os.path.expanduser(os.environ.get("CNN_JAX_CACHE") or "~/.cache/cnn_jax")
    if folder.startswith("~"):
        raise UsageError(f"there is no home folder for {folder}; name another in CNN_JAX_CACHE")
    return Path(folder)


def fingerprint(*parts: object) -> str:
    """A short name for `parts`, which are anything that JSON can hold."""
    text = json.dumps([_FORMAT, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def file_stamps(root: Path, paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Path below `root`, size in bytes and time of change in ns of each file, sorted."""
    stats = ((path, path.stat()) for path in paths)
    return sorted(
        (path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in stats
    )


def cached(
    build: Callable[[], Dataset],
    *,
    name: str,
    key: str,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Reads a data set from the cache, or builds it and puts it there.

    Args:
        build: makes the data set; called only if the cache has no sound copy.
        name: a readable beginning for the file's name.
        key: the fingerprint of everything that the data set depends on.
        cache_dir: where to keep it; default: the environment variable `CNN_JAX_CACHE`, then
            `~/.cache/cnn_jax`.

    Returns:
        The data set. A cache that cannot be read is made anew, one that cannot be written is done
        without; both are logged.

    Raises:
        UsageError: what was built is not fit to train on.
    """
    directory = Path(os.path.expanduser(cache_dir)) if cache_dir else default_folder()
    file_name = re.sub(r"[^\w.-]", "_", name)
    path = directory / f"{file_name}-{key}.npz"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    # A damaged archive can raise nearly anything, and building anew answers all of it.
    except Exception as error:
        logging.info("The cached %s cannot be read (%s) and is made anew.", path, error)
    dataset = check_dataset(build())
    try:
        _write(path, dataset)
        # What lies in a file takes no memory that others need.
        return _read(path, check=False)
    except (OSError, storage.WriteError) as error:
        logging.warning(
            "%s is not cached, so the next start decodes it again: %s", shown(name), error
        )
    return dataset


def _read(path: Path, check: bool = True) -> Dataset:
    arrays = _map_arrays(path, check)
    splits = {
        split: Split(arrays[f"{split}_images"], arrays[f"{split}_labels"])
        for split in ("train", "test", "validation")
        if split != "validation" or "validation_images" in arrays
    }
    said = json.loads(str(arrays["said"]))
    dataset = Dataset(
        str(arrays["name"]),
        splits["train"],
        splits["test"],
        tuple(arrays["class_names"].tolist()),
        splits.get("validation"),
        tuple(said["notes"]),
        PixelRule(*said["rule"]),
        said["unread"],
    )
    return check_dataset(dataset) if check else dataset


_LOCAL_HEADER, _LENGTHS = 30, slice(26, 30)


def _map_arrays(path: Path, check: bool) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz as parts of the file, which the system reads as needed.

    Args:
        path: of the file.
        check: whether checksums are compared, for which all of it is read.

    Raises:
        ValueError: a checksum does not fit, or a part is compressed.
    """
    content = np.memmap(path, np.uint8, "r")
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            lengths = content[info.header_offset :][_LENGTHS].view("<u2")
            start = info.header_offset + _LOCAL_HEADER + int(lengths.sum())
            part = content[start : start + info.file_size]
            sound = not check or zlib.crc32(part.data) == info.CRC
            if info.compress_type != zipfile.ZIP_STORED or not sound:
                raise ValueError(f"{info.filename} is damaged")
            header = io.BytesIO(part[:_LONGEST_HEADER].tobytes())
            np.lib.format.read_magic(header)
            shape, _, dtype = np.lib.format.read_array_header_1_0(header)
            values = part[header.tell() :].view(np.ndarray)
            found[info.filename.removesuffix(".npy")] = np.frombuffer(values, dtype).reshape(shape)
    return found


_LONGEST_HEADER = 1 << 16


def _write(path: Path, dataset: Dataset) -> None:
    storage.make_folder(path.parent)
    # Data sets are large: what a killed process left of one is not left for long.
    storage.remove_parts(path.parent.iterdir(), seconds=DAY)
    arrays: dict[str, Any] = {
        f"{name}_{what}": getattr(split, what)
        for name, split in dataset.splits.items()
        for what in ("images", "labels")
    }
    said = {"notes": dataset.notes, "rule": dataset.rule, "unread": dict(dataset.unread)}
    content = {
        "name": np.array(dataset.name),
        "class_names": np.array(dataset.class_names),
        "said": np.array(json.dumps(said)),
        **arrays,
    }
    storage.write(path, lambda file: np.savez(file, allow_pickle=False, **content))


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar on standard error while the block runs, if that is a terminal.

    Args:
        description: what is going on.
        total: how many steps there are.

    Yields:
        A function to call with the number of steps just done.
    """
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)
