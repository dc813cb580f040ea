"""Checkpoints of the training state, written and read by Orbax."""

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import jax
from absl import logging
from jaxtyping import PyTree

from cnn_jax.errors import UsageError
from cnn_jax.training.processes import from_first, is_first

_PREFIX = "epoch_"
Tree = TypeVar("Tree", bound=PyTree)


def save(folder: Path, state: PyTree, epoch: int) -> None:
    """Writes `state` after `epoch` to `folder`, then removes the checkpoints before it.

    Of several processes each writes its part, and all have to come. A checkpoint appears under its
    name only when it is complete, so that a process killed at any moment leaves the last complete
    one to go on from.
    """
    import orbax.checkpoint as ocp

    target = folder.absolute() / f"{_PREFIX}{epoch:05d}"
    with _undisturbed(), _quiet(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(target, state)
    if is_first():
        for other in folder.glob(f"{_PREFIX}*"):
            if other.name != target.name:
                shutil.rmtree(other)


def latest(folder: Path) -> Path | None:
    """The checkpoint with the most epochs in `folder`, or None; as the first process sees it."""
    names = [path.name.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*")]
    epoch = from_first(max((int(name) for name in names if name.isdecimal()), default=-1))
    return None if epoch < 0 else folder / f"{_PREFIX}{epoch:05d}"


def restore(path: Path, like: Tree) -> Tree:
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
def _undisturbed() -> Iterator[None]:
    """Holds interruptions back until the checkpoint is complete: Orbax's threads survive none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, frame: received.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for interruption in received:
            signal.raise_signal(interruption)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps off the terminal that Orbax found half a checkpoint, which is provided for here."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _compare(path: Path, held: object, like: PyTree) -> None:
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
