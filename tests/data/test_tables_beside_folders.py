"""Tables of labels beside folders: of splits, of classes, and of files that are no pictures."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.errors import UsageError

Write = Callable[..., Path]


def animals(folder: Path, write: Write, paths: list[str]) -> None:
    for path in paths:
        write(folder / path)


def flat(folder: Path, write: Write) -> list[str]:
    """Eight pictures to train on and four to test, and a line for each of them."""
    paths = [f"train/{i}.png" for i in range(8)] + [f"test/{i}.png" for i in range(8, 12)]
    animals(folder, write, paths)
    return [f"{path},{('cat', 'dog')[i % 2]}" for i, path in enumerate(paths)]


@pytest.mark.parametrize("more", ["", ",split"])
def test_one_table_of_all_splits_labels_each_its_own(
    tmp_path: Path, write_picture: Write, more: str
):
    lines = flat(tmp_path / "pets", write_picture)
    rows = [line + ("," + line.split("/")[0] if more else "") for line in lines]
    (tmp_path / "pets/labels.csv").write_text("\n".join([f"file,label{more}", *rows]))
    pets = data.load(tmp_path / "pets")
    assert (len(pets.train), len(pets.test)) == (8, 4)
    np.testing.assert_array_equal(pets.test.labels, [0, 1, 0, 1])
    assert not any("no labeled test split" in note for note in pets.notes)


def test_test_pictures_by_class_are_not_trained_on(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    train = [f"train/{i}.png" for i in range(8)]
    test = [f"test/{name}/{i}.png" for name in ("cat", "dog") for i in range(2)]
    animals(folder, write_picture, [*train, *test])
    lines = [f"{path},{('cat', 'dog')[i % 2]}" for i, path in enumerate(train)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines]))
    pets = data.load(folder)
    assert (len(pets.train), len(pets.test)) == (8, 4)


def test_a_picture_of_another_split_is_missing(tmp_path: Path, write_picture: Write):
    lines = [line.removeprefix("train/") for line in flat(tmp_path / "pets", write_picture)[:8]]
    (tmp_path / "pets/train.csv").write_text("\n".join(["file,label", *lines, "9.png,cat"]))
    with pytest.raises(UsageError, match=r"names test/9.png, but there is no such file"):
        data.load(tmp_path / "pets")


def test_a_table_of_sizes_is_no_table_of_classes(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    paths = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(6)]
    animals(folder, write_picture, paths)
    lines = [f"{path},{320 + 160 * (i % 3)}" for i, path in enumerate(paths)]
    (folder / "metadata.csv").write_text("\n".join(["filename,width", *lines]))
    with pytest.raises(UsageError, match="say which"):
        data.load(folder)
    assert data.load(folder, labels="folders").class_names == ("cat", "dog")
    assert data.load(folder, labels="one").class_names == ("320", "480", "640")


def test_names_of_classes_hold_where_they_are_asked_for(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    paths = [f"train/{('cat', 'dog')[i % 2]}.{i}.png" for i in range(10)]
    animals(folder, write_picture, paths)
    lines = [f"{Path(path).name},{i % 5}" for i, path in enumerate(paths)]
    (folder / "train/sizes.csv").write_text("\n".join(["id,width", *lines]))
    assert data.load(folder, class_pattern="{class}.*").class_names == ("cat", "dog")


def test_several_labels_may_stand_in_a_column_called_label(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    animals(folder, write_picture, [f"train/{i}.png" for i in range(9)])
    lines = [f"{i}.png,{('cat|dog', 'cat', 'dog')[i % 3]}" for i in range(9)]
    (folder / "train/labels.csv").write_text("\n".join(["file,label", *lines]))
    pets = data.load(folder, labels="several")
    assert (pets.class_names, pets.multi_label) == (("cat", "dog"), True)


def test_a_name_without_ending_is_a_picture(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    animals(folder, write_picture, [f"train/{i}.png" for i in range(8)])
    for i in range(8):
        (folder / f"train/{i}.txt").write_text("0 0.5 0.5 1 1")
    lines = [f"{i},{('cat', 'dog')[i % 2]}" for i in range(8)]
    (folder / "train/labels.csv").write_text("\n".join(["id,label", *lines]))
    pets = data.load(folder)
    assert len(pets.train) + len(pets.test) == 8


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    animals(folder, write_picture, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(6)])
    sound, broken = (folder / "cat/0.png").read_bytes(), b"\x89PNG" + bytes(200)
    path = folder / "cat/0.png"
    path.write_bytes(broken.ljust(len(sound), b"\0"))
    stamp = path.stat().st_mtime_ns
    assert len(data.load(folder, on_error="skip").account.left) == 1
    path.write_bytes(sound.ljust(path.stat().st_size, b"\0"))
    os.utime(path, ns=(stamp, stamp))
    assert not data.load(folder, on_error="skip").account.left


def test_hard_links_in_an_archive_are_pictures(tmp_path: Path, write_picture: Write):
    folder = tmp_path / "pets"
    animals(folder, write_picture, [f"train/{n}/{i}.png" for n in ("cat", "dog") for i in range(4)])
    for name in ("cat", "dog"):
        (folder / "test" / name).mkdir(parents=True)
        for i in range(2):
            (folder / f"test/{name}/{i}.png").hardlink_to(folder / f"train/{name}/{i}.png")
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(folder, "pets")
    pets = data.load(tmp_path / "pets.tar")
    assert (len(pets.train), len(pets.test)) == (8, 4)


def test_integers_of_32_bits_are_pixels(tmp_path: Path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(6):
            pixels = np.full((8, 8), 70_000 * (i + 1), np.int32)
            Image.fromarray(pixels, "I").save(tmp_path / f"pets/{name}/{i}.tiff")
    pets = data.load(tmp_path / "pets")
    assert pets.train.images.dtype == np.uint8
    assert len(np.unique(pets.train.images)) > 2
    images = np.arange(-320, 320, dtype=np.int16).reshape(10, 8, 8)
    np.savez(tmp_path / "set.npz", x_train=images, y_train=np.arange(10) % 2)
    assert data.load(tmp_path / "set.npz").train.images.dtype == np.uint8


def test_what_cannot_be_opened_beside_the_data_is_no_traceback(
    tmp_path: Path, write_picture: Write
):
    folder = tmp_path / "pets"
    animals(folder, write_picture, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(6)])
    (folder / "old.csv").symlink_to(folder / "gone.csv")
    assert not data.is_multi_label(folder)


def _dangling(path: Path) -> None:
    path.symlink_to("gone.csv")


def _closed(path: Path) -> None:
    path.write_text("file,label\n0.png,a\n")
    path.chmod(0)


def _text_link(path: Path) -> None:
    path.write_text("../lists/breeds.csv")


@pytest.mark.parametrize("place", ["breeds.csv", "pets/labels.csv", "pets/train/train.tsv"])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_dangling, "link to nothing"),
        pytest.param(
            _closed,
            "no permission",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root"),
        ),
        (os.mkfifo, "not a file"),
        (_text_link, "link kept as text"),
    ],
)
def test_a_table_that_cannot_be_opened_is_refused(
    tmp_path: Path, write_picture: Write, make: Callable[[Path], None], why: str, place: str
):
    for split in ("train", "test"):
        paths = [f"pets/{split}/{name}/{i}.png" for name in ("cat", "dog") for i in range(4)]
        animals(tmp_path / "set", write_picture, paths)
    make(tmp_path / "set" / place)
    with pytest.raises(UsageError, match=rf"{place} may be .* cannot be opened \({why}\)"):
        data.load(tmp_path / "set", on_error="skip")
    assert len(data.load(tmp_path / "set", labels="folders", on_error="skip").train) == 8
