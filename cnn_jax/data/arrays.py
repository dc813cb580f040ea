"""Arrays of a user's own as a data set."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cnn_jax.data.dataset import Dataset, Split, check_dataset, held_out_for_test
from cnn_jax.errors import UsageError


def as_dataset(name: str, returned: Iterable[Any]) -> Dataset:
    """A data set from what a function returned, or a caller gave.

    Args:
        name: of the data set.
        returned: `(images, labels, class_names)`, or `((images, labels), (images, labels),
            class_names)` with a test split of its own. Images are uint8 `n h w c` or `n h w`;
            labels whole numbers, or rows of zeros and ones. Without class names (None) classes are
            called by their numbers.

    Returns:
        The data set; without a test split, a fifth of the examples is kept for testing, of every
        class its share.

    Raises:
        UsageError: if these are no such arrays.
    """
    parts = tuple(returned) if isinstance(returned, tuple | list) else ()
    if len(parts) != 3:
        raise UsageError(
            f"data set {name} must be (images, labels, class_names) or ((images, labels), (test "
            f"images, test labels), class_names), got {kind_of(returned)}"
        )
    *arrays, names = parts
    if isinstance(arrays[0], tuple | list):
        train, test = (_pair(name, part) for part in arrays)
        return of_splits(name, train, test, names)
    return of_splits(name, (arrays[0], arrays[1]), None, names)


def of_splits(
    name: str, train: tuple[Any, Any], test: tuple[Any, Any] | None, class_names: Any
) -> Dataset:
    """A data set from `(images, labels)` to train on and, if there are, to test on.

    Args:
        name: of the data set.
        train: arrays, or what `numpy.asarray` makes one of, as for `as_dataset`.
        test: likewise; without, a fifth of `train` is kept for testing.
        class_names: as for `as_dataset`.

    Raises:
        UsageError: if these are no such arrays.
    """
    every = _split(name, *train)
    names = _class_names(name, class_names, every)
    if test is not None:
        return check_dataset(Dataset(name, every, _split(name, *test), names))
    chosen, note = held_out_for_test(every.labels)
    kept, tested = every[~chosen], every[chosen]
    return check_dataset(Dataset(name, kept, tested, names, notes=(note,)))


def _pair(name: str, part: Any) -> tuple[Any, Any]:
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise UsageError(f"data set {name}: a split must be (images, labels), got {kind_of(part)}")
    return part[0], part[1]


def _split(name: str, images: Any, labels: Any) -> Split:
    images, labels = _array(name, "images", images), _array(name, "labels", labels)
    if images.dtype != np.uint8:
        raise UsageError(
            f"data set {name}: images are of {images.dtype}, expected uint8 from 0 to 255"
            f"{_as_bytes(images)}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if len(images) != len(labels):
        raise UsageError(f"data set {name}: {len(images)} images have {len(labels)} labels")
    if not len(images):
        raise UsageError(f"data set {name}: a split has no images")
    return Split(np.ascontiguousarray(images), _labels(name, labels))


def _array(name: str, what: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    # What an object of another library raises is its own.
    except Exception as error:
        raise UsageError(
            f"data set {name}: {what} are no array: {' '.join(str(error).split())}"
        ) from error
    if not array.ndim:
        raise UsageError(f"data set {name}: {what} must be an array, got {values!r}")
    return array


def _as_bytes(images: np.ndarray) -> str:
    """How numbers of another type become bytes, where that is plain."""
    if images.dtype.kind not in "buif" or not images.size:
        return ""
    low, high = images.min(), images.max()
    if images.dtype.kind in "bf" and low >= 0 and high <= 1:
        return ": of numbers from 0 to 1, (255 * images).round().astype('uint8')"
    return ": numpy.asarray(images, numpy.uint8)" if low >= 0 and high <= 255 else ""


def _labels(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iub":
        named = ": class_names, labels = numpy.unique(labels, return_inverse=True)"
        raise UsageError(
            f"data set {name}: labels are of {labels.dtype}, expected whole numbers from 0"
            f"{named if labels.dtype.kind in 'USO' else ''}"
        )
    if labels.ndim > 2 or not labels.size:
        raise UsageError(
            f"data set {name}: labels have shape {labels.shape}, expected one number for each "
            "image, or a row of zeros and ones"
        )
    low, high = int(labels.min()), int(labels.max())
    if labels.ndim == 2 and (low < 0 or high > 1):
        raise UsageError(
            f"data set {name}: rows of labels run from {low} to {high}, expected zeros and ones"
        )
    if low < 0 or high > np.iinfo(np.int32).max:
        raise UsageError(
            f"data set {name}: labels run from {low} to {high}, expected whole numbers from 0"
        )
    return labels.astype(np.int32 if labels.ndim == 1 else np.uint8)


def _class_names(name: str, names: Any, train: Split) -> tuple[str, ...]:
    several = train.labels.ndim == 2
    count = train.labels.shape[1] if several else int(train.labels.max()) + 1
    if names is None:
        if not several and count > len(train):
            raise UsageError(
                f"data set {name}: labels run up to {count - 1:,}, but there are {len(train):,} "
                "images; numpy.unique(labels, return_inverse=True)[1] counts classes from 0"
            )
        return tuple(map(str, range(count)))
    if not isinstance(names, Iterable) or isinstance(names, str):
        raise UsageError(f"data set {name}: class names must be a list of words, got {names!r}")
    names = tuple(names)
    if not all(isinstance(item, str) for item in names):
        shown = ", ".join(map(repr, names))
        raise UsageError(f"data set {name}: class names must be a list of words, got {shown}")
    if len(set(names)) != len(names):
        raise UsageError(f"data set {name}: class names are not all different: {', '.join(names)}")
    if len(names) < count:
        low = 0 if several else int(train.labels.min())
        raise UsageError(
            f"data set {name}: labels run from {low} to {count - 1}, expected 0 to "
            f"{len(names) - 1}: there are {len(names)} class names"
        )
    return tuple(map(str, names))


def kind_of(value: Any) -> str:
    """The type of a value, and of a list how many it holds: for messages."""
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return type(value).__name__ + size
