"""From the arrays of a published file to a data set, its classes by name."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Dataset, PixelRule, Split, held_out_for_test
from cnn_jax.data.folders import Range, natural, to_bytes
from cnn_jax.display import count
from cnn_jax.errors import UsageError

# Images, and the class of each, or a row of zeros and ones.
Arrays = tuple[np.ndarray, np.ndarray]


def assemble(
    name: str,
    splits: Mapping[str, Arrays],
    class_name: Callable[[int], str] = str,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Makes a data set of arrays.

    Args:
        name: of the data set.
        splits: by their names (train, validation, test): images `n h w` or `n h w c` of numbers
            of any kind, and labels, `n` (numbers or texts) or `n l` (zeros and ones).
        class_name: what a class is called, by its number.
        notes: what a reader should know.

    Returns:
        The data set. Classes without a training example are left out, which is said. Without a test
        split, a stratified 20 % of `train` (always the same) are its test split.

    Raises:
        UsageError: images or labels are not as above, or a split has a class that `train` lacks.
    """
    images, rule, said = _as_bytes(name, {split: arrays[0] for split, arrays in splits.items()})
    labels = {split: arrays[1] for split, arrays in splits.items()}
    for split in splits:
        if len(images[split]) != len(labels[split]):
            raise UsageError(
                f"{name}: {split} has {count(len(images[split]), 'image')} and "
                f"{count(len(labels[split]), 'label')}, "
                "expected one label per image"
            )
    numbers, names, more = _number(name, labels, class_name)
    found = {split: Split(images[split], numbers[split]) for split in splits}
    notes = (*notes, *said, *more)
    if "test" not in found:
        chosen, note = held_out_for_test(found["train"].labels)
        found |= {"train": found["train"][~chosen], "test": found["train"][chosen]}
        notes += (note,)
    return Dataset(name, found["train"], found["test"], names, found.get("validation"), notes, rule)


def _as_bytes(
    name: str, images: Mapping[str, np.ndarray]
) -> tuple[dict[str, UInt8[np.ndarray, "n h w c"]], PixelRule, tuple[str, ...]]:
    for split, array in images.items():
        if array.dtype.kind not in "uifb" or array.ndim not in (3, 4):
            raise UsageError(
                f"{name}: {split} images are {array.dtype} of shape {array.shape}, expected "
                "numbers of shape (n, height, width) or (n, height, width, channels)"
            )
    shaped = {
        split: array[..., None] if array.ndim == 3 else array for split, array in images.items()
    }
    if all(array.dtype == np.uint8 for array in shaped.values()):
        return shaped, PixelRule(), ()
    extremes = Range()
    sixteen = all(
        array.dtype.kind in "uib" and array.min(initial=0) >= 0 for array in shaped.values()
    )
    for array in shaped.values():
        extremes.add(array, sixteen)
    rule = extremes.rule("crop")
    if sixteen and rule.bits == 8:
        return {split: array.astype(np.uint8) for split, array in shaped.items()}, rule, ()
    as_bytes = {split: to_bytes(array, rule, sixteen) for split, array in shaped.items()}
    values = f"up to {rule.bits} bits" if sixteen else f"{rule.low or 0:g} to {rule.high or 0:g}"
    return as_bytes, rule, (f"pixels of {values} became bytes",)


def _number(
    name: str, labels: Mapping[str, np.ndarray], class_name: Callable[[int], str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Labels as numbers from 0 on, the names of classes, and what is to be said."""
    train = labels["train"]
    if train.ndim == 2:
        names = tuple(class_name(index) for index in range(train.shape[1]))
        return {split: each.astype(np.uint8) for split, each in labels.items()}, names, ()
    if train.dtype.kind not in "uif":
        there = sorted(set(train.astype(str).tolist()), key=natural)
        names = tuple(there)
        values: list = there
        labels = {split: each.astype(str) for split, each in labels.items()}
    else:
        values = np.unique(train).tolist()
        if any(not math.isfinite(value) or value != int(value) for value in values):
            raise UsageError(f"{name}: labels such as {values[0]} are no whole numbers")
        names = tuple(class_name(int(value)) for value in values)
    if values in (list(range(len(values))), []):
        # What other splits have beyond them is refused with all else that is checked.
        names = names or (class_name(0),)
        return {split: each.astype(np.int32) for split, each in labels.items()}, names, ()
    numbers = {}
    for split, each in labels.items():
        if strangers := sorted(set(each.tolist()) - set(values)):
            raise UsageError(
                f"{name}: {split} has the class {strangers[0]}, which train lacks, expected its "
                "classes to be among those of train"
            )
        numbers[split] = np.searchsorted(values, each).astype(np.int32)
        if train.dtype.kind not in "uif":
            numbers[split] = np.array([values.index(value) for value in each.tolist()], np.int32)
    note: tuple[str, ...] = ()
    if train.dtype.kind in "uif":
        note = (f"labels run from {values[0]:g} to {values[-1]:g}: {len(values)} classes occur",)
    return numbers, names, note
