"""Tables of labels as people have them: a class a row, or several labels of zeros and ones.

The first line names the columns. One column holds the pictures, by their paths, with or without
ending, with slashes or backslashes; where its name is one of `_FILE_COLUMNS` the file is a table
of labels. A column called label, class or the like (`_CLASS_COLUMNS`), or the only other one, holds
the class of each picture; otherwise every other column is a label that is there or not.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.folders._index import Index
from cnn_jax.data.folders._natural import natural
from cnn_jax.data.folders._rows import read_rows
from cnn_jax.data.folders._scan import File, Folder
from cnn_jax.display import count, shown
from cnn_jax.errors import FIELD, FieldError, UsageError

# Of both, the first that a table has.
_FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "imagepath", "imagefile", "imagename", "imageid",
    "image", "img", "imgname", "imgid", "name", "id",
)  # fmt: skip
_CLASS_COLUMNS = (
    "label", "class", "classname", "category", "target", "breed", "species", "diagnosis", "dx",
    "labels", "classes", "tags", "tag", "y",
)  # fmt: skip
_MANY = frozenset({"labels", "classes", "tags"})
_SPLIT_COLUMNS = ("split", "subset", "partition")
_SEPARATORS = "|;,"
_SUFFIXES = (".csv", ".tsv")
_BY_NAME = ("labels.csv", "_classes.csv")
_TRUE, _FALSE = frozenset({"true", "yes"}), frozenset({"false", "no"})

# How labels are found where a folder can be read in several ways.
LABELS = ("auto", "folders", "one", "several")


class Table(NamedTuple):
    """What a table says.

    Attributes:
        file: the table.
        several: whether a picture has any number of labels.
        names: of the labels; of the classes that occur, in natural order.
        files: the picture of each row.
        labels: of each row: the name of its class, or a zero or one for each label.
        splits: of each row what a column for it says; empty without one.
        missing: pictures that it names and that are not there.
        notes: what a reader should know.
        called_class: whether the column of classes is called like one.
        column: that holds the class, or all labels with something between them; empty where every
            label has a column.
    """

    file: File
    several: bool
    names: tuple[str, ...]
    files: list[File]
    labels: list
    splits: list[str]
    missing: list[str]
    notes: tuple[str, ...]
    called_class: bool = True
    column: str = ""


class _Columns(NamedTuple):
    """The header of a table, by what its columns hold."""

    picture: int
    names: tuple[str, ...]
    places: tuple[int, ...]
    split: int | None


class _Said(NamedTuple):
    """What the cells say, as in `Table`, of every row."""

    several: bool
    names: tuple[str, ...]
    labels: list
    notes: tuple[str, ...] = ()
    column: str = ""


def looks_like_table(file: File) -> bool:
    """Whether a file's name is that of a table, of predictions to hand in left out."""
    name = file.name.casefold()
    return name.endswith(_SUFFIXES) and "submission" not in name


def is_table(root: Path, file: File) -> bool:
    """Whether a file is one of labels, by its name or by the columns that its first line names."""
    name = file.name.lower()
    if not name.endswith(_SUFFIXES):
        return False
    if name in _BY_NAME:
        return True
    try:
        rows = read_rows(root / file.path, head=True)
    except UsageError:
        return False
    return bool(rows) and _columns(rows[0]) is not None


def lists_pictures(root: Path, file: File) -> bool:
    """Whether a table has a column of pictures, of which it need not say anything."""
    try:
        rows = read_rows(root / file.path, head=True)
    except UsageError:
        return False
    return bool(rows) and _picture_column(rows[0]) is not None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _picture_column(header: Sequence[str]) -> int | None:
    plain = [_plain(name) for name in header]
    return next((plain.index(name) for name in _FILE_COLUMNS if name in plain), None)


def _class_column(names: Iterable[str], wanted: str = "") -> int | None:
    """Which column holds the class by its name: the one that is wanted, or else called like one."""
    plain = [_plain(name) for name in names]
    called = (_plain(wanted), *_CLASS_COLUMNS) if wanted else _CLASS_COLUMNS
    return next((plain.index(name) for name in called if name in plain), None)


def _columns(header: Sequence[str]) -> _Columns | None:
    plain = [_plain(name) for name in header]
    picture = _picture_column(header)
    if picture is None or len(header) < 2:
        return None
    splits = [plain.index(name) for name in _SPLIT_COLUMNS if name in plain]
    # pandas numbers rows in a column without a name.
    numbering = {place for place, name in enumerate(plain) if name in ("", "unnamed0")}
    if header[-1].strip() == "" and len(header) > 2:
        numbering.discard(len(header) - 1)
    others = [
        place
        for place in range(len(header))
        if place != picture and place not in numbering and place not in splits[:1]
    ]
    names = tuple(shown(header[place].strip()) for place in others)
    split = splits[0] if splits and others else None
    return _Columns(picture, names, tuple(others), split) if others else None


