"""Every write of the project: a file is whole under its name or not there, also after a power cut.

All calls that change a disk are functions of `os`, and stand here.
"""

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from cnn_jax.errors import UsageError

Content = bytes | str | Callable[[BinaryIO], None]

# How names of what is being made end; they begin with a dot.
PART = ".part"
# Some file systems have no such thing as a folder that is synced.
_UNSYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})


class WriteError(UsageError):
    """A file that could not be written; what was there before is as it was."""

    def __init__(self, path: Path, why: str):
        super().__init__(f"cannot write {path}: {why}")
        self.path, self.why = path, why


def write(
    path: Path, content: Content, ready: Callable[[], None] = lambda: None, sync_name: bool = True
) -> None:
    """Writes a file, all or nothing, and its folder where there is none.

    It is filled under another name, synced and then renamed. What is no regular file, as
    /dev/stdout, is written to.

    Args:
        path: of the file.
        content: bytes, text (as UTF-8), or a function that writes to an open file.
        ready: called when all is written but the name.
        sync_name: whether the new name is synced too; if not, it is with the next one here.

    Raises:
        WriteError: if it cannot be; there is nothing new then.
    """
    with _said(path):
        if _is_special(path):
            with path.open("wb") as file:
                _fill(file, content)
            return
        path = Path(os.path.realpath(path))
        _make_folder(path.parent)
        part = _part_of(path)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), "wb") as f:
                _fill(f, content)
                f.flush()
                os.fsync(f.fileno())
            ready()
            os.replace(part, path)
            if sync_name:
                _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise


def check_writable(path: Path) -> None:
    """Refuses what `write` could not write to, or only into a new folder; nothing is left there.

    Raises:
        WriteError: saying why.
    """
    with _said(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_special(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        part = _part_of(Path(os.path.realpath(path)))
        if not part.parent.is_dir():
            raise WriteError(path, f"there is no folder {path.parent}")
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT, 0o666))
        os.unlink(part)


def append(path: Path, text: str) -> None:
    """Adds lines to the end of a file, all or none of them.

    Raises:
        WriteError: if they cannot be.
    """
    content = text.encode()
    with _said(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            end = os.fstat(descriptor).st_size
            if os.write(descriptor, content) < len(content):
                os.ftruncate(descriptor, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def hard_link(source: Path, path: Path) -> None:
    """Gives a file a second name.

    Raises:
        WriteError: if it cannot have one there.
    """
    with _said(path):
        os.link(source, path)
        _sync_folder(path.parent)


def unlink(path: Path) -> None:
    """Removes a file, where it is there.

    Raises:
        WriteError: if it cannot be.
    """
    with _said(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def make_folder(path: Path) -> None:
    """Makes a folder with those above it, where there is none.

    Raises:
        WriteError: if it cannot be.
    """
    with _said(path):
        _make_folder(path)


def is_part(path: Path) -> bool:
    """Whether it is what a process that was killed in the middle of making it left behind."""
    return path.name.startswith(".") and path.name.endswith(PART)


def remove_parts(files: Iterable[Path], seconds: float = 0.0) -> None:
    """Removes such files and folders among these, where they are older than so many seconds."""
    for path in filter(is_part, files):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime < seconds:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


def _part_of(path: Path) -> Path:
    """Under what name a file is filled."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PART}")


def _fill(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        os.makedirs(path, exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # A folder may be one to write to and not to read.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def _is_special(path: Path) -> bool:
    """Whether it is a device, a pipe or another thing that is not to be replaced."""
    return path.exists() and (not path.is_file() or path.absolute().parts[1:2] == ("dev",))


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error
