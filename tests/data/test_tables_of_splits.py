"""Tables named for splits beside one folder of pictures, and what tables of splits must share."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.errors import UsageError

TRAIN, TEST = range(16), range(16, 24)


@pytest.fixture
def pets(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """24 pictures in one folder, of a cat and a dog by turns."""
    for index in range(24):
        write_picture(tmp_path / f"pets/images/{index}.png")
    return tmp_path / "pets"


def table(
    path: Path,
    indices: Iterable[int],
    heading: str = "file,label",
    name: str = "{}.png",
    said: Callable[[int], str] = lambda index: ("cat", "dog")[index % 2],
) -> None:
    lines = [f"{name.format(index)},{said(index)}" for index in indices]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([heading, *lines]))


def lengths(read: data.Dataset) -> dict[str, int]:
    return {split: len(part) for split, part in read.splits.items()}


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [
        ("train.csv", "test.csv", "test"),
        ("train.csv", "val.csv", "validation"),
        ("Training.csv", "valid.csv", "validation"),
        ("train_labels.csv", "labels_test.csv", "test"),
        ("train_data.csv", "test_set.csv", "test"),
        ("pets_train.csv", "pets_test.csv", "test"),
        ("labels.csv", "test.csv", "test"),
    ],
)
@pytest.mark.parametrize("name", ["{}.png", "{}", "images/{}.png"])
def test_a_table_is_the_split_that_its_name_says(
    pets: Path, first: str, second: str, split: str, name: str
):
    table(pets / first, TRAIN, name=name)
    table(pets / second, TEST, name=name)
    read = data.load(pets)
    assert len(read.splits[split]) == 8
    assert len(read.train) == (16 if split == "test" else 13)
    np.testing.assert_array_equal(read.splits[split].labels, [0, 1] * 4)
    assert read.account is not None and not read.account.left


def test_training_alone_has_a_part_held_out(pets: Path):
    table(pets / "train.csv", range(24))
    assert lengths(data.load(pets)) == {"train": 19, "test": 5}


def test_what_a_table_of_another_split_names_is_not_trained_on(pets: Path):
    table(pets / "labels.csv", range(24))
    table(pets / "test.csv", TEST)
    assert lengths(data.load(pets)) == {"train": 16, "test": 8}


def test_a_folder_may_hold_what_another_table_names(tmp_path: Path, write_picture):
    for index in range(24):
        write_picture(tmp_path / f"pets/train/{index}.png")
    table(tmp_path / "pets/train.csv", TRAIN)
    table(tmp_path / "pets/val.csv", TEST)
    assert lengths(data.load(tmp_path / "pets")) == {"train": 13, "validation": 8, "test": 3}


def test_lists_divide_class_folders(tmp_path: Path, write_picture: Callable[..., Path]):
    paths = [f"{('cat', 'dog')[index % 2]}/{index}.png" for index in range(24)]
    for path in paths:
        write_picture(tmp_path / "pets" / path)
    for split, indices in (("train", range(12)), ("test", TEST)):
        lines = ["path", *(paths[index] for index in indices)]
        (tmp_path / f"pets/{split}.csv").write_text("\n".join(lines))
    read = data.load(tmp_path / "pets")
    assert lengths(read) == {"train": 12, "test": 8}
    assert read.account is not None and set(read.account.left) == set(paths[12:16])


@pytest.mark.parametrize(
    ("heading", "said"),
    [("id", None), ("id,width", "4"), ("id,width,height", "4,5"), ("id,label", "")],
)
def test_a_test_table_without_labels_is_said(pets: Path, heading: str, said: str | None):
    table(pets / "train.csv", TRAIN, name="{}")
    table(pets / "test.csv", TEST, heading, "{}", lambda index: said or "")
    if said is None:
        (pets / "test.csv").write_text("\n".join(["id", *map(str, TEST)]))
    read = data.load(pets)
    assert lengths(read) == {"train": 13, "test": 3}
    assert any(
        "test.csv names 8 pictures without labels: they are for predict" in note
        for note in read.notes
    )
    assert read.account is not None and read.account.left["test.csv"] == "a table without labels"


def test_a_test_table_alone_is_nothing_to_train_on(pets: Path):
    table(pets / "test.csv", range(24))
    with pytest.raises(UsageError, match="nothing to train on, but test"):
        data.load(pets)
    assert lengths(data.load(pets, test_only=True)) == {"train": 0, "test": 24}


def two(index: int) -> str:
    return f"{index % 2},{index // 2 % 2}"


def three(index: int) -> str:
    return ("a|b", "b", "a|c")[index % 3]


@pytest.mark.parametrize(
    ("heading", "said", "message"),
    [
        ("file,old,tall", two, r"test.csv lacks the columns furry and has the columns tall, .*"
         r"expected the columns of labels of .*train.csv: furry, old"),
        ("file,old", lambda index: "1", r"test.csv lacks the columns furry, expected"),
        ("file,label", lambda index: "cat", r"test.csv lacks the columns furry, old and has .* l"),
    ],
)  # fmt: skip
def test_columns_that_differ_are_named(pets: Path, heading: str, said, message: str):
    table(pets / "train.csv", TRAIN, "file,furry,old", said=two)
    table(pets / "test.csv", TEST, heading, said=said)
    with pytest.raises(UsageError, match=message):
        data.load(pets)


@pytest.mark.parametrize("said", [lambda index: "ab"[index % 2], lambda index: "a|b"])
def test_a_split_need_not_have_every_tag(pets: Path, said: Callable[[int], str]):
    table(pets / "train.csv", TRAIN, "file,tags", said=three)
    table(pets / "test.csv", TEST, "file,tags", said=said)
    read = data.load(pets)
    assert (read.class_names, read.test.labels.shape) == (("a", "b", "c"), (8, 3))
    assert not read.test.labels[:, 2].any()


def test_a_tag_that_training_lacks_is_named(pets: Path):
    table(pets / "train.csv", TRAIN, "file,tags", said=three)
    table(pets / "test.csv", TEST, "file,tags", said=lambda index: "a|d")
    with pytest.raises(UsageError, match="test.csv has the labels d, which train lacks"):
        data.load(pets)
    table(pets / "train.csv", TRAIN, "file,tags", said=lambda index: "ab"[index % 2])
    with pytest.raises(UsageError, match=r"a\|d in .*test.csv is a class that .* lacks"):
        data.load(pets)


@pytest.mark.parametrize("tagged", ["train", "test"])
def test_one_class_and_several_labels_do_not_mix(tmp_path: Path, write_picture, tagged: str):
    folders = [split for split in ("train", "test") if split != tagged]
    for index in range(16):
        write_picture(tmp_path / f"pets/{tagged}/{index}.png")
        for split in folders:
            write_picture(tmp_path / f"pets/{split}/{('cat', 'dog')[index % 2]}/{index}.png")
    table(tmp_path / f"pets/{tagged}/labels.csv", range(16), "file,cat,dog", said=two)
    with pytest.raises(UsageError, match="but train has"):
        data.load(tmp_path / "pets")


@pytest.mark.parametrize(("heading", "said"), [("file,furry,old", two), ("file,label", three)])
def test_a_table_of_nothing_that_is_there_is_one_clear_line(pets: Path, heading: str, said):
    table(pets / "train.csv", range(100, 120), heading, said=said)
    with pytest.raises(UsageError, match="train.csv names is there, such as 100.png"):
        data.load(pets, on_error="skip")


def rows(indices: Iterable[int], said: Callable[[int], str], heading: str) -> str:
    return "\n".join([heading, *(f"{index}.png,{said(index)}" for index in indices)])


def animal(index: int) -> str:
    return ("cat", "dog")[index % 2]


@pytest.mark.parametrize(
    "write",
    [
        lambda text: "\n\n" + text,
        lambda text: text.replace("\n", "\r"),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: "\ufeff" + text,
    ],
)
def test_tables_as_programs_write_them(pets: Path, write: Callable[[str], str]):
    text = write(rows(range(24), animal, "file,label"))
    (pets / "train.csv").write_bytes(text.encode())
    assert lengths(data.load(pets)) == {"train": 19, "test": 5}


def test_a_quotation_without_end_is_refused(pets: Path):
    text = rows(range(24), animal, "file,label")
    (pets / "train.csv").write_text(text.replace("12.png,cat", '12.png,"cat'))
    with pytest.raises(UsageError, match=r"cannot read .*train.csv: unexpected end of data"):
        data.load(pets)


def test_names_in_a_table_obey_no_terminal(pets: Path):
    table(
        pets / "train.csv", range(24), said=lambda index: ('"cat\nbig"', "\x1b[31mdog")[index % 2]
    )
    assert data.load(pets).class_names == ("\\x1b[31mdog", "cat\\x0abig")


def test_a_table_that_is_none_of_labels_is_named(pets: Path):
    (pets / "train.csv").write_text("# mine\n" + rows(range(24), animal, "file,label"))
    with pytest.raises(UsageError, match="train.csv is no table of labels: its first line must"):
        data.load(pets)


def test_a_column_of_splits_holds_beside_other_tables(pets: Path):
    def split(index: int) -> str:
        return f"{animal(index)},{'train' if index < 10 else 'val'}"

    (pets / "train.csv").write_text(rows(TRAIN, split, "file,label,split"))
    table(pets / "test.csv", TEST)
    assert lengths(data.load(pets)) == {"train": 10, "validation": 6, "test": 8}


def test_a_column_of_splits_may_not_contradict_the_folders(tmp_path: Path, write_picture):
    for index in range(24):
        write_picture(tmp_path / f"pets/{'train' if index < 16 else 'test'}/{index}.png")

    def split(index: int) -> str:
        return f"{animal(index)},{'train' if index < 10 else 'test'}"

    (tmp_path / "pets/labels.csv").write_text(rows(range(24), split, "file,label,split"))
    with pytest.raises(UsageError, match="says that train/10.png is of the test split, but it is"):
        data.load(tmp_path / "pets")
