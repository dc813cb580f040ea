"""Folders of pictures with several labels each, and what is wrong with some."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.errors import UsageError


@pytest.fixture
def pets(tmp_path: Path, write_picture: Callable[..., Path]) -> Path:
    """Three training pictures, one of them in a folder below, and two to test."""
    folder = tmp_path / "pets"
    for path in ("train/a.png", "train/more/b.png", "train/c.png", "test/d.png", "test/e.png"):
        write_picture(folder / path)
    write(folder, "train", "file,furry, old\na.png,1,0\nmore/b.png,1,1\n\nc.png,0,0\n")
    write(folder, "test", "file,furry,old\ne.png,0,1\nd.png,1,0\n")
    return folder


def write(folder: Path, split: str, text: str) -> None:
    (folder / split / "labels.csv").write_text(text)


def test_pictures_and_labels_keep_the_order_of_the_lines(pets: Path):
    pet = data.load(pets)
    assert (pet.name, pet.class_names, pet.multi_label) == ("pets", ("furry", "old"), True)
    assert data.is_multi_label(pets)
    np.testing.assert_array_equal(pet.train.labels, [[1, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(pet.test.labels, [[0, 1], [1, 0]])
    for split, index, path in (("train", 1, "train/more/b.png"), ("test", 0, "test/e.png")):
        picture = np.asarray(Image.open(pets / path))
        np.testing.assert_array_equal(getattr(pet, split).images[index, ..., 0], picture)


def test_a_picture_that_two_lines_name_is_read_for_both(pets: Path):
    write(pets, "train", "file,furry,old\na.png,1,0\nc.png,0,0\na.png,1,1\n")
    first, _, last = data.load(pets).train.images
    picture = np.asarray(Image.open(pets / "train/a.png"))
    np.testing.assert_array_equal(first[..., 0], picture)
    np.testing.assert_array_equal(last[..., 0], picture)


def test_changed_labels_are_read_anew(pets: Path):
    data.load(pets)
    write(pets, "test", "file,furry,old\nd.png,1,1\ne.png,0,0\n")
    np.testing.assert_array_equal(data.load(pets).test.labels, [[1, 1], [0, 0]])


def test_without_test_a_part_of_train_is_held_out(tmp_path: Path, write_picture: Callable):
    folder = tmp_path / "pets"
    lines = ["file,furry"]
    for index in range(10):
        write_picture(folder / f"train/{index}.png")
        lines.append(f"{index}.png,{index % 2}")
    write(folder, "train", "\n".join(lines))
    pet = data.load(folder)
    assert (len(pet.train), len(pet.test)) == (8, 2)
    assert pet.test.labels.sum() == 1


@pytest.mark.parametrize(
    ("split", "text", "message"),
    [
        ("train", "", "must begin with a line file,LABEL"),
        ("train", "file,furry,old\n", "must begin with a line file,LABEL"),
        ("train", "picture,furry,old\na.png,1,0\n", "must begin with a line file,LABEL"),
        ("train", "file,old,old\na.png,1,0\n", "a name of its own, got old, old"),
        ("train", "file,furry,old\na.png,1\n", "the line of a.png must have 2 zeros or ones"),
        ("train", "file,furry,old\na.png,1,2\n", "zeros or ones after the file, got 1,2"),
        ("train", "file,furry,old\nz.png,1,0\n", "names z.png, but there is no such file"),
        ("test", "file,furry\nd.png,1\n", "labels.csv lacks the columns old, expected"),
    ],
)
def test_bad_tables_are_refused(pets: Path, split: str, text: str, message: str):
    write(pets, split, text)
    with pytest.raises(UsageError, match=message):
        data.load(pets)


def test_a_test_folder_without_a_table_has_no_labels(tmp_path: Path, write_picture: Callable):
    for index in range(10):
        write_picture(tmp_path / f"train/{index}.png")
        write_picture(tmp_path / f"test/{index}.png")
    lines = [f"{index}.png,{index % 2}" for index in range(10)]
    write(tmp_path, "train", "\n".join(["file,furry", *lines]))
    pet = data.load(tmp_path)
    assert (len(pet.train), len(pet.test)) == (8, 2)
    assert any("test holds 10 pictures without labels" in note for note in pet.notes)


def test_other_sets_have_one_class_for_each_image(tmp_path: Path):
    (tmp_path / "train").mkdir()
    assert data.is_multi_label("faces")
    for name in ("mnist", "cifar10", "", str(tmp_path), "./nowhere"):
        assert not data.is_multi_label(name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2"], "names 1, which fits a/1.png and b/1.png (1 name more likewise); write there"),
        (["a/1.png", "b/1.png", "3"], "names 3, which fits a/3.jpg and a/3.png; write there which"),
    ],
)
def test_a_name_that_fits_several_pictures_is_refused(
    tmp_path: Path, write_picture: Callable, names: list[str], message: str
):
    for path in ("a/1.png", "b/1.png", "a/2.png", "b/2.png", "a/3.png", "a/3.jpg"):
        write_picture(tmp_path / "pets" / path)
    lines = [f"{name},{('cat', 'dog')[index % 2]}" for index, name in enumerate(names)]
    (tmp_path / "pets/labels.csv").write_text("\n".join(["file,label", *lines]))
    with pytest.raises(UsageError, match=re.escape(message)):
        data.load(tmp_path / "pets", on_error="skip")


def test_a_picture_beside_the_table_is_meant_before_those_in_folders(
    tmp_path: Path, write_picture: Callable
):
    for path in (*(f"{i}.png" for i in range(8)), "old/3.png"):
        write_picture(tmp_path / "pets" / path)
    lines = [f"{i},{('cat', 'dog')[i % 2]}" for i in range(8)]
    (tmp_path / "pets/labels.csv").write_text("\n".join(["file,label", *lines]))
    pets = data.load(tmp_path / "pets")
    assert pets.account.left == {"old/3.png": "not in labels.csv"}


@pytest.mark.parametrize("name", ["labels.csv", "trainLabels.csv"])
def test_numbers_that_splits_share_are_of_the_one_that_the_table_is_named_for(
    tmp_path: Path, write_picture: Callable, name: str
):
    for split in ("train", "test"):
        for i in range(8):
            write_picture(tmp_path / "pets" / split / f"{i}.png")
    lines = [f"{i},{('cat', 'dog')[i % 2]}" for i in range(8)]
    (tmp_path / "pets" / name).write_text("\n".join(["id,label", *lines]))
    if name == "labels.csv":
        with pytest.raises(UsageError, match="names 0, which fits test/0.png and train/0.png"):
            data.load(tmp_path / "pets")
    else:
        pets = data.load(tmp_path / "pets")
        assert any("test holds 8 pictures without labels" in note for note in pets.notes)