def has_labels(root: Path, file: File, train: Table) -> bool:
    """Whether a table of another split says what that of training says, and not pictures alone.

    Args:
        root: of the data.
        file: the table.
        train: that of training.

    Raises:
        UsageError: it has other columns of labels.
    """
    rows = read_rows(root / file.path)
    columns = _columns([name.strip() for name in rows[0]]) if rows else None
    if columns is None:
        return False
    if train.column:
        place = _class_column(columns.names, train.column)
        if place is None:
            return False
        cells = (row[columns.places[place]] for row in rows[1:] if len(row) == len(rows[0]))
        return any(cell.strip() for cell in cells)
    lacking = [name for name in train.names if name not in columns.names]
    others = [name for name in columns.names if name not in train.names]
    if len(lacking) == len(train.names) and _class_column(columns.names) is None:
        return False
    if lacking or others:
        said = [f"lacks the columns {', '.join(lacking)}"] if lacking else []
        said += [f"has the columns {', '.join(others)}"] if others else []
        raise UsageError(
            f"{root / file.path} {' and '.join(said)}, expected the columns of labels of "
            f"{root / train.file.path}: {', '.join(train.names)}"
        )
    whole = (row for row in rows[1:] if len(row) == len(rows[0]))
    return any(row[place].strip() for row in whole for place in columns.places)


def read_list(root: Path, file: File, folders: Iterable[Folder]) -> tuple[list[File], list[str]]:
    """The pictures that a table names, whatever it says of them, and what is not there.

    Args:
        root: of the data.
        file: the table.
        folders: where its pictures may lie, the likeliest first.
    """
    header, *rows = read_rows(root / file.path)
    place = _picture_column(header) or 0
    named = [row[place] for row in rows if place < len(row)]
    found = Index(folders).find(root / file.path, named)
    there = {each.path: each for each in found.values() if each is not None}
    return list(there.values()), [name for name in found if found[name] is None]


def read_table(
    root: Path, file: File, folders: Iterable[Folder], labels: str, column: str = ""
) -> Table:
    """Reads a table of labels.

    Args:
        root: of the data.
        file: the table.
        folders: where its pictures may lie, the likeliest first.
        labels: one of `LABELS`: "one" or "several" where both are possible.
        column: that holds the labels, where it has it.

    Raises:
        UsageError: it is not laid out as above, or can be read in two ways.
    """
    path = root / file.path
    rows = read_rows(path)
    columns = _columns([name.strip() for name in rows[0]]) if rows else None
    if columns is None or len(rows) < 2:
        raise UsageError(
            f"{path} must begin with a line file,LABEL,LABEL,... and have a line for each picture"
        )
    if len(set(columns.names)) < len(columns.names) or "" in columns.names:
        raise UsageError(
            f"{path} must give every label a name of its own, got {', '.join(columns.names)}"
        )
    width = len(rows[0])
    for row in rows[1:]:
        if len(row) != width:
            raise _bad_row(path, columns, row)
    cells = [[shown(row[place].strip()) for place in columns.places] for row in rows[1:]]
    chosen = _class_column(columns.names, column)
    said = _read_cells(path, columns, rows[1:], cells, labels, chosen)
    return _with_pictures(root, file, folders, columns, rows[1:], said)


def _with_pictures(
    root: Path, file: File, folders: Iterable[Folder], columns: _Columns, rows: list[list[str]],
    said: _Said,
) -> Table:  # fmt: skip
    files, kept, splits, missing, notes = [], [], [], [], list(said.notes)
    names = [row[columns.picture] for row in rows]
    found = Index(folders).find(root / file.path, names)
    for row, name, value in zip(rows, names, said.labels, strict=True):
        picture = found[name]
        if picture is None:
            missing.append(name)
            continue
        files.append(picture)
        kept.append(value)
        splits.append("" if columns.split is None else row[columns.split].strip())
    twice = [path for path, count in Counter(each.path for each in files).items() if count > 1]
    if twice:
        different = defaultdict(set)
        for each, value in zip(files, kept, strict=True):
            different[each.path].add(str(value))
        unlike = sum(len(different[path]) > 1 for path in twice)
        notes.append(
            f"{file.path} names {count(len(twice), 'picture')} more than once "
            f"({twice[0]}), {unlike:,} of them with different labels: read for every line"
        )
    called = _class_column(columns.names) is not None
    return Table(
        file, said.several, said.names, files, kept, splits, missing, tuple(notes), called,
        said.column,
    )  # fmt: skip


