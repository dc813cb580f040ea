"""The checksums of a folder's files, in a file that `sha256sum -c` reads too.

A file's new checksum is written down, as a comment, before the file takes its name, and becomes its
line after that: at whatever moment a process is killed, each file has a checksum that fits.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cnn_jax.errors import UsageError
from cnn_jax.storage._writing import WriteError, hard_link, unlink, write

SUMS_FILE = "SHA256SUMS"
_COMING = "# "
# A writer may be between a file and its checksum; it is there for much less than all of these.
_TRIES, _PAUSE = 5, 0.02


class _Sums(NamedTuple):
    """What is known of the files of a folder.

    Attributes:
        there: the checksum of each file, by its name.
        coming: names with checksums that they had to get when a process may have been killed.
    """

    there: Mapping[str, str]
    coming: tuple[tuple[str, str], ...] = ()

    def of(self, name: str) -> set[str]:
        """Every checksum that a file may have."""
        coming = {digest for other, digest in self.coming if other == name}
        return coming | ({self.there[name]} if name in self.there else set())


class DamagedError(UsageError):
    """A file that is not what was written."""


def record(path: Path, content: bytes | str, instead_of: Iterable[Path] = ()) -> None:
    """Writes a file, all or nothing, and its checksum.

    Args:
        path: of the file.
        content: of it; text as UTF-8.
        instead_of: files of the folder that are removed when this one is there, and read back.

    Raises:
        WriteError: if it cannot be written, and all is as it was; or not be read back.
    """
    content = content.encode() if isinstance(content, str) else content
    digest = hashlib.sha256(content).hexdigest()
    sums = _sums(path.parent) or _as_they_are(path.parent)
    soon = sums._replace(coming=(*sums.coming, (path.name, digest)))
    write(path, content, lambda: _write_sums(path.parent, soon))
    others = [other for other in instead_of if other.name != path.name]
    if others:
        try:
            read(path)
        except (DamagedError, OSError) as error:
            raise WriteError(path, f"read back, {error}") from error
    gone = {other.name for other in others}
    there = {name: each for name, each in sums.there.items() if name not in gone}
    coming = tuple(each for each in sums.coming if each[0] != path.name)
    # The file is there and has a checksum: what fails now is done by the next one.
    with contextlib.suppress(WriteError):
        _write_sums(path.parent, _Sums(there | {path.name: digest}, coming))
        for other in others:
            unlink(other)


def link(source: Path, path: Path) -> None:
    """Has a recorded file under a second name, a new one; a copy where links cannot be.

    Raises:
        DamagedError: if it is not what was written.
        WriteError: if it cannot be.
    """
    content = read(source)
    digest = hashlib.sha256(content).hexdigest()
    sums = _sums(path.parent) or _Sums({})
    _write_sums(path.parent, sums._replace(coming=(*sums.coming, (path.name, digest))))
    # What one name leads to never changes under the other: files are replaced, not written to.
    try:
        hard_link(source, path)
    except WriteError:
        write(path, content)
    _write_sums(path.parent, sums._replace(there={**sums.there, path.name: digest}))


def remove(path: Path) -> None:
    """Removes a file and its checksum.

    Raises:
        WriteError: if they cannot be.
    """
    sums = _sums(path.parent)
    if sums is not None and path.name in sums.there:
        kept = {name: each for name, each in sums.there.items() if name != path.name}
        _write_sums(path.parent, sums._replace(there=kept))
    unlink(path)


def read(path: Path) -> bytes:
    """The content of a file, compared with its checksum; in a folder without any, as it is.

    Raises:
        FileNotFoundError: if it is not there, and no checksum says that it was.
        DamagedError: if it is not what was written, or is missing.
        OSError: if it cannot be read.
    """
    for _ in range(_TRIES):
        sums = _sums(path.parent)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if sums is None or path.name not in sums.there:
                raise
            problem = DamagedError(f"{path} is missing; put it back from a copy")
        else:
            if sums is None or hashlib.sha256(content).hexdigest() in sums.of(path.name):
                return content
            problem = _problem(path, sums)
        time.sleep(_PAUSE)
    raise problem


def recorded(folder: Path) -> list[str] | None:
    """The names of the files of which a folder has checksums; None where it has none at all.

    Raises:
        DamagedError: if they cannot be read.
    """
    sums = _sums(folder)
    return None if sums is None else list(sums.there)


def is_recorded(path: Path) -> bool:
    """Whether a file is there, or was: `read` then says that it is missing."""
    return path.is_file() or path.name in (recorded(path.parent) or ())


def _problem(path: Path, sums: _Sums) -> DamagedError:
    if not sums.of(path.name):
        place = path.with_name(SUMS_FILE)
        return DamagedError(f"{place} is damaged: it has no line for {path.name}; put it back")
    return DamagedError(
        f"{path} is damaged: it is not what was written (its checksum is not that in {SUMS_FILE}); "
        "put it back from a copy"
    )


def _as_they_are(folder: Path) -> _Sums:
    """Checksums of what an older version wrote, or of files whose checksums were lost."""
    files = folder.iterdir() if folder.is_dir() else ()
    return _Sums(
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file() and not path.name.startswith(".")
        }
    )


def _sums(folder: Path) -> _Sums | None:
    place = folder / SUMS_FILE
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"cannot read {place}: {error}; put it back from a copy") from error
    there, coming = {}, []
    for line in lines:
        digest, _, name = line.removeprefix(_COMING).partition("  ")
        if line.startswith(_COMING):
            coming.append((name, digest))
        else:
            there[name] = digest
    return _Sums(there, tuple(coming))


def _write_sums(folder: Path, sums: _Sums) -> None:
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.there.items())]
    lines += [f"{_COMING}{digest}  {name}\n" for name, digest in sums.coming]
    write(folder / SUMS_FILE, "".join(lines), sync_name=False)
