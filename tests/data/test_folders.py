"""Folders of pictures of every kind, and every way in which they can be wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.errors import UsageError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_picture: Write) -> Path:
    """Ten gray pictures of cats and five of dogs, and a test folder of three."""
    root = tmp_path / "pets"
    for index in range(10):
        write_picture(root / "train" / "cat" / f"{index}.png")
    for index in range(5):
        write_picture(root / "train" / "dog" / f"{index}.png")
    for index in range(2):
        write_picture(root / "test" / "dog" / f"{index}.png")
    write_picture(root / "test" / "cat" / "0.png")
    return root


def _pixels(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def test_train_and_test_are_read_in_order(folder: Path):
    (folder / "train" / "cat" / "notes.txt").write_text("not a picture")
    (folder / "train" / "cat" / "._0.png").write_text("not a picture either")
    (folder / "train" / ".thumbnails").mkdir()
    pets = data.load(folder)
    assert pets.name == "pets"
    assert pets.class_names == ("cat", "dog")
    assert pets.image_shape == (6, 6, 1)
    assert pets.train.labels.tolist() == [0] * 10 + [1] * 5
    assert pets.test.labels.tolist() == [0, 1, 1]
    paths = sorted((folder / "train").rglob("[0-9].png"))
    np.testing.assert_array_equal(pets.train.images[..., 0], _pixels(paths))


def _without_test(folder: Path) -> Path:
    for path in sorted((folder / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "test").rmdir()
    return folder


def test_without_a_test_folder_a_stratified_fifth_is_held_out(folder: Path):
    _without_test(folder)
    pets = data.load(folder)
    assert np.bincount(pets.train.labels).tolist() == [8, 4]
    assert np.bincount(pets.test.labels).tolist() == [2, 1]
    together = np.concatenate([pets.train.images, pets.test.images])[..., 0]
    everything = _pixels(list((folder / "train").rglob("*.png")))
    assert sorted(map(bytes, together)) == sorted(map(bytes, everything))
    said = [note for note in pets.notes if "20 % of the training pictures are held out" in note]
    assert len(said) == 1


def test_one_colored_picture_makes_the_set_rgb(folder: Path, write_picture: Write):
    colored = write_picture(folder / "train" / "dog" / "9.PNG", (6, 6, 3))
    pets = data.load(folder)
    assert pets.image_shape == (6, 6, 3)
    np.testing.assert_array_equal(pets.train.images[-1], np.asarray(Image.open(colored)))
    np.testing.assert_array_equal(pets.train.images[0, ..., 0], pets.train.images[0, ..., 2])


def test_kinds_of_pixels(folder: Path):
    """Palette, alpha, CMYK and JPEG pictures become RGB; 16-bit and 1-bit ones stay gray."""
    train = folder / "train" / "dog"
    red = Image.new("RGB", (6, 6), (255, 0, 0))
    red.quantize(4).save(train / "a_palette.png")
    half = Image.new("RGBA", (6, 6), (255, 0, 0, 0))
    half.putpixel((0, 0), (255, 0, 0, 255))
    half.save(train / "b_alpha.png")
    red.convert("CMYK").save(train / "c_cmyk.tif")
    red.save(train / "d.jpeg", quality=100, subsampling=0)
    Image.fromarray(np.full((6, 6), 0x80FF, np.uint16)).save(train / "e_16_bit.png")
    Image.new("1", (6, 6), 1).save(train / "f_1_bit.png")
    Image.new("LA", (6, 6), (0, 0)).save(train / "g_transparent.png")
    images = data.load(folder).train.images[-7:]
    assert images[0, 3, 3].tolist() == [255, 0, 0]
    assert images[1, 0, 0].tolist() == [255, 0, 0]
    assert images[1, 3, 3].tolist() == [255, 255, 255]
    assert images[2, 3, 3].tolist() == [255, 0, 0]
    np.testing.assert_allclose(images[3, 3, 3], [255, 0, 0], atol=3)
    assert images[4, 3, 3].tolist() == [0x80] * 3
    assert images[5, 3, 3].tolist() == [255] * 3
    assert images[6, 3, 3].tolist() == [255] * 3


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_turns_pictures_upright(folder: Path, rng: np.random.Generator, orientation: int):
    upright = rng.integers(0, 256, (6, 6), dtype=np.uint8)
    # How the camera stored it: the inverse of the turn that the tag asks for.
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "train" / "dog" / "z.png"
    Image.fromarray(np.rot90(upright, turns).copy()).save(path, exif=exif)
    np.testing.assert_array_equal(data.load(folder).train.images[-1, ..., 0], upright)


def test_exif_turns_the_size_too(tmp_path: Path, write_picture: Write):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("cat", "dog"):
        for index in range(5):
            write_picture(tmp_path / "train" / name / f"{index}.png", (4, 6))
        Image.new("L", (4, 6)).save(tmp_path / "train" / name / "turned.png", exif=exif)
    assert data.load(tmp_path).image_shape == (4, 6, 1)


def test_image_size_crops_the_center_and_resizes(folder: Path):
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(folder / "train" / "dog" / "z.png")
    with pytest.raises(UsageError, match=r"z.png is 10 x 30 .* 6 x 6 .* expected an image size"):
        data.load(folder)
    pets = data.load(folder, image_size=5)
    assert pets.image_shape == (5, 5, 1)
    assert np.all(pets.train.images[-1] == 200)


def _one_class(folder: Path):
    for path in (folder / "train" / "dog").iterdir():
        path.unlink()
    (folder / "train" / "dog").rmdir()


def _stranger(folder: Path):
    (folder / "test" / "dog").rename(folder / "test" / "wolf")


def _not_pictures(folder: Path):
    for index in (3, 4):
        (folder / "train" / "cat" / f"{index}.png").write_text("no picture")


def _truncate(folder: Path):
    path = folder / "train" / "cat" / "3.png"
    path.write_bytes(path.read_bytes()[:-25])


def _no_train(folder: Path):
    (folder / "train").rename(folder / "learn")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_one_class, "train has 1 class folders, expected .* two or more"),
        (_stranger, "wolf is a class that .*train lacks"),
        (_not_pictures, r"3\.png cannot be read .* unreadable pictures: 2$"),
        (_truncate, r"3\.png cannot be read .* unreadable pictures: 1$"),
        (_no_train, "neither IDX files nor a folder train"),
    ],
)
def test_damage_is_one_clear_error(folder: Path, damage: Callable[[Path], None], message: str):
    damage(folder)
    with pytest.raises(UsageError, match=message) as caught:
        data.load(folder)
    assert "\n" not in str(caught.value)


def test_the_second_load_decodes_nothing_until_a_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, write_picture: Write
):
    first = data.load(folder)

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("cnn_jax.data.folders._reading.decode", fail)
    second = data.load(folder)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.labels, second.test.labels)
    assert (first.name, first.class_names) == (second.name, second.class_names)
    with pytest.raises(UsageError, match="decoded again"):
        data.load(folder, image_size=3)
    write_picture(folder / "train" / "cat" / "10.png")
    with pytest.raises(UsageError, match="decoded again"):
        data.load(folder)
