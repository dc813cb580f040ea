"""Where programs write to, by one rule for all of them: files, standard output and error.

What cannot be written to is refused before the work. Standard output may be closed or full later.
Training goes on in silence. A program whose product is what it prints stops: with exit status 141,
as a shell has it, where nobody reads any more; in one line where there is no room. Standard error
never stops anything.
"""

import io
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, TextIO

from cnn_jax import storage
from cnn_jax.errors import UsageError

CLOSED = 141
# The endings of files that a picture can be drawn to.
DRAWINGS = (".pdf", ".png", ".svg")


class _Output(io.FileIO):
    """What is written to a descriptor, or to nowhere once that cannot be written to."""

    def __init__(self, descriptor: int, goes_on: bool):
        super().__init__(descriptor, "w", closefd=False)
        self._goes_on = goes_on

    def write(self, content: Any, /) -> int:
        """Writes bytes; all later ones go nowhere where that fails.

        Raises:
            SystemExit: if nobody reads, and the program does not go on.
            UsageError: if there is no room, likewise.
        """
        try:
            return super().write(content) or 0
        except OSError as error:
            silence(self.fileno())
            if self._goes_on:
                return len(content)
            if isinstance(error, BrokenPipeError):
                raise SystemExit(CLOSED) from None
            raise UsageError(f"cannot write to standard output: {error.strerror}") from error


def guard(goes_on: bool) -> None:
    """Has standard output and error keep to the rule, where they are those of the process.

    Args:
        goes_on: whether the program goes on where nobody reads its output.
    """
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _guarded(sys.stdout, 1, goes_on)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.stderr, 2, goes_on=True)


def opened(descriptor: int) -> TextIO:
    """Another descriptor as the standard output of a program that goes on."""
    written = io.BufferedWriter(_Output(descriptor, goes_on=True))
    return io.TextIOWrapper(written, errors="backslashreplace")


def silence(descriptor: int) -> None:
    """Has a descriptor lead nowhere; what Python flushes at its end is then no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def file_for(flag: str, path: str | Path, endings: Collection[str] = ()) -> Path:
    """The file that a flag names or leaves to its default, to be written when the work is done.

    Raises:
        UsageError: if it could not be, or has not one of these endings, small or capital.
    """
    path = Path(path)
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"--{flag}={path} must end in {', '.join(endings)}")
    try:
        storage.check_writable(path)
    except storage.WriteError as error:
        raise UsageError(f"{error}; give another --{flag}") from error
    return path


def _guarded(stream: TextIO | None, descriptor: int, goes_on: bool) -> TextIO:
    # A process may be started without: what it opens next has that number, and is to be spared.
    if not isinstance(stream, io.TextIOWrapper):
        return open(os.devnull, "w")
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, goes_on)),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering or descriptor == 2,
    )
