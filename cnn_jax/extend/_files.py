"""Files of functions from outside: read once, known by their text, kept with a run."""

import hashlib
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.extend._registry import EXTENSIONS, Extension, ExtensionError, reading, stands

# The folder of a run in which the files lie that it was trained with.
KEPT = "extensions"


class ExtensionFile(NamedTuple):
    """A file that has been read.

    Attributes:
        name: of the file.
        text: of it.
        sha256: of the text.
        place: where it lies, or None: it was written down of functions of this session.
    """

    name: str
    text: str
    sha256: str
    place: Path | None = None


_loaded: dict[str, ExtensionFile] = {}
# What files say that were written down of functions of this session.
_written: dict[str, list[Extension]] = {}


def adopt(file: ExtensionFile, extensions: list[Extension]) -> None:
    """Remembers that a file was written down of these, which are registered already."""
    _written[file.sha256] = extensions


def _still(sha256: str) -> bool:
    """Whether a file was written down of functions that are still those of this session."""
    return sha256 in _written and all(map(stands, _written[sha256]))


def loaded_files() -> list[ExtensionFile]:
    """Those that were read, in their order."""
    return list(_loaded.values())


def kept_paths(run: Path, names: Iterable[str]) -> list[Path]:
    """Where files of these names are kept in the folder of a run, in this order."""
    return [run / KEPT / f"{index:02d}_{name}" for index, name in enumerate(names)]


def kept_files(run: Path) -> list[Path]:
    """The files that lie in the folder of a run, in the order in which they were read."""
    folder = run / KEPT
    names = {path.name for path in folder.glob("*.py")} | {*(storage.recorded(folder) or ())}
    return [folder / name for name in sorted(names)]


def kept_file(run: Path, name: str) -> Path:
    """Where a file of that name lies in the folder of a run."""
    return next(path for path in kept_files(run) if _own_name(path) == name)


def _own_name(path: Path) -> str:
    """In the folder of a run a number stands before the name."""
    numbered = path.name[:2].isdigit() and path.name[2:3] == "_"
    return path.name[3:] if numbered and _is_kept(path) else path.name


def _is_kept(path: Path) -> bool:
    return path.parent.name == KEPT


def read_text(path: Path) -> ExtensionFile:
    """A file, not yet run.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        text = storage.read(path).decode() if _is_kept(path) else path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path} to extend cnn_jax by") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return ExtensionFile(_own_name(path), text, sha256, path.resolve())


def load_file(path: str | Path) -> ExtensionFile:
    """Runs a Python file, whose decorators add to the registries; a file read before is left.

    Args:
        path: of the file. One that was changed since takes the place of what it was; another one
            of its name does not, for a run keeps its files by their names.

    Returns:
        What was read.

    Raises:
        UsageError: in one line, if it cannot be run or what it registers cannot work; nothing of
            it is registered then.
    """
    path = Path(path)
    file = read_text(path)
    if file.sha256 in _loaded:
        return _loaded[file.sha256]
    if _still(file.sha256):
        return file
    same = [other for other in _loaded.values() if other.name == file.name]
    for other in same:
        if other.place != file.place:
            raise UsageError(
                f"{path} is another {file.name} than the one in use here, {other.place}; "
                + ("start anew without that one" if _is_kept(path) else "leave it out or rename it")
            )
    forget(same)
    before = set(EXTENSIONS)
    reading.append(file.name)
    try:
        _run(path, file)
        if EXTENSIONS.keys() == before:
            raise UsageError(
                f"{path} registers nothing; put @cnn_jax.activation or the like before a function"
            )
    except BaseException:
        for key in EXTENSIONS.keys() - before:
            EXTENSIONS[key].remove()
        raise
    finally:
        reading.pop()
    _loaded[file.sha256] = file
    return file


def forget(files: Iterable[ExtensionFile]) -> None:
    """Takes back what files registered."""
    for file in list(files):
        for extension in list(EXTENSIONS.values()):
            if extension.file == file.name:
                extension.remove()
        _loaded.pop(file.sha256, None)


def _run(path: Path, file: ExtensionFile) -> None:
    module = types.ModuleType(f"cnn_jax_extension_{path.stem}_{file.sha256[:8]}")
    module.__file__ = str(path)
    # Annotations and pickles are looked up by the name of the module.
    sys.modules[module.__name__] = module
    try:
        exec(compile(file.text, str(path), "exec"), module.__dict__)
    except ExtensionError:
        raise
    except SyntaxError as error:
        raise UsageError(f"{_at(path, error.lineno)}: {error.msg}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    # A file may end with sys.exit().
    except (Exception, SystemExit) as error:
        where = _at(path, _line(path, error))
        raise UsageError(f"{where}: {type(error).__name__}: {error}") from error


def _at(path: Path, line: int | None) -> str:
    return f"{path}, line {line}" if line else str(path)


def _line(path: Path, error: BaseException) -> int | None:
    """The line of the file in which an error was raised."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
