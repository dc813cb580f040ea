"""From a name or a path to a data set."""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from cnn_jax.data._names import resolve
from cnn_jax.data.dataset import Dataset, PixelRule, Split, check_dataset
from cnn_jax.data.faces import load_faces
from cnn_jax.data.files import is_archive, open_files, several_labels_in_files, stem, unpack
from cnn_jax.data.folders import (
    File,
    Folder,
    Options,
    Scan,
    has_several_labels,
    load_pictures,
    resize_dataset,
    scan,
)
from cnn_jax.data.tfds import load_tfds
from cnn_jax.errors import UsageError


def read_embedded_mnist() -> Dataset:
    """Reads all of MNIST, in its original order, with no download.

    Returns:
        60,000 training and 10,000 test images of shape 28 x 28 x 1, classes "0" to "9".

    References:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition,
        Proceedings of the IEEE 86(11), 1998.
    """
    packed = resources.files("cnn_jax.data").joinpath("mnist.npz")
    with packed.open("rb") as file, np.load(file) as arrays:
        train, test = (
            Split(arrays[f"x_{split}"][..., None], arrays[f"y_{split}"].astype(np.int32))
            for split in ("train", "test")
        )
    return Dataset("mnist", train, test, tuple("0123456789"))


# Names with a source of their own, as a function of the folder of the cache; any other name is one
# of TensorFlow Datasets.
DATASETS: dict[str, Callable[[str | os.PathLike[str] | None], Dataset]] = {
    "faces": load_faces,
    "mnist": lambda cache_dir: read_embedded_mnist(),
}

# Those of them whose images have several labels each.
MULTI_LABEL: set[str] = {"faces"}


def is_multi_label(
    name_or_path: str | os.PathLike[str],
    *,
    labels: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
) -> bool:
    """Whether the images that `load` would read have several labels each; reads none of them."""
    name = os.fspath(name_or_path)
    place = _place(name)
    if place is None:
        return resolve(name, DATASETS) in MULTI_LABEL
    path, _ = place
    try:
        cache = os.fspath(cache_dir) if cache_dir else None
        return _several_labels(path, labels, cache, tuple(_stamps(path, _TABLES_DEEP)))
    # What is wrong there is said when it is loaded.
    except UsageError:
        return False


