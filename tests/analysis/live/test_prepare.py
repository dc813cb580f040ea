"""A picture is prepared in the page as predict prepares it."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scripts import needs_node, run_script

from cnn_jax import data
from cnn_jax.analysis.pictures import fit_picture, learn_style

RNG = np.random.default_rng(0)
PREPARE = """
    return given.pictures.map(picture => {
      picture.data = Uint8Array.from(picture.data);
      const { image, inverted, centered } = prepare(picture, given.network);
      return { data: [...image.data], inverted, centered };
    });
"""
SIZES = ((28, 28), (40, 31), (200, 280), (17, 90), (9, 9), (280, 280), (1, 30))


def noise(channels: int) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (*size, channels), dtype=np.uint8) for size in SIZES]


def strokes(dark: bool) -> list[np.ndarray]:
    """A crooked line somewhere, on an even ground."""
    found = []
    for height, width in SIZES:
        ground, ink = (40, 210) if dark else (230, 25)
        image = Image.new("L", (width, height), ground)
        points = [tuple(RNG.uniform(0.1, 0.9, 2) * (width, height)) for _ in range(4)]
        ImageDraw.Draw(image).line(points, ink, max(1, height // 12))
        found.append(np.asarray(image)[..., None])
    return found


def digits() -> np.ndarray:
    return data.load("mnist").test.images[:500]


def drawn_evenly(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


CASES = {
    "digits": (digits, [*strokes(True), *strokes(False), *noise(1)], data.PixelRule(resize="crop")),
    "digits, padded": (digits, [*strokes(True), *noise(1)], data.PixelRule(resize="pad")),
    "digits of other sizes": (
        digits, [*strokes(True), *strokes(False)], data.PixelRule(shortest=17, longest=90)
    ),
    "gray photos": (lambda: drawn_evenly(20, 28, 20, 1), noise(1), data.PixelRule(resize="crop")),
    "color": (lambda: drawn_evenly(20, 32, 32, 3), noise(3), data.PixelRule(resize="crop")),
    "color, padded": (lambda: drawn_evenly(9, 32, 32, 3), noise(3), data.PixelRule(resize="pad")),
    "stretched": (lambda: drawn_evenly(9, 32, 32, 3), noise(3), data.PixelRule(resize="stretch")),
}  # fmt: skip


@needs_node
@pytest.mark.parametrize("name", CASES)
def test_pictures_are_prepared_as_predict_does(name: str):
    training, pictures, rule = CASES[name]
    style = learn_style(training())
    network = {"shape": style.shape, "style": style.to_json(), "resize": rule.resize}
    network["sides"] = [rule.shortest, rule.longest]
    given = [{"shape": picture.shape, "data": picture.ravel().tolist()} for picture in pictures]
    found = run_script(["prepare.js"], PREPARE, {"pictures": given, "network": network})
    for picture, made in zip(pictures, found, strict=True):
        expected = fit_picture(picture, style, rule=rule)
        assert (made["inverted"], made["centered"]) == (expected.inverted, expected.centered)
        values = np.reshape(made["data"], style.shape)
        # The two passes of a scaling may be in another order, which rounds differently.
        tolerance = 2 if made["centered"] else picture.shape[0] != picture.shape[1]
        np.testing.assert_allclose(
            values, expected.image.astype(int), atol=tolerance, err_msg=str(picture.shape)
        )
