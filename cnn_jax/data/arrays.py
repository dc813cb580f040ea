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
            f"images, test labels), class_names), got {_kind(returned)}"
        )
    *arrays, names = parts
    notes: tuple[str, ...] = ()
    if isinstance(arrays[0], tuple | list):
        train, test = (_split(name, *_pair(name, part)) for part in arrays)
    else:
        every = _split(name, *arrays)
        chosen, note = held_out_for_test(every.labels)
        train, test, notes = every[~chosen], every[chosen], (note,)
    return check_dataset(Dataset(name, train, test, _class_names(name, names, train), notes=notes))


def _pair(name: str, part: Any) -> tuple[Any, Any]:
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise UsageError(f"data set {name}: a split must be (images, labels), got {_kind(part)}")
    return part[0], part[1]


def _split(name: str, images: Any, labels: Any) -> Split:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise UsageError(
            f"data set {name}: images are of {images.dtype}, expected uint8 from 0 to 255"
        )
    if images.ndim == 3:
        images = images[..., None]
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise UsageError(f"data set {name}: labels are of {labels.dtype}, expected whole numbers")
    if len(images) != len(labels):
        raise UsageError(f"data set {name}: {len(images)} images have {len(labels)} labels")
    kind = np.int32 if labels.ndim == 1 else np.uint8
    return Split(np.ascontiguousarray(images), labels.astype(kind))


def _class_names(name: str, names: Any, train: Split) -> tuple[str, ...]:
    if names is None:
        count = train.labels.shape[1] if train.labels.ndim == 2 else int(train.labels.max()) + 1
        return tuple(map(str, range(count)))
    if isinstance(names, str) or not all(isinstance(item, str) for item in names):
        raise UsageError(f"data set {name}: class names must be a list of words, got {names!r}")
    if len(set(names)) != len(names):
        raise UsageError(f"data set {name}: class names are not all different: {', '.join(names)}")
    return tuple(names)


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return type(value).__name__ + size
