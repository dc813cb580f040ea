import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax.analysis import figures
from cnn_jax.analysis.charts import ranked_guesses
from cnn_jax.analysis.report import learning_curves


def sample_figure() -> Figure:
    return ranked_guesses(
        np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), np.array([[0.9, 0.1]] * 2), "ab"
    )


def test_svg_is_deterministic_and_needs_nothing_from_outside():
    svg = figures.to_svg(sample_figure(), "one")
    assert svg == figures.to_svg(sample_figure(), "one")
    assert svg.startswith("<svg")
    assert "<metadata>" not in svg


def test_svg_ids_of_different_names_differ_and_are_all_defined():
    ids = {}
    for name in ("one", "two"):
        root = ElementTree.fromstring(
            figures.to_svg(learning_curves([{"epoch": 1, "train_loss": 1.0}]), name)
        )
        ids[name] = {node.get("id") for node in root.iter()} - {None}
        references = {
            value.removeprefix("#")
            for node in root.iter()
            for key, value in node.attrib.items()
            if key.endswith("href") and value.startswith("#")
        }
        assert references
        assert references <= ids[name]
    assert not ids["one"] & ids["two"]


def test_png_is_deterministic():
    assert figures.to_png(sample_figure()) == figures.to_png(sample_figure())
    assert figures.to_png(sample_figure()).startswith("data:image/png;base64,")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_image_to_png_keeps_pixels(channels, mode):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    data = base64.b64decode(figures.image_to_png(image).split(",")[1])
    picture = Image.open(io.BytesIO(data))
    assert picture.mode == mode
    np.testing.assert_array_equal(np.asarray(picture).reshape(image.shape), image)


def test_image_to_png_shrinks_large_images():
    data = base64.b64decode(figures.image_to_png(np.zeros((300, 200, 3), np.uint8)).split(",")[1])
    assert Image.open(io.BytesIO(data)).size == (75, 112)
