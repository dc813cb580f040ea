"""The pictures of one split with their labels: from a table, from folders, or from file names."""

from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.folders._natural import natural
from cnn_jax.data.folders._patterns import MARK, class_in_name
from cnn_jax.data.folders._reader import Reader
from cnn_jax.data.folders._scan import File, Folder
from cnn_jax.data.folders._splits import SPLITS, filled, split_of
from cnn_jax.data.folders._tables import Table, has_labels, looks_like_table, read_list, read_table
from cnn_jax.display import count, shown
from cnn_jax.errors import FIELD, FieldError, UsageError

_USUAL_TABLES = ("labels", "metadata", "classes")
_NO_CLASSES = frozenset({"images", "imgs", "pictures", "unknown", "unlabeled", "unlabelled", "all"})
_UNLABELED = "without a label"
_LOOSE = "beside the class folders"


class Part(NamedTuple):
    """The pictures of a split.

    Attributes:
        files: its pictures.
        labels: of each the name of its class, or a row of zeros and ones.
        table: that said so, if one did.
        left: why other files are left out, by path.
        notes: what a reader should know.
        listed: a table without labels that says which pictures these are.
    """

    files: list[File]
    labels: list
    table: Table | None = None
    left: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    listed: File | None = None


def read_parts(reader: Reader) -> dict[str, Part]:
    """Every split of a folder, by its name; all that is not split is `train`.

    Raises:
        UsageError: it cannot be read, or in several ways.
    """
    folders = _folders(reader)
    parts: dict[str, Part] = {}
    for split in SPLITS:
        if split in folders:
            parts[split] = _read_part(reader, split, folders[split], parts.get("train"))
    found = _listed(reader, _by_columns(reader, parts))
    return {split: found[split] for split in SPLITS if split in found}


def _folders(reader: Reader) -> dict[str, Folder]:
    """The folder of each split; that of all there is where only a table is named for it."""
    base, tables = reader.base, reader.tables
    named = {split for split in (*tables, *reader.lists) if split is not None} - base.splits.keys()
    folders = base.splits | dict.fromkeys(named, base.folder)
    if not folders:
        return {"test" if reader.options.test_only else "train": base.folder}
    # What no table of a split names is to be trained on where it has labels.
    if "train" not in folders and (
        tables.get(None) or len(list(filled(base.folder, reader.look.is_picture))) > 1
    ):
        folders["train"] = base.folder
    return folders


def train_table(reader: Reader) -> Table | None:
    """The table that labels the training pictures, if one does; no picture is read."""
    folder = reader.base.splits.get("train", reader.base.folder)
    file = _find_table(reader, "train", folder)
    return None if file is None else _read_table(reader, file, "train", folder)


def _read_part(reader: Reader, split: str, folder: Folder, train: Part | None) -> Part:
    file = _find_table(reader, split, folder)
    like = train.table if train else None
    if file is not None and like and not has_labels(reader.root, file, like):
        if folder is reader.base.folder:
            return _of_list(reader, split, file, {})
        file = None
    if file is not None:
        table = _read_table(reader, file, split, folder, like)
        # One for all splits may name none of this one's pictures, which then lie by class.
        if table.files or split == "train" or file in folder.files or _is_own(reader, file, split):
            return _from_table(reader, table, folder)
    if split != "train" and folder is reader.base.folder and split in reader.lists:
        return Part([], [])
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
    notes = (_for_predict(f"{folder.path} holds", len(files), split),) if files else ()
    return Part([], [], None, {file.path: _UNLABELED for file in files}, notes)


def _for_predict(where: str, pictures: int, split: str) -> str:
    return (
        f"{where} {count(pictures, 'picture')} without labels: they are for predict and not used "
        f"as the {split} split"
    )


def _of_list(reader: Reader, split: str, file: File, known: dict[str, object]) -> Part:
    """The pictures that a table without labels names.

    Args:
        reader: of the folder.
        split: that the table is named for.
        file: the table.
        known: labels of pictures that something else says, by path.
    """
    pictures, missing = read_list(reader.root, file, [reader.base.folder])
    files = [each for each in pictures if each.path in known]
    unlabeled = {each.path: _UNLABELED for each in pictures if each.path not in known}
    notes = [_for_predict(f"{file.path} names", len(unlabeled), split)] if unlabeled else []
    notes += [_not_there(file, missing)] if missing else []
    left = unlabeled if files else {file.path: "a table without labels", **unlabeled}
    labels = [known[each.path] for each in files]
    return Part(files, labels, None, left, tuple(notes), file if files else None)


def _listed(reader: Reader, parts: dict[str, Part]) -> dict[str, Part]:
    """Takes from the training pictures, where no table is named for them, those of other splits."""
    train = parts.get("train")
    if train is None or (train.table and _is_own(reader, train.table.file, "train")):
        known: dict[str, object] = {}
    else:
        known = {file.path: label for file, label in zip(train.files, train.labels, strict=True)}
    for split, lists in reader.lists.items():
        if split != "train" and split not in reader.base.splits and split not in reader.tables:
            part = _of_list(reader, split, _only(reader, lists, split), known)
            parts[split] = part._replace(table=train.table if train and part.files else None)
    if train is None or not known:
        return parts
    others = {
        path for split, part in parts.items() if split != "train"
        for path in (*(file.path for file in part.files), *part.left)
    }  # fmt: skip
    if "train" in reader.lists and "train" not in reader.base.splits:
        named = _of_list(reader, "train", _only(reader, reader.lists["train"], "train"), known)
        others |= known.keys() - {file.path for file in named.files}
        train = train._replace(listed=named.listed, notes=(*train.notes, *named.notes))
    rows = [index for index, file in enumerate(train.files) if file.path not in others]
    files, labels = ([each[index] for index in rows] for each in (train.files, train.labels))
    return parts | {"train": train._replace(files=files, labels=labels)}


