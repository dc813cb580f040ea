"""Checkpoints of the training state: one .npz file each, verified whenever it is read.

It holds every array of the state by its path in the tree, and what else a run has to know to go on
(its history). Nothing in it is pickled.
"""

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.training.processes import fetch, from_first, is_first

_NAME = re.compile(r"epoch_(\d+)\.npz")
_SAID = "said"
# What is in a checkpoint is an array of the state or was said of it.
_ARRAYS = "state/"
Tree = TypeVar("Tree", bound=PyTree)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that has been read and is what was written.

    Attributes:
        path: of the file.
        said: what was written down with the state.
    """

    path: Path
    said: dict[str, Any]
    _arrays: Mapping[str, np.ndarray]

    def restore(self, like: Tree) -> Tree:
        """The state, in the structure, shapes, types and places of `like`.

        Raises:
            UsageError: if it is another network's.
        """
        leaves, structure = jax.tree.flatten(like)
        names = _names(like)
        self._compare(dict(zip(names, leaves, strict=True)))
        placed = [
            _place(self._arrays[name], leaf) for name, leaf in zip(names, leaves, strict=True)
        ]
        restored: Tree = jax.tree.unflatten(structure, placed)
        return restored

    def _compare(self, like: Mapping[str, Any]) -> None:
        for name in sorted(self._arrays.keys() | like.keys()):
            held, wanted = _kind(self._arrays.get(name)), _kind(like.get(name))
            if held != wanted:
                raise UsageError(
                    f"the checkpoint {self.path} is of another network: it has {name} of shape "
                    f"{held}, this one {wanted}"
                )


def save(
    folder: Path,
    state: PyTree,
    epoch: int,
    said: Mapping[str, Any] | None = None,
    keep: bool = False,
) -> None:
    """Writes `state` after `epoch` to `folder`, then removes the checkpoints before it.

    All processes have to come, and the first one writes. A checkpoint appears under its name only
    when it is complete, and those before it go when it has been read back: a process killed at any
    moment leaves the last complete one to go on from.

    Args:
        folder: of the checkpoints.
        state: of arrays.
        epoch: after which it is.
        said: what JSON holds of it.
        keep: whether the checkpoints before it are kept.

    Raises:
        WriteError: if it cannot be written; the one before it is kept then.
    """
    arrays, path = fetch(state), _path(folder, epoch)
    problem: storage.WriteError | None = None
    if is_first():
        others = [] if keep else _found(folder).values()
        try:
            storage.record(path, _packed(arrays, {"epoch": epoch, **(said or {})}), others)
        except storage.WriteError as error:
            problem = error
    if from_first(problem is not None):
        raise problem or storage.WriteError(path, "process 0 says why")


def prune(folder: Path, epoch: int) -> None:
    """Removes the checkpoints of other epochs than this one."""
    for found, path in _found(folder).items():
        if found != epoch and is_first():
            with contextlib.suppress(storage.WriteError):
                storage.remove(path)


def latest(folder: Path) -> Path | None:
    """The checkpoint with the most epochs in `folder`, or None; as the first process sees it.

    Raises:
        UsageError: if an earlier version wrote it.
    """
    epoch = from_first(max(_found(folder), default=-1))
    if epoch < 0 and (older := sorted(folder.glob("epoch_*/"))):
        raise UsageError(
            f"the checkpoint {older[-1]} was written by an earlier version, by Orbax, without "
            "checksums; this one does not read it: use it with the version that wrote it"
        )
    return None if epoch < 0 else _path(folder, epoch)


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint and verifies all of it.

    Raises:
        FileNotFoundError: if it is not there.
        UsageError: if it is not what was written.
    """
    damaged = f"the checkpoint {path} is damaged or cannot be read"
    try:
        content = storage.read(path)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # Each array has a checksum too, where those of the folder were lost.
            arrays = {
                info.filename.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(info)), allow_pickle=False
                )
                for info in archive.infolist()
            }
        said = json.loads(bytes(arrays.pop(_SAID)))
        types = said.pop("types")
        state = {name: arrays[_ARRAYS + name].view(jnp.dtype(types[name])) for name in types}
        if int(_NAME.fullmatch(path.name)[1]) != said["epoch"] or len(state) != len(arrays):  # type: ignore[index]
            raise ValueError("it is of another epoch")
    except (UsageError, FileNotFoundError):
        raise
    # A damaged archive can raise nearly anything.
    except Exception as error:
        raise UsageError(f"{damaged}: {error}; put it back from a copy") from error
    return Checkpoint(path, said, state)


def read_epoch(folder: Path, epoch: int) -> Checkpoint:
    """Reads the checkpoint after an epoch.

    Raises:
        UsageError: if it is missing, or not what was written.
    """
    try:
        return read(_path(folder, epoch))
    except FileNotFoundError:
        raise UsageError(f"{_path(folder, epoch)} is missing; put it back from a copy") from None


def read_latest(folder: Path) -> Checkpoint | None:
    """The last checkpoint in `folder`, also where another process is writing the next one there.

    Raises:
        UsageError: if it is not what was written.
    """
    while (path := latest(folder)) is not None:
        try:
            return read(path)
        except FileNotFoundError:
            continue
    if lost := sorted(filter(_NAME.fullmatch, storage.recorded(folder) or ())):
        raise UsageError(f"{folder / lost[-1]} is missing; put it back from a copy")
    return None


def look(folder: Path) -> dict[str, Any] | None:
    """What was said of the last state in `folder`; no state is read, and no process is met.

    Raises:
        UsageError: if it cannot be read.
    """
    while found := _found(folder):
        path = found[max(found)]
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{_SAID}.npy") as file:
                return dict(json.loads(bytes(np.lib.format.read_array(file, allow_pickle=False))))
        except FileNotFoundError:
            continue
        except Exception as error:
            raise UsageError(f"the checkpoint {path} cannot be read: {error}") from error
    return None


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch_{epoch:05d}.npz"


def _found(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their epochs."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {int(match[1]): path for path in files if (match := _NAME.fullmatch(path.name))}


def _packed(state: PyTree, said: Mapping[str, Any]) -> bytes:
    names, leaves = _names(state), [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    types = {name: leaf.dtype.name for name, leaf in zip(names, leaves, strict=True)}
    text = storage.strict_json({**said, "types": types}).encode()
    # Types that NumPy has not itself, as bfloat16, are written as bytes.
    arrays = {
        _ARRAYS + name: leaf if leaf.dtype.isbuiltin else leaf[..., None].view(np.uint8)
        for name, leaf in zip(names, leaves, strict=True)
    }
    return storage.npz({_SAID: np.frombuffer(text, np.uint8)} | arrays)


def _names(tree: PyTree) -> list[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _kind(leaf: Any) -> str:
    """Shape and, where it is not float32, type of an array, in words."""
    if leaf is None:
        return "nothing"
    named = "" if leaf.dtype == np.float32 else f" and type {leaf.dtype}"
    return f"{tuple(leaf.shape)}{named}"


def _place(array: np.ndarray, like: Any) -> jax.Array:
    where = getattr(like, "sharding", None)
    if where is None:
        return jnp.asarray(array)
    return jax.make_array_from_callback(array.shape, where, array.__getitem__)
