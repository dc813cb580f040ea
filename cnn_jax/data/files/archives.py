"""Archives of data sets, unpacked where no path leaves the target and sizes are bounded."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from cnn_jax import storage
from cnn_jax.data.cache import DAY, default_folder, fingerprint, progress
from cnn_jax.data.files._growth import most_bytes
from cnn_jax.data.folders import link_text
from cnn_jax.errors import UsageError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_MOST_FILES = 5_000_000
_CHUNK = 1 << 20
_LARGEST_READ = 1 << 26
# Part of every name in the cache: raise it when other files come of an archive.
_FORMAT = 2


class _Member(NamedTuple):
    """A file in an archive: its path, its size as stated, and how it is opened."""

    path: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """An archive's name without its ending."""
    ending = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(ending)] or name


def unpack(path: Path, cache_dir: str | os.PathLike[str] | None) -> Path:
    """The folder that an archive was unpacked to; once, in the cache.

    Args:
        path: the archive.
        cache_dir: of the cache; default: see `default_folder`.

    Raises:
        UsageError: it is damaged, has a path that leads out of the folder, or unpacks to far more
            than it is.
    """
    status = path.stat()
    key = fingerprint(_FORMAT, str(path.resolve()), status.st_size, status.st_mtime_ns)
    cache = Path(os.path.expanduser(cache_dir)) if cache_dir else default_folder()
    folder = cache / "unpacked" / key / stem(path.name)
    if folder.is_dir():
        return folder
    storage.make_folder(folder.parent.parent)
    # What a killed process left of one is not left for long.
    storage.remove_parts(folder.parent.parent.iterdir(), seconds=DAY)
    # Unpacked beside its place and then renamed: nobody ever sees half of it.
    try:
        temporary = Path(tempfile.mkdtemp(storage.PART, ".", folder.parent.parent))
    except OSError as error:
        raise storage.WriteError(folder, error.strerror or str(error)) from error
    try:
        (temporary / folder.name).mkdir()
        _unpack(path, temporary / folder.name, status.st_size)
        os.replace(temporary, folder.parent)
    # What a damaged archive raises is not documented.
    except Exception as error:
        if folder.is_dir():
            return folder
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot unpack {path}: {' '.join(str(error).split())}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _unpack(path: Path, target: Path, packed: int) -> None:
    most = most_bytes(packed)
    free = shutil.disk_usage(target).free
    written = 0
    with _members(path) as members:
        listed = list(members)
        total = sum(member.size for member in listed)
        if total > most or len(listed) > _MOST_FILES:
            raise UsageError(
                f"{path} has {packed:,} bytes and would unpack to {total:,} in {len(listed):,} "
                "files, which is no data set; unpack it by hand if it is"
            )
        if total > free:
            raise UsageError(
                f"{path} unpacks to {total:,} bytes, but {target} has {free:,} left; set "
                "CNN_JAX_CACHE to a folder with room"
            )
        with progress(f"Unpacking {path.name}", len(listed)) as advance:
            for member in listed:
                written += _write(path, member, target, most - written)
                advance(1)


def _write(path: Path, member: _Member, target: Path, most: int) -> int:
    place = target / _safe(path, member.path)
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    # What an archive states of sizes need not be true.
    with member.open() as source, place.open("wb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise UsageError(f"{path} unpacks to far more than it is, which is no data set")
            file.write(chunk)
    return written


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    """What a member holds; of a link to a folder, or to nothing in the archive, its text."""
    try:
        found = archive.extractfile(info)
    # A link that leads back to itself has no end.
    except (KeyError, RecursionError):
        found = None
    return io.BytesIO(link_text(info.linkname)) if found is None else found


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise UsageError(f"{archive} holds {name}, a path that leads out of the folder")
    return path


class _Bounded(io.BufferedReader):
    """A tar file that states no header of gigabytes, which tarfile would read at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, if they are few."""
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)


def _unpacked(path: Path) -> IO[bytes]:
    """What is in a tar file, unpacked as it is read."""
    with path.open("rb") as file:
        head = file.read(6)
    packers: dict[bytes, Callable[..., Any]] = {
        b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
    }  # fmt: skip
    opened = next((each for mark, each in packers.items() if head.startswith(mark)), open)
    return _Bounded(opened(path, "rb"))


@contextmanager
def _members(path: Path) -> Iterator[Iterator[_Member]]:
    """The files in an archive."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as zipped:
            if any(info.flag_bits & 1 for info in zipped.infolist()):
                raise UsageError(f"{path} is encrypted; unpack it by hand")
            yield (
                _Member(info.filename, info.file_size, partial(zipped.open, info))
                for info in zipped.infolist()
                if not info.is_dir()
            )
    else:
        with _unpacked(path) as content, tarfile.open(fileobj=content, mode="r:") as tarred:
            yield _tar_members(path, content, tarred)


def _tar_members(path: Path, content: IO[bytes], tarred: tarfile.TarFile) -> Iterator[_Member]:
    for info in tarred:
        # A link is another name of a file in the archive.
        if info.isreg() or info.islnk() or info.issym():
            yield _Member(info.name, info.size, partial(_open_member, tarred, info))
        elif not info.isdir():
            raise UsageError(f"{path} holds {info.name}, which is a device; unpack it by hand")
    # tarfile takes a damaged header for the end, which is a block of zeros and nothing behind it.
    content.seek(tarred.offset)
    length = 0
    while chunk := content.read(_CHUNK):
        length += len(chunk)
        if any(chunk):
            raise UsageError(
                f"{path} is damaged, or has something behind its end, at byte {tarred.offset:,}; "
                "fetch it anew, or unpack it by hand"
            )
        if length > most_bytes(path.stat().st_size):
            raise UsageError(f"{path} unpacks to far more than it is, which is no data set")
    if length < tarfile.BLOCKSIZE:
        raise UsageError(f"{path} is cut: it has no end at byte {tarred.offset:,}; fetch it anew")