def _find_table(reader: Reader, split: str, folder: Folder) -> File | None:
    """The table for a split: in its folder, or beside the folders and named for it."""
    options = reader.options
    if options.labels == "folders" or options.class_pattern is not None:
        return None
    own, of_all = (reader.tables.get(each, []) for each in (split, None))
    if folder is reader.base.folder:
        is_rest = split == "train" or not reader.tables.keys() - {None}
        groups = [own, of_all] if is_rest else [own]
    else:
        inside = [
            file for file in folder.files if looks_like_table(file) and reader.look.is_table(file)
        ]
        # Training has no name that a table needs: there, one of all splits is as near.
        groups = [inside, [*own, *of_all]] if split == "train" else [inside, own, of_all]
    return next((_only(reader, files, split) for files in groups if files), None)


def _only(reader: Reader, files: list[File], split: str) -> File:
    """The table of a split, of those that may be.

    Raises:
        UsageError: there are several.
    """
    for usual in (*_USUAL_TABLES, split, ""):
        found = [file for file in files if usual in file.name.casefold()]
        if len(found) == 1:
            return found[0]
        if found:
            break
    names = " or ".join(str(reader.root / file.path) for file in found)
    raise UsageError(f"both {names} can hold the labels of {split}; leave one there")


def _is_own(reader: Reader, file: File, split: str) -> bool:
    """Whether a table beside the folders is named for a split."""
    return file in reader.tables.get(split, [])


def _read_table(
    reader: Reader, file: File, split: str, folder: Folder, train: Table | None = None
) -> Table:
    folders = [reader.base.folder]
    # In a table of all splits a name is not sooner that of one than of another.
    if folder is not reader.base.folder and (file in folder.files or _is_own(reader, file, split)):
        folders.insert(0, folder)
    labels = reader.options.labels
    if train is not None:
        # What training has is no longer to be asked.
        labels = "several" if train.several else "one"
    table = read_table(reader.root, file, folders, labels, train.column if train else "")
    if split in reader.base.splits:
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
    if _is_own(reader, table.file, split):
        missing += [file.path for file in table.files if file.path.startswith(others)]
    return table._replace(
        files=[table.files[i] for i in inside],
        labels=[table.labels[i] for i in inside],
        splits=[table.splits[i] for i in inside],
        missing=missing,
    )


def _from_table(reader: Reader, table: Table, folder: Folder) -> Part:
    notes = table.notes
    if table.missing:
        notes = (*notes, _not_there(table.file, table.missing))
    if not table.several:
        notes = (*notes, *_compare_with_folders(reader, table, folder))
    named = {file.path for file in table.files}
    shared = folder is reader.base.folder and len(_folders(reader)) > 1
    left = {
        file.path: f"not in {table.file.name}"
        for file in ([] if shared else reader.pictures(folder))
        if file.path not in named
    }
    return Part(table.files, table.labels, table, left, notes)


def _not_there(table: File, missing: list[str]) -> str:
    return f"{table.path} names {count(len(missing), 'picture')} that are not there"


def _compare_with_folders(reader: Reader, table: Table, folder: Folder) -> tuple[str, ...]:
    """What is to be said of class folders beside a table of classes.

    Raises:
        FieldError: they say different things.
    """
    others = reader.base.splits.values()
    names = {each.name for each in filled(folder, reader.look.is_picture) if each not in others}
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


def _by_columns(reader: Reader, parts: dict[str, Part]) -> dict[str, Part]:
    """Gives every picture to the split that a column of its table says.

    Raises:
        UsageError: the folder, or the name of the table, says another one that is there too.
    """
    found = dict(parts)
    for split, part in parts.items():
        if part.table is None or not any(part.table.splits):
            continue
        path = reader.root / part.table.file.path
        del found[split]
        for said, each in _by_column(path, part, part.table.splits).items():
            if said != split and said in parts:
                raise UsageError(
                    f"{path} says that {each.files[0].path} is of the {said} split, but it is of "
                    f"{split} by its folder or by the name of the table; leave out the column or "
                    "set it right"
                )
            found[said] = each
    return found


def _by_column(path: Path, part: Part, said: list[str]) -> dict[str, Part]:
    """The splits of a table that has a column for them."""
    wanted = [split_of(text) for text in said]
    if None in wanted:
        unknown = said[wanted.index(None)]
        raise UsageError(f"{path}: the split is {unknown!r}, expected train, val or test")
    chosen = {split: [i for i, each in enumerate(wanted) if each == split] for split in SPLITS}
    first = next(split for split in SPLITS if chosen[split])
    return {
        split: part._replace(
            files=[part.files[index] for index in rows],
            labels=[part.labels[index] for index in rows],
            notes=part.notes if split == first else (),
        )
        for split, rows in chosen.items()
        if rows
    }


def _from_names(reader: Reader, folder: Folder, pattern: str) -> Part:
    if pattern.count(MARK) != 1:
        raise FieldError(
            f"{FIELD.class_pattern}={pattern} must hold {MARK} once, where the class stands, and "
            f"* for anything else: {MARK}.*"
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
