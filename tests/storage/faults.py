"""Disks that fail: every call of `cnn_jax.storage` that changes one can be made to."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cnn_jax.storage import _lock, _writing

# What each call would change.
_CHANGES = ("open", "write", "fsync", "replace", "unlink", "makedirs", "ftruncate", "link")
MODULES = (_writing, _lock)


class _FailingFile:
    """A file that is open for writing, each write of which may fail."""

    def __init__(self, file: Any, step: Callable[[str], None]):
        self._file, self._step = file, step

    def write(self, content: Any) -> int:
        self._step("write")
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_FailingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class FailingDisk:
    """`os`, whose n-th change fails, and all from then on until there is room again.

    Attributes:
        count: of changes that were asked for.
    """

    def __init__(self, fails_at: int | None, code: int, recovers: bool):
        self.count, self._fails_at = 0, fails_at
        self._code, self._recovers = code, recovers

    def _step(self, call: str) -> None:
        self.count += 1
        late = self._fails_at is not None and self.count >= self._fails_at
        # What is removed needs no room.
        if late and call != "unlink" and not (self._recovers and self.count > self._fails_at):
            raise OSError(self._code, os.strerror(self._code))

    def fdopen(self, descriptor: int, mode: str, *rest: Any) -> Any:
        return _FailingFile(os.fdopen(descriptor, mode, *rest), self._step)

    def open(self, path: Any, flags: int, *rest: Any) -> int:
        # To read needs no room either.
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._step("open")
        return os.open(path, flags, *rest)

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in _CHANGES:
            return call

        def changing(*arguments: Any, **named: Any) -> Any:
            self._step(name)
            # No test loses its power, and disks are slow to say that they would survive it.
            return None if name == "fsync" else call(*arguments, **named)

        return changing


@contextmanager
def disk(
    fails_at: int | None = None, code: int = errno.ENOSPC, recovers: bool = False
) -> Iterator[FailingDisk]:
    """Has the n-th change of the disk fail, and those after it unless it recovers."""
    failing = FailingDisk(fails_at, code, recovers)
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "os", failing)
        yield failing
