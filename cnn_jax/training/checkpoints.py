"""Checkpoints of the training state, written and read by Orbax."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
from absl import logging

from cnn_jax.errors import UsageError
from cnn_jax.training.run import TrainState

_PREFIX = "epoch_"


def save(folder: Path, state: TrainState) -> None:
    """Writes `state` to `folder`, then removes the checkpoints before it.

    A checkpoint appears under its name only when it is complete, so that a process killed at any
    moment leaves the last complete one to go on from.
    """
    import orbax.checkpoint as ocp

    target = folder.absolute() / f"{_PREFIX}{int(state.epoch):05d}"
    with _quiet(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(target, state)
    for other in folder.glob(f"{_PREFIX}*"):
        if other.name != target.name:
            shutil.rmtree(other)


def latest(folder: Path) -> Path | None:
    """The checkpoint with the most epochs in `folder`, or None."""
    found = [p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdecimal()]
    return max(found, default=None, key=lambda p: int(p.name.removeprefix(_PREFIX)))


def restore(path: Path, like: TrainState) -> TrainState:
    """Reads a checkpoint into the structure, shapes and types of `like`.

    Raises:
      UsageError: if it can't be read or holds another network's state.
    """
    import orbax.checkpoint as ocp

    damaged = f"the checkpoint {path} is damaged or cannot be read; remove it to start the run anew"
    with _quiet(), ocp.StandardCheckpointer() as checkpointer:
        try:
            held = checkpointer.metadata(path.absolute()).item_metadata
            if held is None:
                raise UsageError(damaged)
            _compare(path, held, like)
            return checkpointer.restore(path.absolute(), like)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(damaged) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps off the terminal that Orbax found half a checkpoint, which is provided for here."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _compare(path: Path, held: object, like: TrainState) -> None:
    stored = {name: tuple(leaf.shape) for name, leaf in _leaves(held)}
    wanted = {name: tuple(leaf.shape) for name, leaf in _leaves(like)}
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise UsageError(
                f"the checkpoint {path} is of another network: it has {name} of shape "
                f"{stored.get(name, 'nothing')}, this one {wanted.get(name, 'nothing')}"
            )


def _leaves(tree: object) -> list[tuple[str, jax.Array]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
