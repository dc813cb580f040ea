"""Which file a name in a table means: by its path, with or without ending, in any letter case."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cnn_jax.data.folders._pixels import PICTURE_SUFFIXES
from cnn_jax.data.folders._scan import File, Folder
from cnn_jax.display import count
from cnn_jax.errors import UsageError


def _is_picture_by_name(file: File) -> bool:
    return file.name.lower().endswith(tuple(PICTURE_SUFFIXES))


class Index:
    """Finds the file that a name in a table means."""

    def __init__(self, folders: Iterable[Folder]):
        self.folders = list(folders)
        self.exact: dict[str, File] = {}
        self.by_name: dict[str, dict[str, File]] = defaultdict(dict)
        for folder in self.folders:
            for file in sorted(folder.walk(), key=_is_picture_by_name, reverse=True):
                self.exact.setdefault(file.path, file)
                self.by_name[file.name.casefold()][file.path] = file
                stem = file.name.rpartition(".")[0].casefold()
                # A name without its ending means a picture, and not what lies beside it.
                if stem and (_is_picture_by_name(file) or f"{stem}." not in self.by_name):
                    self.by_name[f"{stem}."][file.path] = file

    def find(self, table: Path, names: Iterable[str]) -> dict[str, File | None]:
        """The file that each name means, or None where there is none.

        Args:
            table: that has the names.
            names: in it.

        Raises:
            UsageError: a name fits several files.
        """
        fits = {name: self._fits(name) for name in names}
        unclear = [name for name, files in fits.items() if len(files) > 1]
        if unclear:
            first, second, *others = (each.path for each in fits[unclear[0]])
            more = f" and {count(len(others), 'other')}" if others else ""
            rest = f" ({count(len(unclear) - 1, 'name')} more likewise)" if unclear[1:] else ""
            raise UsageError(
                f"{table} names {unclear[0]}, which fits {first} and {second}{more}{rest}; write "
                "there which is meant, with its folders and its ending"
            )
        return {name: files[0] if files else None for name, files in fits.items()}

    def _fits(self, name: str) -> list[File]:
        """The file that is meant; none where there is none, several where it fits each."""
        parts = [
            part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".")
        ]
        if not parts or ".." in parts:
            return []
        for folder in self.folders:
            path = "/".join([*filter(None, [folder.path]), *parts])
            if path in self.exact:
                return [self.exact[path]]
        last = parts[-1].casefold()
        found = list((self.by_name.get(last) or self.by_name.get(f"{last}.") or {}).values())
        folders = [part.casefold() for part in parts[:-1]]
        best = max((_shared(file, folders) for file in found), default=0)
        nearest = [file for file in found if _shared(file, folders) == best]
        for folder in self.folders:
            above = f"{folder.path}/" if folder.path else ""
            inside = [each for each in nearest if each.path.startswith(above)]
            direct = [each for each in inside if "/" not in each.path.removeprefix(above)]
            for candidates in (direct, inside):
                if len(candidates) == 1:
                    return candidates
        return nearest


def _shared(file: File, folders: list[str]) -> int:
    """How many of the folders right above a file are those named."""
    above = file.path.casefold().split("/")[:-1]
    count = 0
    while count < min(len(above), len(folders)) and above[-1 - count] == folders[-1 - count]:
        count += 1
    return count
