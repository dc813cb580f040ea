"""What every source returns, and the check that all of them pass."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from cnn_jax.errors import UsageError


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: UInt8 `n h w c`, 0 to 255; `c` is 1 (gray) or 3 (RGB).
        labels: Int32 `n`, the index of the class; or, where an image has several labels, UInt8
            `n l`, multi-hot: 1 where the label is there, 0 where it is not.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split, a test split and what their labels mean.

    Attributes:
        name: what the data set is called in reports.
        train: the examples to learn (and hold out) from; none in a set that is only for testing.
        test: the examples to read once, at the end.
        class_names: the name of class (or label) `i` at position `i`.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """How many classes (or labels) there are, whether or not each has examples."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of the labels, rather than one class."""
        return self.train.labels.ndim == 2


def check_dataset(dataset: Dataset) -> Dataset:
    """Returns `dataset` as it is, once it is known to be fit to train on.

    Args:
        dataset: what a source read.

    Returns:
        The same data set.

    Raises:
        UsageError: fewer than two classes (or no label), an empty test split, images that are not
            uint8 `n h w c` with 1 or 3 channels, labels that are neither one int32 per image in
            `[0, num_classes)` nor a uint8 row of zeros and ones, or splits whose images have
            different shapes.
    """
    if dataset.num_classes < 2 and not (dataset.multi_label and dataset.num_classes):
        raise UsageError(f"{dataset.name}: found {dataset.num_classes} class, expected two or more")
    check_labels = _check_multi_hot if dataset.multi_label else _check_classes
    for split_name, split in (("train", dataset.train), ("test", dataset.test)):
        if split is dataset.train and not len(split):
            continue
        where = f"{dataset.name}: {split_name}"
        _check_images(where, split.images)
        check_labels(where, split, dataset.num_classes)
    train_shape, test_shape = dataset.train.images.shape[1:], dataset.test.images.shape[1:]
    if train_shape != test_shape:
        raise UsageError(
            f"{dataset.name}: training images are {train_shape} and test images {test_shape} "
            "(height, width, channels); choose an image size to make them alike"
        )
    return dataset


def _check_images(where: str, images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UsageError(
            f"{where} images are {images.dtype} of shape {images.shape}, "
            "expected uint8 of shape (n, height, width, 1 or 3)"
        )


def _check_classes(where: str, split: Split, num_classes: int) -> None:
    images, labels = split.images, split.labels
    if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
        raise UsageError(
            f"{where} labels are {labels.dtype} of shape {labels.shape}, "
            f"expected int32 of shape {images.shape[:1]}"
        )
    _check_not_empty(where, images)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        raise UsageError(
            f"{where} labels run from {lowest} to {highest}, expected 0 to {num_classes - 1}"
        )


def _check_multi_hot(where: str, split: Split, num_labels: int) -> None:
    images, labels = split.images, split.labels
    expected = (len(images), num_labels)
    if labels.dtype != np.uint8 or labels.shape != expected:
        raise UsageError(
            f"{where} labels are {labels.dtype} of shape {labels.shape}, expected uint8 of shape "
            f"{expected}, a row of zeros and ones for each image"
        )
    _check_not_empty(where, images)
    if labels.max() > 1:
        raise UsageError(f"{where} labels run up to {labels.max()}, expected zeros and ones")


def _check_not_empty(where: str, images: np.ndarray) -> None:
    if not images.size:
        raise UsageError(f"{where} split is empty (images of shape {images.shape})")


_CHUNK = 1024


def channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[Float32[np.ndarray, "c"], Float32[np.ndarray, "c"]]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    Sums of integers are exact and taken over chunks of images, so that the answer does not depend
    on the order of the images and no float copy of them is made.

    Args:
        images: of the training split, so that nothing is learned from others.

    Returns:
        The mean and the (population) standard deviation per channel, both in units of a pixel
        scaled to [0, 1]. A constant channel has standard deviation 1, so that dividing by it is
        safe.

    Raises:
        UsageError: there are no images.
    """
    if not images.size:
        raise UsageError(f"images have shape {images.shape}, expected at least one pixel")
    channels = images.shape[-1]
    total = np.zeros(channels, np.uint64)
    total_squares = np.zeros(channels, np.uint64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        # Over images first: summing long rows is many times faster than summing rows of 3.
        total += chunk.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
        # 255 squared still fits 16 bits.
        squares = np.square(chunk, dtype=np.uint16)
        total_squares += squares.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
    count = images.size // channels
    # Python's integers keep E[x^2] - E[x]^2 exact: no cancellation, and constant means exactly 0.
    pairs = zip(total.tolist(), total_squares.tolist(), strict=True)
    variance = np.array([(s * count - t * t) / count**2 for t, s in pairs])
    std = np.where(variance == 0, 255.0, np.sqrt(variance))
    return (total / count / 255).astype(np.float32), (std / 255).astype(np.float32)