def _bad_row(path: Path, columns: _Columns, row: Sequence[str]) -> UsageError:
    values = [cell for place, cell in enumerate(row) if place != columns.picture]
    name = row[columns.picture] if columns.picture < len(row) else ""
    return UsageError(
        f"{path}: the line of {name} must have {len(columns.names)} zeros or ones after the file, "
        f"got {','.join(values)}; a single column of class names must be called label"
    )


def _number(cell: str) -> int | None:
    """0, 1 or -1, however it is written, or None."""
    text = cell.casefold()
    if text in _TRUE or text in _FALSE:
        return int(text in _TRUE)
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return int(value) if value in (-1, 0, 1) else None


def _read_cells(
    path: Path,
    columns: _Columns,
    rows: list[list[str]],
    cells: list[list[str]],
    labels: str,
    named: int | None,
) -> _Said:
    plain = [_plain(name) for name in columns.names]
    if labels == "several" and named is not None and plain[named] not in _MANY:
        named = None
    only = 0 if len(plain) == 1 else named
    numbers = [[_number(cell) for cell in row] for row in cells]
    flags = all(value is not None for row in numbers for value in row)
    if only is not None and (named is not None or not flags or labels == "one"):
        column = [row[only] for row in cells]
        return _read_one(path, columns.names, only, column, rows, columns, labels)
    if not flags:
        bad = next(place for place, row in enumerate(numbers) if None in row)
        raise _bad_row(path, columns, rows[bad])
    if labels == "one":
        return _one_hot(path, columns, rows, numbers)
    return _Said(True, columns.names, _zeros_and_ones(path, numbers))


def _read_one(
    path: Path, names: tuple[str, ...], only: int, column: list[str], rows: list[list[str]],
    columns: _Columns, labels: str,
) -> _Said:  # fmt: skip
    name, others = names[only], [other for other in names if other != names[only]]
    notes = (f"{path.name}: the class is column {name}, not {', '.join(others)}",) if others else ()
    for row, cell in zip(rows, column, strict=True):
        if not cell and _plain(name) not in _MANY and labels != "several":
            raise UsageError(f"{path}: the line of {row[columns.picture]} has no {name}")
    flags = {cell.casefold() for cell in column} <= {"0", "1", "-1", "true", "false", "0.0", "1.0"}
    if flags and labels == "auto":
        raise FieldError(
            f"{path}: {name} is 0 or 1, which can be two classes ({FIELD.labels}=one) or one label "
            f"that is there or not ({FIELD.labels}=several); say which"
        )
    if labels == "several" or (_plain(name) in _MANY and labels != "one"):
        separator = next((each for each in _SEPARATORS if any(each in c for c in column)), None)
        if separator is None and any(" " in cell for cell in column):
            if labels == "auto":
                raise FieldError(
                    f"{path}: {name} has values like {next(c for c in column if ' ' in c)!r}, "
                    f"which can be one class ({FIELD.labels}=one) or several labels "
                    f"({FIELD.labels}=several); say which"
                )
            separator = " "
        if separator or labels == "several":
            parts = [
                {part.strip() for part in cell.split(separator or ",") if part.strip()}
                for cell in column
            ]
            found = tuple(sorted(set().union(*parts), key=natural))
            values = [[int(each in part) for each in found] for part in parts]
            return _Said(True, found, values, notes, name)
    column = _whole(column)
    return _Said(False, tuple(sorted(set(column), key=natural)), column, notes, name)


def _whole(column: list[str]) -> list[str]:
    """Classes that pandas wrote as 3.0 are 3 again."""
    heads = [cell.removesuffix(".0") for cell in column]
    return heads if all(head.lstrip("-").isdecimal() for head in heads) else column


def _one_hot(path: Path, columns: _Columns, rows: list[list[str]], numbers: list) -> _Said:
    chosen = []
    for row, values in zip(rows, numbers, strict=True):
        if sum(value == 1 for value in values) != 1:
            raise FieldError(
                f"{path}: the line of {row[columns.picture]} says {','.join(map(str, values))}, "
                f"expected exactly one 1 with {FIELD.labels}=one"
            )
        chosen.append(columns.names[values.index(1)])
    return _Said(False, columns.names, chosen)


def _zeros_and_ones(path: Path, numbers: list) -> list[list[int]]:
    found = {value for row in numbers for value in row}
    if {-1, 0} <= found:
        raise UsageError(
            f"{path} has 0 and -1: -1 can mean that a label is not there (then write 0) or that it "
            "is not known (then leave such lines out)"
        )
    return [[max(value, 0) for value in row] for row in numbers]
