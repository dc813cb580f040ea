"""Checkpoints: bit for bit what was saved, or a clear refusal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.training import OPTIMIZERS, TrainState, checkpoints


def make_state(optimizer: str = "adam", epoch: int = 3, width: int = 4) -> TrainState:
    """Random numbers, among them NaN, an infinity and a negative zero, in a run's structure."""
    rng = np.random.default_rng(epoch)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 1, width)), jnp.float32)
    params = {
        "network": {
            "conv1": {"conv": {"kernel": kernel, "bias": jnp.zeros(width)}},
            "output": {"kernel": jnp.asarray(rng.normal(size=(width, 5)), jnp.float32)},
            "activation1": {"slope": jnp.float32(0.25)},
        }
    }
    state = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape)).astype(leaf.dtype),
        OPTIMIZERS[optimizer].build(0.1).init(params),
    )
    statistics = {"norm1": {"mean": jnp.array([jnp.nan, jnp.inf, -0.0, 1e-42], jnp.float32)}}
    return TrainState(jnp.int32(epoch), params, statistics, state)


def blank(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.zeros_like, state)


def assert_same_bits(ours: TrainState, theirs: TrainState) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_round_trip_is_exact(tmp_path: Path, optimizer: str):
    state = make_state(optimizer)
    checkpoints.save(tmp_path, state, 3)
    path = checkpoints.latest(tmp_path)
    assert path is not None
    assert_same_bits(checkpoints.read(path).restore(blank(state)), state)


def test_only_the_newest_is_kept(tmp_path: Path):
    for epoch in (9, 10, 11):
        checkpoints.save(tmp_path, make_state(epoch=epoch), epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SHA256SUMS", "epoch_00011.npz"]
    path = checkpoints.latest(tmp_path)
    state = make_state(epoch=11)
    assert_same_bits(checkpoints.read(path).restore(blank(state)), state)


def test_there_may_be_none(tmp_path: Path):
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.latest(tmp_path / "not there") is None


def test_a_half_written_one_is_ignored_and_then_removed(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(epoch=3), 3)
    written, half = tmp_path / "epoch_00003.npz", tmp_path / ".epoch_00004.npz.1-1.part"
    half.write_bytes(written.read_bytes()[:1000])
    assert checkpoints.latest(tmp_path) == written
    with storage.locked(tmp_path):
        checkpoints.save(tmp_path, make_state(epoch=4), 4)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".lock", "SHA256SUMS", "epoch_00004.npz"]


def test_of_two_that_a_killed_process_left_the_newer_counts(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(epoch=9), 9)
    shutil.copy(tmp_path / "epoch_00009.npz", tmp_path / "kept")
    checkpoints.save(tmp_path, make_state(epoch=10), 10)
    shutil.move(tmp_path / "kept", tmp_path / "epoch_00009.npz")
    assert checkpoints.latest(tmp_path).name == "epoch_00010.npz"


@pytest.mark.parametrize(
    "other, message",
    [
        (make_state(width=8), r"another network: it has .*conv.* of shape \(4,\).* \(8,\)"),
        (make_state("momentum"), r"another network: it has opt_state/"),
        (make_state()._replace(statistics={}), r"has statistics/norm1/mean .* this one nothing"),
    ],
    ids=["wider", "another optimizer", "no statistics"],
)
def test_another_networks_checkpoint_is_refused(tmp_path: Path, other: TrainState, message: str):
    checkpoints.save(tmp_path, make_state(), 3)
    with pytest.raises(UsageError, match=message):
        checkpoints.read(tmp_path / "epoch_00003.npz").restore(blank(other))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize("damage", [truncate, overwrite, Path.unlink])
@pytest.mark.parametrize("sums", [True, False], ids=["with checksums", "without"])
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], sums: bool
):
    checkpoints.save(tmp_path, make_state(), 3)
    path = tmp_path / "epoch_00003.npz"
    damage(path)
    if not sums:
        (tmp_path / storage.SUMS_FILE).unlink()
    error = FileNotFoundError if not sums and damage is Path.unlink else UsageError
    with pytest.raises(error, match="epoch_00003.npz"):
        checkpoints.read(path)


@pytest.mark.parametrize("sums", [True, False], ids=["with checksums", "without"])
def test_whatever_bit_is_flipped_no_other_number_is_read(tmp_path: Path, sums: bool):
    """Also where the folder has lost its checksums: then the archive's own are left."""
    state, rng = make_state(), np.random.default_rng(0)
    checkpoints.save(tmp_path, state, 3, {"history": [{"epoch": 1, "train_loss": np.nan}]})
    path = tmp_path / "epoch_00003.npz"
    if not sums:
        (tmp_path / storage.SUMS_FILE).unlink()
    sound = path.read_bytes()
    refused = 0
    for place in rng.choice(8 * len(sound), 400, replace=False).tolist():
        content = bytearray(sound)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            restored = checkpoints.read(path).restore(blank(state))
        except UsageError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert_same_bits(restored, state)
        if sums and refused == 20:
            break
    assert refused >= (20 if sums else 300)


def test_what_was_said_comes_back_and_numbers_that_are_none_are_null(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(), 3, {"history": [{"loss": np.nan, "rate": 0.1}]})
    assert checkpoints.read_latest(tmp_path).said == {
        "epoch": 3,
        "history": [{"loss": None, "rate": 0.1}],
    }


def test_types_that_numpy_has_not_come_back(tmp_path: Path):
    state = {"a": jnp.asarray([1.5, jnp.inf], jnp.bfloat16), "b": jnp.float32(2), "c": jnp.int8(3)}
    checkpoints.save(tmp_path, state, 1)
    read = checkpoints.read_latest(tmp_path).restore(state)
    assert [leaf.dtype for leaf in read.values()] == [leaf.dtype for leaf in state.values()]
    assert all(
        (one == other).all() for one, other in zip(read.values(), state.values(), strict=True)
    )


def test_another_type_is_another_network(tmp_path: Path):
    checkpoints.save(tmp_path, {"a": jnp.zeros(3)}, 1)
    with pytest.raises(UsageError, match=r"has a of shape \(3,\), this one \(3,\) and type bfl"):
        checkpoints.read_latest(tmp_path).restore({"a": jnp.zeros(3, jnp.bfloat16)})


def test_another_checkpoint_in_its_place_is_not_taken_for_it(tmp_path: Path):
    for name, epoch in (("a", 3), ("b", 4)):
        checkpoints.save(tmp_path / name, make_state(epoch=epoch), epoch)
    shutil.copy(tmp_path / "b" / "epoch_00004.npz", tmp_path / "a" / "epoch_00003.npz")
    with pytest.raises(UsageError, match="is not what was written"):
        checkpoints.read_latest(tmp_path / "a")
    (tmp_path / "a" / storage.SUMS_FILE).unlink()
    with pytest.raises(UsageError, match="of another epoch"):
        checkpoints.read_latest(tmp_path / "a")


def test_a_checkpoint_of_an_earlier_version_is_named_and_left(tmp_path: Path):
    (tmp_path / "epoch_00001").mkdir()
    with pytest.raises(UsageError, match="epoch_00001 was written by an earlier version"):
        checkpoints.latest(tmp_path)


def test_nothing_pickled_is_read(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(), 3)
    path = tmp_path / "epoch_00003.npz"
    (tmp_path / storage.SUMS_FILE).unlink()
    np.savez(path, said=np.array([print], object))
    with pytest.raises(UsageError, match="Object arrays cannot be loaded"):
        checkpoints.read(path)
