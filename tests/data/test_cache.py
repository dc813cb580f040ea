"""The cache: hits, damage, places that cannot be written."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import Dataset, Split
from cnn_jax.data.cache import cached, default_folder, file_stamps, fingerprint
from cnn_jax.errors import UsageError


def _dataset(value: int = 7) -> Dataset:
    split = Split(np.full((4, 3, 3, 1), value, np.uint8), np.array([0, 1, 1, 0], np.int32))
    return Dataset("toy/größe", split, split, ("a", "b"))


def _not_again() -> Dataset:
    raise AssertionError("built again")


def _assert_same(one: Dataset, other: Dataset) -> None:
    assert (one.name, one.class_names) == (other.name, other.class_names)
    for left, right in ((one.train, other.train), (one.test, other.test)):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.labels, right.labels)
        assert right.labels.dtype == np.int32


def test_what_was_built_is_read_back(tmp_path: Path):
    built = cached(_dataset, name="toy/größe", key="k", cache_dir=tmp_path)
    read = cached(_not_again, name="toy/größe", key="k", cache_dir=tmp_path)
    _assert_same(built, read)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_another_key_is_another_data_set(tmp_path: Path):
    cached(_dataset, name="toy", key="k", cache_dir=tmp_path)
    other = cached(lambda: _dataset(8), name="toy", key="l", cache_dir=tmp_path)
    assert other.train.images.max() == 8


def test_the_default_place_is_the_environment_variable(own_cache: Path):
    cached(_dataset, name="toy", key="k")
    assert (own_cache / "toy-k.npz").is_file()


def test_without_a_home_another_place_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CNN_JAX_CACHE", "~nobody of this name/x")
    with pytest.raises(UsageError, match="no home folder for ~nobody of this name/x; name another"):
        default_folder()


@pytest.mark.parametrize("keep", [0, 1, 60, -1, -200])
def test_a_cut_cache_is_made_anew(tmp_path: Path, keep: int):
    cached(_dataset, name="toy", key="k", cache_dir=tmp_path)
    path = tmp_path / "toy-k.npz"
    path.write_bytes(path.read_bytes()[:keep])
    _assert_same(cached(_dataset, name="toy", key="k", cache_dir=tmp_path), _dataset())
    _assert_same(cached(_not_again, name="toy", key="k", cache_dir=tmp_path), _dataset())


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path: Path):
    cached(_dataset, name="toy", key="k", cache_dir=tmp_path)
    path = tmp_path / "toy-k.npz"
    sound = path.read_bytes()
    for position in range(0, len(sound), 7):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        _assert_same(cached(_dataset, name="toy", key="k", cache_dir=tmp_path), _dataset())


def test_a_cache_of_something_else_is_made_anew(tmp_path: Path):
    np.savez(tmp_path / "toy-k.npz", something=np.zeros(3))
    _assert_same(cached(_dataset, name="toy", key="k", cache_dir=tmp_path), _dataset())


def test_without_a_place_to_write_the_data_is_still_there(tmp_path: Path):
    (tmp_path / "file").write_text("in the way of a folder")
    read = cached(_dataset, name="toy", key="k", cache_dir=tmp_path / "file")
    _assert_same(read, _dataset())


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def disk_full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", disk_full)
    _assert_same(cached(_dataset, name="toy", key="k", cache_dir=tmp_path), _dataset())
    assert not list(tmp_path.iterdir())


def test_bad_data_is_refused_and_not_kept(tmp_path: Path):
    def bad() -> Dataset:
        return Dataset("toy", _dataset().train, _dataset().test, ("a",))

    with pytest.raises(UsageError, match="found 1 class"):
        cached(bad, name="toy", key="k", cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_stamps_change_with_the_files(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    before = file_stamps(tmp_path, [two, one])
    assert before == file_stamps(tmp_path, [one, two])
    assert fingerprint(before) == fingerprint(file_stamps(tmp_path, [one, two]))
    two.write_text("22")
    after = file_stamps(tmp_path, [one, two])
    assert [name for name, _, _ in after] == ["one", "two"]
    assert fingerprint(before) != fingerprint(after)
