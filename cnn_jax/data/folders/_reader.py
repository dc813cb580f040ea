"""A scanned folder with where its splits are, which of its files are what, and how to read it."""

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.dataset import PixelRule
from cnn_jax.data.folders._pixels import PICTURE_SUFFIXES, is_picture
from cnn_jax.data.folders._scan import (
    NO_FILE,
    PROBLEMS,
    TEXT_LINK,
    File,
    Folder,
    Scan,
    above,
    is_text_link,
)
from cnn_jax.data.folders._splits import Base, locate, splits_of_tables
from cnn_jax.data.folders._tables import is_table, lists_pictures, looks_like_table
from cnn_jax.errors import FIELD, FieldError


class Options(NamedTuple):
    """How folders are read.

    Attributes:
        image_size: side to which every picture is resized; None: all have one size.
        resize: "crop", "pad" or "stretch".
        on_error: "refuse" or "skip" what cannot be read.
        labels: "auto", or which is meant where there are two readings: "folders", or a table with
            "one" class a row or "several" labels.
        class_pattern: where the class stands in a file's name, as in `{class}.*`; None: nowhere.
        rule: by which values that are no bytes become bytes; None: by their own range.
        test_only: whether all that is not split is to be tested on, and nothing trained on will do.
    """

    image_size: int | None = None
    resize: str = "crop"
    on_error: str = "refuse"
    labels: str = "auto"
    class_pattern: str | None = None
    rule: PixelRule | None = None
    test_only: bool = False


class Look:
    """Whether files are pictures or tables, by their content where the name does not say it."""

    def __init__(self, root: Path):
        self.root = root
        self._pictures: dict[str, bool] = {}
        self._tables: dict[str, bool] = {}

    def is_picture(self, file: File) -> bool:
        """Whether its name or its content is that of a picture."""
        name = file.path.lower()
        if name[name.rfind(".") :] in PICTURE_SUFFIXES:
            return True
        if file.path not in self._pictures:
            self._pictures[file.path] = file.size > 0 and is_picture(self.root / file.path)
        return self._pictures[file.path]

    def is_table(self, file: File) -> bool:
        """Whether it is a table of labels."""
        if file.path not in self._tables:
            self._tables[file.path] = is_table(self.root, file)
        return self._tables[file.path]


class Reader(NamedTuple):
    """What reading a split needs to know.

    Attributes:
        scan: of the folder.
        base: where its splits are.
        look: whether a file is a picture or a table.
        options: how it is read.
        tables: of labels that lie beside the folders, by the split that they are named for.
        lists: tables there that are named for a split and have no labels, likewise.
    """

    scan: Scan
    base: Base
    look: Look
    options: Options
    tables: dict[str | None, list[File]]
    lists: dict[str, list[File]]

    @property
    def root(self) -> Path:
        """The folder."""
        return self.scan.root

    def pictures(self, folder: Folder) -> list[File]:
        """Those in a folder, however deep, in the order of their paths."""
        found = (file for file in folder.walk() if self.look.is_picture(file))
        return sorted(found, key=lambda file: file.path.split("/"))


def open_reader(scan: Scan, options: Options) -> Reader:
    """Finds where the data set lies.

    Raises:
        UsageError: nothing is found, or several that could be meant.
    """
    look = Look(scan.root)
    base = locate(scan, look.is_picture, look.is_table, options.test_only)
    tables: dict[str | None, list[File]] = defaultdict(list)
    lists: dict[str, list[File]] = defaultdict(list)
    # Where classes are asked for by folders or names, no table is.
    if options.labels != "folders" and options.class_pattern is None:
        _refuse_closed_tables(scan, base)
        files = {file.name: file for file in base.folder.files if looks_like_table(file)}
        for name, split in splits_of_tables(files).items():
            if look.is_table(files[name]):
                tables[split].append(files[name])
            elif split is not None and lists_pictures(scan.root, files[name]):
                lists[split].append(files[name])
    return Reader(scan, base, look, options, tables, lists)


def _refuse_closed_tables(scan: Scan, base: Base) -> None:
    """Refuses what may be the table of labels and cannot be opened: all else would go without it.

    Raises:
        FieldError: naming it.
    """
    read = {folder.path for folder in (base.folder, *base.splits.values())}
    near = read.union(*map(above, read), [""])
    bad = {path: why for path, why in scan.left.items() if why in (*PROBLEMS, NO_FILE)}
    for file in (*(File(path, 0, 0) for path in bad), *scan.top.walk()):
        if file.path.rpartition("/")[0] not in near or not looks_like_table(file):
            continue
        path = scan.root / file.path
        why = bad.get(file.path)
        if why is None and not os.access(path, os.R_OK):
            why = "no permission"
        if why is None and is_text_link(path, file.size):
            why = TEXT_LINK
        if why:
            raise FieldError(
                f"{path} may be the table of labels, but cannot be opened ({why}); mend it or take "
                f"it away, or say {FIELD.labels}=folders where folders are the classes"
            )
