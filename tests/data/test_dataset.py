"""The check at the door."""

import dataclasses

import numpy as np
import pytest

from cnn_jax.data.dataset import Dataset, Split, check_dataset
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