def is_of_files(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether it is read from a folder or files that are there, and is not a name."""
    return _place(os.fspath(name_or_path)) is not None


def _place(name: str) -> tuple[Path, str] | None:
    """What is there under a name, and how names of IDX files in it begin; None: it is no path."""
    if not name or name in DATASETS:
        return None
    path = Path(os.path.expanduser(name))
    if path.exists():
        return path, ""
    prefix = _idx_prefix(path)
    return (path.parent, prefix) if prefix else None


# Tables of labels lie no deeper.
_TABLES_DEEP = 2


def _stamps(path: Path, depth: int) -> Iterator[tuple[str, int]]:
    """What changes when a folder or one of its tables does."""
    # What cannot be looked at is said when the data are loaded.
    with contextlib.suppress(OSError):
        yield str(path), path.stat().st_mtime_ns
        if not path.is_dir():
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if depth and entry.is_dir():
                    yield from _stamps(Path(entry.path), depth - 1)
                elif entry.name.endswith((".csv", ".tsv")):
                    with contextlib.suppress(OSError):
                        yield entry.path, entry.stat().st_mtime_ns


# A sweep asks for every cell.
@lru_cache(maxsize=16)
def _several_labels(path: Path, labels: str, cache_dir: str | None, stamps: tuple) -> bool:
    found = _open(path, cache_dir)
    in_files = several_labels_in_files(found, labels)
    return has_several_labels(found, Options(labels=labels)) if in_files is None else in_files


def _open(path: Path, cache_dir: str | os.PathLike[str] | None) -> Scan:
    """The folder that a path means: itself, what is in an archive, or one file alone.

    Raises:
        UsageError: it is a file of no known kind.
    """
    if path.is_dir():
        found = scan(path)
        files = list(found.top.walk())
        archives = [file for file in files if is_archive(file.name)]
        if archives and len(archives) == len(files):
            if len(archives) > 1:
                names = " or ".join(str(path / file.path) for file in archives)
                raise UsageError(f"{path} holds nothing but archives; give {names}, or unpack them")
            return _open(path / archives[0].path, cache_dir)
        return found
    if is_archive(path.name):
        return scan(unpack(path, cache_dir))
    if path.suffix.lower() not in (".npz", ".mat", ".csv"):
        raise UsageError(
            f"{path} is a file, expected a folder of pictures or IDX files, an archive of one "
            "(.zip, .tar.gz), .npz, .mat or .csv"
        )
    status = path.stat()
    file = File(path.name, status.st_size, status.st_mtime_ns)
    return Scan(path.parent, Folder("", files=(file,)))


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: int | None = None,
    resize: str = "crop",
    on_error: str = "refuse",
    labels: str = "auto",
    class_pattern: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    test_only: bool = False,
    rule: PixelRule | None = None,
) -> Dataset:
    """Reads a data set.

    What `name_or_path` means is decided in this order:

    1. a name in `DATASETS`: `mnist` is embedded in the package, `faces` are drawn;
    2. something that is there: a folder, or an archive of one, in any layout of
       `cnn_jax.data.layouts`; a `.npz`, `.mat` or `.csv`; the beginning of the names of IDX files;
    3. a name of TensorFlow Datasets, with an optional configuration and version: `cifar10`,
       `emnist/letters`, `mnist:3.0.1` (`cnn_jax.data.tfds`).

    Names are understood in any letter case, with and without hyphens: MNIST, CIFAR-10.

    Args:
        name_or_path: what to read.
        data_dir: where TensorFlow Datasets keeps prepared data; default: the environment
            variable `TFDS_DATA_DIR`, then `~/tensorflow_datasets`.
        download: download and prepare a TensorFlow data set that is not there yet.
        image_size: side in pixels; every image becomes a square of it, by an antialiased bilinear
            filter. Default: images as they are.
        resize: how they become squares, a member of `RESIZE` (see `cnn_jax.data.folders.resize`).
        on_error: "refuse" pictures that cannot be read, all in one message, or "skip" them.
        labels: where labels stand if there are two readings, a member of `LABELS`: in "folders", or
            in a table with "one" class a row or "several" labels.
        class_pattern: where the class stands in the names of pictures, such as `{class}.*`.
        cache_dir: where decoded data and drawn faces are kept; default: the environment variable
            `CNN_JAX_CACHE`, then `~/.cache/cnn_jax`.
        test_only: whether a TensorFlow data set without a `train` split will do (`cifar10_1`,
            `cifar10_corrupted`) or a folder without one will do; it then has no training examples.
        rule: by which values of pictures that are no bytes become bytes, and how pictures become
            squares, where they are to be as those of another set; None: by their own range.

    Returns:
        The data set, with uint8 images `n h w c` and int32 labels `n`, or uint8 labels `n l` where
        images have several.

    Raises:
        UsageError: there is no such data set, or what is there cannot be read.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"the image size is {image_size}, expected a side of 1 pixel or more")
    name = os.fspath(name_or_path)
    if not name:
        raise UsageError("the name of the data set is empty, expected a name or a folder")
    options = Options(image_size, resize, on_error, labels, class_pattern, rule, test_only)
    if place := _place(name):
        path, only = place
        return _load_path(path, options, cache_dir, only)
    if "\0" in name or name.startswith(("/", ".", "~")) or Path(name).is_absolute():
        raise UsageError(f"there is no folder {name}")
    meant = resolve(name, DATASETS)
    if meant in DATASETS:
        dataset = DATASETS[meant](cache_dir)
        return check_dataset(resize_dataset(dataset, image_size, resize))
    return load_tfds(
        name,
        data_dir=data_dir,
        download=download,
        image_size=image_size,
        resize_how=resize,
        cache_dir=cache_dir,
        test_only=test_only,
        others=DATASETS,
    )


def _idx_prefix(path: Path) -> str:
    """The beginning of the names of IDX files that a path means; empty if it means none."""
    try:
        names = [each.name for each in path.parent.iterdir()] if path.name else []
    except OSError:
        return ""
    wanted = f"{path.name}-train-images"
    return path.name if any(name.startswith(wanted) for name in names) else ""


def _load_path(
    path: Path, options: Options, cache_dir: str | os.PathLike[str] | None, only: str
) -> Dataset:
    found = _open(path, cache_dir)
    name = stem(path.resolve().name) if path.is_dir() or is_archive(path.name) else path.stem
    dataset = open_files(found, only or name, options.labels, only)
    if dataset is None:
        return load_pictures(found, name, options, cache_dir)
    return check_dataset(resize_dataset(dataset, options.image_size, options.resize))
