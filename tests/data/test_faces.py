"""Drawn faces: repeatable, varied, and what their labels say is there to be seen."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data.dataset import check_dataset
from cnn_jax.data.faces import LABELS, PREVALENCE, draw_faces, make_faces


def _drawn(**labels: int) -> np.ndarray:
    """The mean of many faces with these labels (and the same draws of all else)."""
    row = np.array([labels.get(name.replace(" ", "_"), 0) for name in LABELS], np.uint8)
    return draw_faces(np.random.default_rng(3), np.tile(row, (400, 1))).mean((0, 3))


def test_a_seed_gives_the_same_faces_and_another_gives_others():
    one, again, other = make_faces(300, 20), make_faces(300, 20), make_faces(300, 20, seed=1)
    np.testing.assert_array_equal(one.train.images, again.train.images)
    np.testing.assert_array_equal(one.train.labels, again.train.labels)
    assert (one.train.images != other.train.images).any()
    assert (one.train.images[:20] != one.test.images).any()
    assert check_dataset(one).multi_label
    assert one.class_names == LABELS
    assert one.train.images.shape == (300, 28, 28, 1)
    assert len({image.tobytes() for image in one.train.images}) == 300


def test_labels_come_as_often_as_they_should_and_independently():
    labels = make_faces(4000, 1).train.labels.astype(float)
    np.testing.assert_allclose(labels.mean(0), PREVALENCE, atol=0.04)
    assert np.abs(np.corrcoef(labels.T) - np.eye(len(LABELS))).max() < 0.06


@pytest.mark.parametrize(
    ("label", "rows", "columns"),
    [
        ("smiling", slice(16, 24), slice(7, 21)),
        ("eyes_open", slice(10, 18), slice(7, 21)),
        ("glasses", slice(9, 20), slice(5, 23)),
        ("hat", slice(0, 12), slice(5, 23)),
    ],
)
def test_a_label_changes_its_part_of_the_face(label: str, rows: slice, columns: slice):
    change = np.abs(_drawn(**{label: 1}) - _drawn())
    inside = change[rows, columns].sum()
    assert inside > 3 * (change.sum() - inside)


def test_the_second_time_it_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def again() -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr("cnn_jax.data.faces.make_faces", lambda: make_faces(30, 10))
    first = data.load("faces", cache_dir=tmp_path)
    monkeypatch.setattr("cnn_jax.data.faces.make_faces", again)
    second = data.load("faces", cache_dir=tmp_path)
    for left, right in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.labels, right.labels)
        assert right.labels.dtype == np.uint8
    assert second.multi_label
