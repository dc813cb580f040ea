"""The pictures of one split with their labels: from a table, from folders, or from file names."""

from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.dataset import PixelRule
from cnn_jax.data.folders._natural import natural
from cnn_jax.data.folders._pixels import PICTURE_SUFFIXES, is_picture
from cnn_jax.data.folders._scan import File, Folder, Scan
from cnn_jax.data.folders._splits import SPLITS, Base, filled, locate, split_of
from cnn_jax.data.folders._tables import Table, is_table, read_table
from cnn_jax.display import count, shown
from cnn_jax.errors import FIELD, FieldError, UsageError

_USUAL_TABLES = ("labels", "metadata", "classes")
_BESIDE_IN_TABLES = frozenset({"", "labels", "label", "annotations", "classes", "metadata", "set"})
_NO_CLASSES = frozenset({"images", "imgs", "pictures", "unknown", "unlabeled", "unlabelled", "all"})
_UNLABELED = "without a label"
_LOOSE = "beside the class folders"
_MARK = "{class}"


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


class Part(NamedTuple):
    """The pictures of a split.

    Attributes:
        files: its pictures.
        labels: of each the name of its class, or a row of zeros and ones.
        table: that said so, if one did.
        left: why other files are left out, by path.
        notes: what a reader should know.
    """

    files: list[File]
    labels: list
    table: Table | None = None
    left: dict[str, str] = {}
    notes: tuple[str, ...] = ()


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
    """What reading a split needs to know: the folder, where its splits are, and how to read."""

    scan: Scan
    base: Base
    look: Look
    options: Options

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
    return Reader(scan, base, look, options)


def read_parts(reader: Reader) -> dict[str, Part]:
    """Every split of a folder, by its name; all that is not split is `train`.

    Raises:
        UsageError: it cannot be read, or in several ways.
    """
    folders = reader.base.splits or {_whole(reader): reader.base.folder}
    parts = {
        split: _read_part(reader, split, folders[split]) for split in SPLITS if split in folders
    }
    (only, *others) = parts.values()
    if only.table and any(only.table.splits) and not others:
        return _by_column(reader.root / only.table.file.path, only, only.table.splits)
    return parts


def _whole(reader: Reader) -> str:
    """The split that a folder is which is not split."""
    return "test" if reader.options.test_only else "train"


def train_table(reader: Reader) -> Table | None:
    """The table that labels the training pictures, if one does; no picture is read."""
    folder = reader.base.splits.get("train", reader.base.folder)
    file = _find_table(reader, "train", folder)
    return None if file is None else _read_table(reader, file, "train", folder)


def _read_part(reader: Reader, split: str, folder: Folder) -> Part:
    file = _find_table(reader, split, folder)
    if file is not None:
        table = _read_table(reader, file, split, folder)
        # One for all splits may name none of this one's pictures, which then lie by class.
        if table.files or split == "train" or file in folder.files or _meant(file) == split:
            return _from_table(reader, table, folder)
    if reader.options.class_pattern is not None:
        return _from_names(reader, folder, reader.options.class_pattern)
    classes = list(filled(folder, reader.look.is_picture))
    loose = [file for file in folder.files if reader.look.is_picture(file)]
    flat = len(classes) == 1 and classes[0].name.casefold() in {
        *_NO_CLASSES,
        folder.name.casefold(),
    }
    if split != "train" and (not classes or (flat and not loose)):
        return _unlabeled(reader, split, folder)
    left = {file.path: _LOOSE for file in loose}
    files, labels = [], []
    for each in sorted(classes, key=lambda each: natural(each.name)):
        inside = reader.pictures(each)
        files += inside
        labels += [shown(each.name)] * len(inside)
    empty = [shown(each.name) for each in folder.folders if each not in classes]
    notes = (f"no pictures in {', '.join(empty)}: no class of {split}",) if empty else ()
    return Part(files, labels, None, left, notes)


def _unlabeled(reader: Reader, split: str, folder: Folder) -> Part:
    files = reader.pictures(folder)
    note = (
        f"{folder.path} holds {count(len(files), 'picture')} without labels: "
        f"they are for predict and not used as the {split} split"
    )
    return Part([], [], None, {file.path: _UNLABELED for file in files}, (note,) if files else ())


def _find_table(reader: Reader, split: str, folder: Folder) -> File | None:
    """The table for a split: in its folder, or beside the folders and named for it."""
    if reader.options.labels == "folders" or reader.options.class_pattern is not None:
        return None
    base = reader.base.folder
    inside = [file for file in folder.files if reader.look.is_table(file)]
    above = [file for file in base.files if folder is not base and reader.look.is_table(file)]
    own = [file for file in above if _meant(file) == split]
    of_all = [file for file in above if _meant(file) is None]
    # Training has no name that a table needs: there, one of all splits is as near.
    for files in (inside, [*own, *of_all]) if split == "train" else (inside, own, of_all):
        files = [file for file in files if "submission" not in file.name.casefold()]
        for usual in (*_USUAL_TABLES, split, ""):
            found = [file for file in files if usual in file.name.casefold()]
            if len(found) == 1:
                return found[0]
            if found:
                names = " or ".join(str(reader.root / file.path) for file in found)
                raise UsageError(f"both {names} can hold the labels of {split}; leave one there")
    return None


def _meant(file: File) -> str | None:
    """The split that a table is named for, if any."""
    return split_of(file.name.rpartition(".")[0], _BESIDE_IN_TABLES)


