"""Writes the folder of a run."""

import contextlib
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.extend import KEPT, ExtensionFile, kept_paths, loaded_files
from cnn_jax.storage import strict_json
from cnn_jax.studies.run_directory._environment import environment
from cnn_jax.studies.run_directory._files import (
    CHECKPOINTS,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    FLAGS_FILE,
    first_difference,
    is_begun,
)
from cnn_jax.training import TrainState, checkpoints
from cnn_jax.training.processes import is_first

# A network file system may remember for a while that a file was not there.
_VISIBLE_SECONDS = 30


class RunDirectory:
    """Writes one run's files; a half-written line or file is never left under its final name.

    Of several processes that share a run only the first one writes; the others see its files.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / CHECKPOINTS
        # Of each file of lines, how many are in it.
        self._lines: dict[str, int] = {}
        self._made = False

    @contextlib.contextmanager
    def locked(self, new: bool) -> Iterator[None]:
        """Makes the folder and keeps other processes from writing to it.

        Args:
            new: whether nothing may be in it.

        Raises:
            UsageError: if another process writes to it, or has, or it cannot be made.
        """
        if not is_first():
            yield
            return
        self._made = not self.path.exists()
        try:
            storage.make_folder(self.path)
        except storage.WriteError as error:
            raise UsageError(f"cannot make --workdir={self.path}: {error.why}") from error
        with storage.locked(self.path):
            if new and is_begun(self.path):
                raise UsageError(f"{self.path} already exists; give a new folder")
            yield

    def create(
        self,
        flags_content: str,
        choices: dict[str, Any],
        command: str,
        files: Sequence[ExtensionFile] | None = None,
    ) -> None:
        """Writes what is known before the first step; flags.txt last, which makes it a run.

        Args:
            flags_content: a flagfile that repeats the run.
            choices: what must be the same to go on with it.
            command: that started it.
            files: of functions from outside, to keep; those that were read if None.

        Raises:
            WriteError: if it can't be written.
        """
        if not is_first():
            return
        folder = RunDirectory(self.path / KEPT)
        files = loaded_files() if files is None else files
        paths = kept_paths(self.path, [file.name for file in files])
        for path, file in zip(paths, files, strict=True):
            folder.write(path.name, file.text)
        self.write_json(CONFIG_FILE, choices)
        self.write_json(ENVIRONMENT_FILE, environment(command))
        self.write(FLAGS_FILE, flags_content)

    def undo(self) -> None:
        """Removes what `create` and those before it wrote, where they came to no end."""
        if is_first() and not is_begun(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self._made:
                with contextlib.suppress(storage.WriteError):
                    storage.make_folder(self.path)

    def check_there(self) -> None:
        """Refuses to start on a host that does not see the folder that the first process made.

        Raises:
            UsageError: naming the folder.
        """
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while not (self.path / FLAGS_FILE).is_file():
            if time.monotonic() > deadline:
                raise UsageError(
                    f"--workdir={self.path} is not on a file system that this host shares with "
                    "that of process 0; give a folder that all hosts see"
                )
            time.sleep(1)

    def check_same(self, choices: dict[str, Any], apart: Collection[str] = ()) -> None:
        """Refuses to go on with a run that other choices began.

        Args:
            choices: by name.
            apart: names that may differ.

        Raises:
            UsageError: naming what differs, or if it cannot be known.
        """
        if difference := first_difference(self.path, choices, apart=apart):
            name, stored, wanted = difference
            if name == "extensions":
                raise UsageError(_other_files(self.path, stored or {}, wanted or {}))
            raise UsageError(
                f"the run in {self.path} has {name}={plain(stored)}, but the flags say "
                f"{name}={plain(wanted)}; leave the flag out to go on with it"
            )

    def last(self, folder: str = CHECKPOINTS) -> checkpoints.Checkpoint | None:
        """The last checkpoint, or None without one.

        Raises:
            UsageError: if it is not what was written.
        """
        return checkpoints.read_latest(self.path / folder)

    def save(
        self,
        state: TrainState,
        said: Mapping[str, Any],
        folder: str = CHECKPOINTS,
        keep: bool = False,
    ) -> None:
        """Writes a checkpoint, all processes together.

        Args:
            state: of the run.
            said: what is known of it.
            folder: of the checkpoint.
            keep: whether the checkpoints before it are kept.

        Raises:
            WriteError: if it cannot be written; the one before it is kept then.
        """
        checkpoints.save(self.path / folder, state, int(state.epoch), said, keep)

    def set_lines(self, name: str, records: Sequence[Mapping[str, Any]]) -> bool:
        """Makes a file of lines hold these and no others.

        Returns:
            Whether some of them had been lost.
        """
        file, text = self.path / name, _json_lines(records)
        held = file.read_bytes() if file.is_file() else b""
        self._lines[name] = len(records)
        if is_first() and held != text.encode():
            storage.write(file, text)
        return not held.startswith(text.encode())

    def append(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds the last records to a file of lines: those that are not in it yet.

        Args:
            name: of the file.
            records: all of them.

        Raises:
            WriteError: if they cannot be added.
        """
        if is_first():
            storage.append(self.path / name, _json_lines(records[self._lines.get(name, 0) :]))
        self._lines[name] = len(records)

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file."""
        self.write(name, strict_json(content, indent=2) + "\n")

    def write_arrays(
        self, name: str, arrays: Mapping[str, Any], *, compressed: bool = False
    ) -> None:
        """Writes arrays as .npz."""
        self.write(name, storage.npz(arrays, compressed=compressed))

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file, all or nothing, with its checksum; text as UTF-8."""
        if is_first():
            storage.record(self.path / name, content)


def _other_files(path: Path, stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """What is wrong with the files of functions from outside."""
    for name in stored.keys() & wanted.keys():
        if stored[name] != wanted[name]:
            return (
                f"{name} is not what it was when the run in {path} was started; leave --extend "
                f"out to go on with that, which is kept in {path / KEPT}"
            )
    more = wanted.keys() - stored.keys()
    if more:
        return f"the run in {path} was started without {', '.join(sorted(more))}; leave it out"
    fewer = ", ".join(sorted(stored.keys() - wanted.keys()))
    return f"the run in {path} was started with {fewer}, which is not in {path / KEPT} any more"


def plain(value: Any) -> str:
    """A value as it is written in a flag."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _json_lines(records: Sequence[Mapping[str, Any]]) -> str:
    return "".join(strict_json(record) + "\n" for record in records)
