"""The check at the door."""

import dataclasses

import numpy as np
import pytest

from cnn_jax.data import Dataset, Split
from cnn_jax.data.dataset import check_dataset
from cnn_jax.errors import UsageError


def _split(count: int = 4, shape: tuple[int, ...] = (5, 6, 3)) -> Split:
    return Split(np.zeros((count, *shape), np.uint8), np.arange(count, dtype=np.int32) % 2)


GOOD = Dataset("toy", _split(), _split(2), ("a", "b"))


def test_a_good_data_set_passes_unchanged():
    assert check_dataset(GOOD) is GOOD
    assert GOOD.image_shape == (5, 6, 3)
    assert GOOD.num_classes == 2
    assert len(GOOD.train) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("a",)}, "found 1 class, expected two or more"),
        ({"test": _split(0)}, "test split is empty"),
        ({"train": _split(4, (0, 6, 3))}, "train split is empty"),
        ({"train": _split(4, (5, 6, 2))}, "1 or 3"),
        ({"train": _split(4, (5, 6))}, "1 or 3"),
        ({"test": _split(2, (6, 6, 3))}, r"\(5, 6, 3\) and test images \(6, 6, 3\)"),
        ({"train": Split(np.zeros((4, 5, 6, 3)), _split().labels)}, "float64"),
        ({"train": Split(_split().images, _split(3).labels)}, r"shape \(3,\), expected"),
        ({"train": Split(_split().images, np.zeros(4, np.int64))}, "labels are int64"),
        ({"train": Split(_split().images, _split().labels + 1)}, "run from 1 to 2, expected 0 to"),
        ({"train": Split(_split().images, _split().labels - 1)}, "run from -1 to 0, expected 0 to"),
    ],
)
def test_a_bad_data_set_is_refused_with_its_name(change: dict, message: str):
    with pytest.raises(UsageError, match=f"toy: .*{message}"):
        check_dataset(dataclasses.replace(GOOD, **change))


def _multi(labels: np.ndarray) -> Split:
    return Split(_split(len(labels)).images, labels)


MULTI = Dataset(
    "toy", _multi(np.array([[1, 0], [0, 0], [1, 1]], np.uint8)), _multi(np.eye(2, dtype=np.uint8)),
    ("a", "b"),
)  # fmt: skip


def test_a_good_data_set_of_several_labels_passes_unchanged():
    assert check_dataset(MULTI) is MULTI
    assert MULTI.multi_label
    assert not GOOD.multi_label
    yes_or_no = Dataset("toy", *[_multi(np.ones((2, 1), np.uint8))] * 2, ("a",))
    assert check_dataset(yes_or_no).num_classes == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train": _multi(np.eye(2))},
            r"train labels are float64 of shape \(2, 2\), expected uint8",
        ),
        ({"train": _multi(np.eye(3, dtype=np.uint8))}, r"expected uint8 of shape \(3, 2\)"),
        ({"test": _multi(np.zeros(2, np.uint8))}, r"test labels are uint8 of shape \(2,\)"),
        ({"test": _split(2)}, r"test labels are int32 of shape \(2,\), expected uint8"),
        ({"test": _multi(np.full((2, 2), 2, np.uint8))}, "run up to 2, expected zeros and ones"),
        ({"test": _multi(np.zeros((0, 2), np.uint8))}, "test split is empty"),
        ({"class_names": ()}, "found 0 class"),
    ],
)
def test_bad_labels_of_several_are_refused(change: dict, message: str):
    with pytest.raises(UsageError, match=f"toy: .*{message}"):
        check_dataset(dataclasses.replace(MULTI, **change))