def _read_table(reader: Reader, file: File, split: str, folder: Folder) -> Table:
    folders = [folder, *([reader.base.folder] if folder is not reader.base.folder else [])]
    table = read_table(reader.root, file, folders, reader.options.labels)
    table = _without_other_splits(reader, table, split)
    if table.missing and reader.options.on_error != "skip":
        more = f", and {count(len(table.missing) - 1, 'other')}" if len(table.missing) > 1 else ""
        raise FieldError(
            f"{reader.root / file.path} names {table.missing[0]}{more}, but there is no such file "
            f"in {reader.root / folder.path}; {FIELD.on_error}=skip leaves them out"
        )
    return table


def _without_other_splits(reader: Reader, table: Table, split: str) -> Table:
    """A table without the pictures that lie in the folder of another split.

    They are that one's where the table is for all splits; one that is named for a split should
    not name them.
    """
    others = tuple(f"{each.path}/" for name, each in reader.base.splits.items() if name != split)
    inside = [i for i, file in enumerate(table.files) if not file.path.startswith(others)]
    missing = list(table.missing)
    if _meant(table.file) == split:
        missing += [file.path for file in table.files if file.path.startswith(others)]
    return table._replace(
        files=[table.files[i] for i in inside],
        labels=[table.labels[i] for i in inside],
        splits=[table.splits[i] for i in inside],
        missing=missing,
    )


def _from_table(reader: Reader, table: Table, folder: Folder) -> Part:
    path = table.file.path
    notes = table.notes
    if table.missing:
        notes = (*notes, f"{path} names {count(len(table.missing), 'picture')} that are not there")
    if not table.several:
        notes = (*notes, *_compare_with_folders(reader, table, folder))
    named = {file.path for file in table.files}
    left = {
        file.path: f"not in {table.file.name}"
        for file in reader.pictures(folder)
        if file.path not in named
    }
    return Part(table.files, table.labels, table, left, notes)


def _compare_with_folders(reader: Reader, table: Table, folder: Folder) -> tuple[str, ...]:
    """What is to be said of class folders beside a table of classes.

    Raises:
        FieldError: they say different things.
    """
    names = {each.name for each in filled(folder, reader.look.is_picture)}
    if not names & set(table.names):
        if len(names) > 1 and not table.called_class and reader.options.labels == "auto":
            first, second, *_ = sorted(names, key=natural)
            raise FieldError(
                f"{reader.root / table.file.path} has a column that may be anything, beside "
                f"folders such as {first} and {second}: the classes can be the folders "
                f"({FIELD.labels}=folders) or the column ({FIELD.labels}=one); say which"
            )
        return ()
    skipped = len(folder.path.split("/")) if folder.path else 0
    for file, label in zip(table.files, table.labels, strict=True):
        if (said := file.path.split("/")[skipped]) != label and reader.options.labels == "auto":
            raise FieldError(
                f"{reader.root / file.path} is {said} by its folder ({FIELD.labels}=folders) and "
                f"{label} by {table.file.name} ({FIELD.labels}=one); say which holds"
            )
    return (f"{table.file.path} says the same as the class folders",)


def _by_column(path: Path, part: Part, said: list[str]) -> dict[str, Part]:
    """The splits of a table that has a column for them."""
    wanted = [split_of(text) for text in said]
    if None in wanted:
        unknown = said[wanted.index(None)]
        raise UsageError(f"{path}: the split is {unknown!r}, expected train, val or test")
    chosen = {split: [i for i, each in enumerate(wanted) if each == split] for split in SPLITS}
    return {
        split: part._replace(
            files=[part.files[index] for index in rows],
            labels=[part.labels[index] for index in rows],
            notes=part.notes if split == "train" else (),
        )
        for split, rows in chosen.items()
        if rows
    }


def _from_names(reader: Reader, folder: Folder, pattern: str) -> Part:
    if pattern.count(_MARK) != 1:
        raise FieldError(
            f"{FIELD.class_pattern}={pattern} must hold {_MARK} once, where the class stands, and "
            f"* for anything else: {_MARK}.*"
        )
    files, labels, left = [], [], {}
    for file in reader.pictures(folder):
        found = class_in_name(file.name, pattern)
        if found is None:
            left[file.path] = f"not like {pattern}"
        else:
            files.append(file)
            labels.append(shown(found))
    return Part(files, labels, None, left)


def class_in_name(name: str, pattern: str) -> str | None:
    """The class that a file's name holds.

    Args:
        name: of the file; its ending is left out where the pattern has none.
        pattern: text as it stands in the name, with `{class}` for the class, as long as can be,
            and `*` for anything.

    Returns:
        The class, or None where the name is not like the pattern.
    """
    stem, dot, ending = name.rpartition(".")
    if dot and f".{ending}".lower() in PICTURE_SUFFIXES and not pattern.endswith(f".{ending}"):
        name = stem
    before, _, after = pattern.partition(_MARK)
    for end in range(len(name), 0, -1):
        for start in range(end) if "*" in before else [len(before)]:
            if start < end and _like(name[:start], before) and _like(name[end:], after):
                return name[start:end]
    return None


def _like(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern in which only * has a meaning."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first) or not text.endswith(rest[-1]):
        return False
    position = len(first)
    for part in rest[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return position <= len(text) - len(rest[-1])


def guess_pattern(names: list[str]) -> str | None:
    """A pattern that finds two or more classes in names, each several times; None without one."""
    for separator in "._- ":
        pattern = f"{_MARK}{separator}*"
        found = [class_in_name(name, pattern) for name in names]
        kinds = set(found)
        if None not in kinds and 2 <= len(kinds) <= len(names) / 2:
            return pattern
    return None
