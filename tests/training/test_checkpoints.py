"""Checkpoints: bit for bit what was saved, or a clear refusal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    assert_same_bits(checkpoints.restore(path, blank(state)), state)


def test_only_the_newest_is_kept(tmp_path: Path):
    for epoch in (9, 10, 11):
        checkpoints.save(tmp_path, make_state(epoch=epoch), epoch)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_00011"]
    path = checkpoints.latest(tmp_path)
    state = make_state(epoch=11)
    assert_same_bits(checkpoints.restore(path, blank(state)), state)


def test_there_may_be_none(tmp_path: Path):
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.latest(tmp_path / "not there") is None


def test_a_half_written_one_is_ignored_and_then_removed(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(epoch=3), 3)
    written = tmp_path / "epoch_00003"
    half = tmp_path / "epoch_00004.orbax-checkpoint-tmp"
    shutil.copytree(written, half)
    (half / "_METADATA").unlink()
    assert checkpoints.latest(tmp_path) == written
    checkpoints.save(tmp_path, make_state(epoch=4), 4)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_00004"]


def test_of_two_that_a_killed_process_left_the_newer_counts(tmp_path: Path):
    checkpoints.save(tmp_path, make_state(epoch=9), 9)
    shutil.copytree(tmp_path / "epoch_00009", tmp_path / "kept")
    checkpoints.save(tmp_path, make_state(epoch=10), 10)
    shutil.move(tmp_path / "kept", tmp_path / "epoch_00009")
    assert checkpoints.latest(tmp_path).name == "epoch_00010"


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
        checkpoints.restore(tmp_path / "epoch_00003", blank(other))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.usefixtures("left_behind")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [truncate, overwrite, Path.unlink])
def test_a_damaged_checkpoint_is_refused_or_read_exactly(
    tmp_path: Path, damage: Callable[[Path], None]
):
    """Whatever file is hit: never an exception of another kind, never other numbers."""
    state = make_state()
    checkpoints.save(tmp_path / "sound", state, 3)
    files = [path for path in (tmp_path / "sound").rglob("*") if path.is_file()]
    refused = 0
    for index, path in enumerate(files):
        copy = tmp_path / f"{index}"
        shutil.copytree(tmp_path / "sound", copy)
        damage(copy / path.relative_to(tmp_path / "sound"))
        try:
            restored = checkpoints.restore(copy / "epoch_00003", blank(state))
        except UsageError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert_same_bits(restored, state)
    assert refused >= 3


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path):
    (tmp_path / "epoch_00001").mkdir()
    with pytest.raises(UsageError, match="epoch_00001"):
        checkpoints.restore(tmp_path / "epoch_00001", make_state())
