"""One writer in a folder: a lock of the operating system, which ends with the process."""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cnn_jax.errors import UsageError
from cnn_jax.storage._writing import WriteError, make_folder, remove_parts

LOCK_FILE = ".lock"
# Who only looks whether there is a writer has the lock too, for a moment.
_TRIES, _PAUSE = 10, 0.05
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL})


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a folder and keeps other processes from writing to it.

    What a killed one left half-written in it is removed. On a file system that has no locks, that
    is said, and nothing is kept from anybody.

    Raises:
        UsageError: naming the process and the host that write there.
        WriteError: if the folder cannot be made.
    """
    make_folder(folder)
    place = folder / LOCK_FILE
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(place, error.strerror or str(error)) from error
    with os.fdopen(descriptor, "r+") as file:
        if _take(descriptor) and _is_still(place, descriptor):
            remove_parts(folder.rglob(".*"))
            # Who cannot be named is kept out all the same.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
        else:
            who = holder(folder) or "another process"
            raise UsageError(f"{folder} is written to by {who}; wait for it, or give another")
        yield


def holder(folder: Path) -> str | None:
    """The process that writes to a folder, in words, or None."""
    place = folder / LOCK_FILE
    try:
        with place.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
            except OSError:
                return None
    except OSError:
        return None
    return None


def _take(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            note = "this file system has no locks: see to it that no second program writes here"
            print(f"note: {note}", file=sys.stderr)
            return True
        else:
            return True
    return False


def _is_still(place: Path, descriptor: int) -> bool:
    """Whether a file is that which was opened: who had it before may have removed it."""
    try:
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
