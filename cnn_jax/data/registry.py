"""From a name or a path to a data set."""

import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from cnn_jax.data.dataset import Dataset, Split, check_dataset
from cnn_jax.data.faces import load_faces
from cnn_jax.data.folders import load_image_folder, resize_dataset
from cnn_jax.data.idx import holds_idx_files, read_idx_folder
from cnn_jax.data.label_tables import holds_labels, load_labeled_folder
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


def is_multi_label(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether the images that `load` would read have several labels each; reads none of them."""
    name = os.fspath(name_or_path)
    if not name or name in DATASETS:
        return name in MULTI_LABEL
    folder = Path(name).expanduser()
    return holds_labels(folder) and not holds_idx_files(folder)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    image_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    test_only: bool = False,
) -> Dataset:
    """Reads a data set.

    What `name_or_path` means is decided in this order:

    1. a name in `DATASETS`: `mnist` is embedded in the package, `faces` are drawn;
    2. a directory, or anything that starts with `/`, `.` or `~`: a folder in MNIST's IDX layout
       (`cnn_jax.data.idx`) if it holds IDX files, a folder of pictures with several labels
       each (`cnn_jax.data.label_tables`) if it holds `train/labels.csv`, otherwise a folder of
       pictures (`cnn_jax.data.folders`);
    3. a name of TensorFlow Datasets, with an optional configuration and version: `cifar10`,
       `emnist/letters`, `mnist:3.0.1` (`cnn_jax.data.tfds`).

    Args:
        name_or_path: what to read.
        data_dir: where TensorFlow Datasets keeps prepared data; default: the environment
            variable `TFDS_DATA_DIR`, then `~/tensorflow_datasets`.
        download: download and prepare a TensorFlow data set that is not there yet.
        image_size: side in pixels; every image becomes a square of it, by the largest centered
            square and an antialiased bilinear filter. Default: images as they are.
        cache_dir: where decoded TensorFlow data sets and folders of pictures, and drawn faces,
            are kept; default: the environment variable `CNN_JAX_CACHE`, then `~/.cache/cnn_jax`.
        test_only: whether a TensorFlow data set without a `train` split will do (`cifar10_1`,
            `cifar10_corrupted`); it then has no training examples.

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
    path = Path(name).expanduser()
    if name in DATASETS:
        return check_dataset(resize_dataset(DATASETS[name](cache_dir), image_size))
    if path.is_dir():
        if holds_idx_files(path):
            return check_dataset(resize_dataset(read_idx_folder(path), image_size))
        load_folder = load_labeled_folder if holds_labels(path) else load_image_folder
        return load_folder(path, image_size=image_size, cache_dir=cache_dir)
    if path.exists():
        raise UsageError(f"{name} is a file, expected a folder of pictures or IDX files")
    if name.startswith(("/", ".", "~")) or path.is_absolute():
        raise UsageError(f"there is no folder {name}")
    return load_tfds(
        name,
        data_dir=data_dir,
        download=download,
        image_size=image_size,
        cache_dir=cache_dir,
        test_only=test_only,
    )
