"""One walk over a folder: every file and sub-folder, and why some of them are not looked at."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cnn_jax.errors import UsageError

# What programs and systems leave behind, in folders that are not named with a dot.
_SYSTEM = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
HIDDEN, LOOP, DANGLING = "hidden", "link that leads back", "link to nothing"
TEXT_LINK, NO_FILE, EMPTY_FOLDER = "link kept as text", "not a file", "empty folder"
UNREADABLE_FOLDER = "folder that cannot be opened"
PROBLEMS = (DANGLING, UNREADABLE_FOLDER)
TOO_DEEP = "folder nested too deeply"
# No set is nested deeper; Python would end a walk that is.
_DEEPEST = 100
# A link that was copied as text is no longer than a path.
_LONGEST_LINK = 1024
_LINK_BEGINS = ("../", "./", "/")


@dataclass(frozen=True)
class File:
    """A file that may be looked at.

    Attributes:
        path: below the root, with slashes.
        size: in bytes.
        stamp: time of change in ns.
    """

    path: str
    size: int
    stamp: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Folder:
    """A folder, with all that may be looked at in it.

    Attributes:
        path: below the root, with slashes; empty for the root itself.
        folders: in it, in the order of their names.
        files: in it, likewise.
    """

    path: str
    folders: tuple["Folder", ...] = ()
    files: tuple[File, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def walk(self) -> Iterator[File]:
        """Its files and those of all folders below it, in the order of their paths."""
        inside: list[Folder | File] = [*self.folders, *self.files]
        for each in sorted(inside, key=lambda each: each.name):
            if isinstance(each, Folder):
                yield from each.walk()
            else:
                yield each


@dataclass(frozen=True)
class Scan:
    """All that is in a folder.

    Attributes:
        root: the folder.
        top: what may be looked at in it.
        left: why each other file, link and empty folder is left out, by its path below the root.
    """

    root: Path
    top: Folder
    left: dict[str, str] = field(default_factory=dict)


def scan(root: Path) -> Scan:
    """Walks over a folder, links followed, once.

    Args:
        root: the folder.

    Raises:
        UsageError: it cannot be opened.
    """
    left: dict[str, str] = {}
    if root.resolve() == Path(root.resolve().anchor):
        raise UsageError(f"{root} is all that is on this machine; give a folder of pictures")
    try:
        top = _scan_folder(os.fspath(root), "", _inodes_above(root), left)
    except OSError as error:
        raise UsageError(f"cannot open {root}: {error.strerror}") from error
    return Scan(root, top, left)


def _inodes_above(folder: Path) -> tuple[tuple[int, int], ...]:
    """Where a folder lies, however deep: a link in it to one of these leads back."""
    found = [os.stat(parent) for parent in folder.resolve().parents]
    return tuple((status.st_dev, status.st_ino) for status in found)


def _scan_folder(
    place: str, path: str, above: tuple[tuple[int, int], ...], left: dict[str, str]
) -> Folder:
    status = os.stat(place)
    here = (status.st_dev, status.st_ino)
    folders, files = [], []
    with os.scandir(place) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        below = f"{path}/{entry.name}" if path else entry.name
        item = _look(entry, below, (*above, here), left)
        if isinstance(item, Folder):
            folders.append(item)
        elif item is not None:
            files.append(item)
    return Folder(path, tuple(folders), tuple(files))


def _look(
    entry: os.DirEntry, path: str, above: tuple[tuple[int, int], ...], left: dict[str, str]
) -> Folder | File | None:
    """What an entry is; None, and the reason in `left`, where it is not looked at."""
    try:
        status = entry.stat()
    except OSError:
        left[path] = DANGLING if entry.is_symlink() else NO_FILE
        return None
    if stat.S_ISDIR(status.st_mode):
        if (status.st_dev, status.st_ino) in above:
            left[path] = LOOP
        elif _is_hidden(entry.name):
            if entry.is_symlink():
                left[path] = HIDDEN
            else:
                _leave_all(entry.path, path, left)
        else:
            if path.count("/") >= _DEEPEST:
                left[path] = TOO_DEEP
                return None
            try:
                above += _inodes_above(Path(entry.path)) if entry.is_symlink() else ()
                return _scan_folder(entry.path, path, above, left)
            except OSError:
                left[path] = UNREADABLE_FOLDER
        return None
    if _is_hidden(entry.name):
        left[path] = HIDDEN
    elif not stat.S_ISREG(status.st_mode):
        left[path] = NO_FILE
    else:
        return File(path, status.st_size, status.st_mtime_ns)
    return None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM | _SYSTEM_FILES


def _leave_all(place: str, path: str, left: dict[str, str]) -> None:
    """Counts what is in a hidden folder; links in it are not followed."""
    for folder, folders, files in os.walk(place):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        # An empty folder counts for itself.
        for name in [*files, *links] or ([] if folders else ["."]):
            inside = os.path.normpath(os.path.join(folder, name))
            below = os.path.relpath(inside, place).replace(os.sep, "/")
            left[path if below == "." else f"{path}/{below}"] = HIDDEN


def above(path: str) -> Iterator[str]:
    """The folders that a path lies in, without the root."""
    while path := path.rpartition("/")[0]:
        yield path


def is_text_link(place: str | os.PathLike[str], size: int) -> bool:
    """Whether a file holds nothing but a path, as git leaves links where it cannot make them."""
    if not 2 < size <= _LONGEST_LINK:
        return False
    try:
        text = Path(place).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith(_LINK_BEGINS) and "\n" not in text and "\0" not in text


def link_text(target: str) -> bytes:
    """A link to what is not there, as text that `is_text_link` knows."""
    text = target if target.startswith(_LINK_BEGINS) else f"./{target}"
    return os.fsencode(text)[:_LONGEST_LINK]
