"""Pictures made like training images: what is learned of those, and what is done to others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.analysis import pictures
from cnn_jax.data.folders import resize

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def mnist() -> data.Dataset:
    return data.load("mnist")


def strokes(n: int, light_ground: bool = False, size: int = 12, shift: int = 0) -> np.ndarray:
    """Bars of one length on an even ground, in the middle of 20x20 images."""
    images = np.zeros((n, 20, 20, 1), np.uint8)
    for index in range(n):
        width = 2 + index % 4
        top, left = (20 - size) // 2 + (index * shift) % 7, (20 - width) // 2
        images[index, top : top + size, left : left + width] = 250
    return 255 - images if light_ground else images


def test_the_frame_of_mnist_is_its_box_of_20_pixels_around_the_center_of_mass(mnist):
    style = pictures.learn_style(mnist.train.images)
    assert style.shape == (28, 28, 1)
    assert (style.darkest, style.lightest) == (0, 0)
    frame = style.frame
    assert frame is not None
    assert (frame.level, frame.peak, frame.size, frame.by_mass) == (0, 255, 20, True)
    # The center of 28 pixels, counted from 0, is 13.5; the set has it rounded up.
    assert frame.row == pytest.approx(14, abs=0.1)
    assert frame.column == pytest.approx(14, abs=0.1)


def test_images_of_the_training_set_are_taken_as_they_are(mnist):
    style = pictures.learn_style(mnist.train.images)
    for image in mnist.test.images[:100]:
        fitted = pictures.fit_picture(image, style)
        np.testing.assert_array_equal(fitted.image, image)
        assert fitted[1:] == (False, False, False)


def test_enlarged_negatives_elsewhere_on_a_sheet_come_back(mnist):
    style = pictures.learn_style(mnist.train.images)
    images = mnist.test.images[:60]
    differences = []
    for image in images:
        sheet = np.full((300, 420, 1), 255, np.uint8)
        large = np.asarray(Image.fromarray(image[..., 0]).resize((196, 196)))[..., None]
        top, left = RNG.integers(0, 100), RNG.integers(0, 220)
        sheet[top : top + 196, left : left + 196] = 255 - large
        fitted = pictures.fit_picture(sheet, style)
        assert fitted[1:] == (True, True, False)
        differences.append(np.abs(fitted.image.astype(float) - image).mean())
        rows = np.flatnonzero(fitted.image[..., 0].max(1) > 50)
        columns = np.flatnonzero(fitted.image[..., 0].max(0) > 50)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    # As far as a shift by a fraction of a pixel makes them differ.
    assert np.mean(differences) < 0.3 * images.mean()


@pytest.mark.parametrize("light_ground", [False, True])
@pytest.mark.parametrize("drawn_light", [False, True])
def test_light_and_dark_follow_the_training_images(light_ground: bool, drawn_light: bool):
    style = pictures.learn_style(strokes(40, light_ground))
    assert style.frame is not None
    assert style.frame.size == 12
    drawing = np.full((90, 60, 1), 10 if drawn_light else 230, np.uint8)
    drawing[5:45, 5:15] = 240 if drawn_light else 20
    fitted = pictures.fit_picture(drawing, style)
    assert fitted.inverted == (drawn_light == light_ground)
    assert fitted.centered
    expected = strokes(2, light_ground)[1].astype(int)
    assert np.abs(fitted.image.astype(int) - expected).max() <= 40
    kept = pictures.fit_picture(drawing, style, invert=False)
    assert not kept.inverted


def test_what_differs_between_training_images_is_not_imposed():
    textured = RNG.integers(0, 256, (30, 12, 12, 1), dtype=np.uint8)
    colored = RNG.integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    for images in (textured, colored, strokes(40, shift=3), np.zeros((5, 9, 9, 1), np.uint8)):
        assert pictures.learn_style(images).frame is None
    white = np.full((50, 40, 3), 255, np.uint8)
    style = pictures.learn_style(colored)
    assert not pictures.fit_picture(white, style).inverted
    assert pictures.fit_picture(white, style, invert=True).image.max() == 0
    picture = RNG.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pictures.fit_picture(picture, style).image, resize(picture, 12))


def test_training_images_that_are_no_squares():
    style = pictures.learn_style(RNG.integers(0, 256, (30, 10, 20, 1), dtype=np.uint8))
    picture = np.zeros((100, 100, 1), np.uint8)
    picture[25:75] = 200
    fitted = pictures.fit_picture(picture, style, invert=False).image
    assert fitted.shape == (10, 20, 1)
    assert (fitted == 200).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_sheet_stays_empty(value: int):
    style = pictures.learn_style(strokes(40))
    fitted = pictures.fit_picture(np.full((60, 60, 1), value, np.uint8), style)
    assert not fitted.centered
    assert np.ptp(fitted.image) == 0
    assert fitted.image.max() < 130


def test_otsu_parts_two_groups():
    values = np.concatenate([RNG.normal(60, 8, 500), RNG.normal(180, 8, 200)]).reshape(70, 10)
    assert 85 < pictures._otsu(values) < 155


@pytest.mark.parametrize("how", data.RESIZE)
def test_pictures_that_were_resized_for_training_are_read_as_they_were_then(
    tmp_path: Path, how: str
):
    for index, image in enumerate(strokes(20)[..., 0]):
        folder = tmp_path / "bars" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        wide = Image.fromarray(image).resize((44 + index % 3, 40))
        wide.save(folder / f"{index}.png")
    bars = data.load(tmp_path / "bars", image_size=20, resize=how, cache_dir=tmp_path / "cache")
    assert (bars.rule.shortest, bars.rule.longest) == (40, 46)
    style = pictures.learn_style(bars.train.images)
    assert style.frame is not None
    trained = {image.tobytes() for split in bars.splits.values() for image in split.images}
    for path in (tmp_path / "bars").rglob("*.png"):
        found = pictures.read_picture(path, 1, bars.rule).image
        assert pictures.fit_picture(found, style, rule=bars.rule).image.tobytes() in trained
    large = np.asarray(Image.fromarray(found[..., 0]).resize((90, 90)))[..., None]
    assert pictures.fit_picture(large, style, rule=bars.rule).centered


def test_arrays_that_were_resized_for_training_say_so():
    assert data.load("mnist", image_size=32).rule[-2:] == (28, 28)
    assert data.load("mnist", image_size=28).rule[-2:] == (None, None)
