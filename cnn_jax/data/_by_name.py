"""The labels of an outside set in the order of the set that a network was trained on, by name."""

from dataclasses import replace

import numpy as np

from cnn_jax.data.dataset import Dataset, Split
from cnn_jax.data.folders import match_classes
from cnn_jax.errors import UsageError


def in_order_of(dataset: Dataset, class_names: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """Gives the labels of a data set the numbers that their names have elsewhere.

    Args:
        dataset: with classes (or labels) in any order, perhaps only some of them.
        class_names: in the order that is wanted.

    Returns:
        The data set with these class names, and what is to be said.

    Raises:
        UsageError: an example has a class that is not among them, or, where images have several
            labels, the labels are others.
    """
    names = dataset.class_names
    if names == class_names:
        return dataset, ()
    numbers = match_classes(names, class_names)
    there = dataset.splits
    if dataset.multi_label:
        strangers = [name for name in names if name not in numbers]
        lacking = [
            name for name in class_names if name not in {*names, *_meant(numbers, class_names)}
        ]
        if strangers or lacking:
            raise UsageError(
                f"{dataset.name} has the labels {', '.join(names)}, expected "
                f"{', '.join(class_names)}"
            )
        order = np.argsort([numbers[name] for name in names])
        found = {name: Split(each.images, each.labels[:, order]) for name, each in there.items()}
        return _with(dataset, class_names, found), (
            "The labels stand in another order here; they are matched by name.",
        )
    used = {names[label] for split in there.values() for label in np.unique(split.labels)}
    if strangers := [name for name in names if name in used and name not in numbers]:
        raise UsageError(
            f"{dataset.name} has the classes {', '.join(strangers)}, which the run was not trained "
            f"on; it knows {', '.join(class_names)}"
        )
    table = np.array([numbers.get(name, -1) for name in names], np.int32)
    found = {name: Split(each.images, table[each.labels]) for name, each in there.items()}
    absent = [name for name in class_names if name not in _meant(numbers, class_names)]
    notes = ["Classes are matched by name."]
    if absent:
        notes = [f"Classes are matched by name; {', '.join(absent)} of the run is not in this set."]
    return _with(dataset, class_names, found), tuple(notes)


def _meant(numbers: dict[str, int], class_names: tuple[str, ...]) -> set[str]:
    return {class_names[number] for number in numbers.values()}


def _with(dataset: Dataset, class_names: tuple[str, ...], splits: dict[str, Split]) -> Dataset:
    return replace(
        dataset,
        class_names=class_names,
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
    )
