"""Pictures of explanations: that they show what they are given, and take what may come."""

import subprocess
import sys

import numpy as np
import pytest

from cnn_jax.analysis import explain, figures
from cnn_jax.analysis.explain.charts import as_bytes

RNG = np.random.default_rng(0)


def draw_images(n: int, channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, 8, 8, channels), dtype=np.uint8)


def pictures(figure) -> list[np.ndarray]:
    """The arrays a figure shows, without its color bars, which are meshes."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_heat_leaves_the_image_and_heat_has_its_color(channels: int):
    image = np.full((8, 8, channels), 255, np.uint8)
    heat = np.zeros((8, 8))
    heat[0, 0], heat[1, 1], heat[2, 2] = 1, -1, np.nan
    shown = explain.heat_over_image(image, heat, True, 1.0)
    np.testing.assert_allclose(shown[2:], 1, atol=0.01)
    red, _, blue = range(3)
    assert shown[0, 0, blue] > shown[0, 0, red]
    assert shown[1, 1, red] > shown[1, 1, blue]
    dark = explain.heat_over_image(np.zeros_like(image), np.abs(heat), False, 1.0)
    assert dark[0, 0].sum() < dark[5, 5].sum() < 3
    assert ((dark >= 0) & (dark <= 1)).all()


def test_the_sequential_colors_darken_evenly_and_the_diverging_ones_meet_in_white():
    steps = np.linspace(0, 1, 11)
    luminance = explain.colors(False)(steps)[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < -0.02).all()
    np.testing.assert_allclose(explain.colors(True)(0.5)[:3], 1, atol=0.01)


@pytest.mark.parametrize(
    ("heat", "scale"), [([0.0, 0.0], 1), ([np.nan, -2.0], 2), ([0.0] * 999 + [5.0], 5)]
)
def test_heat_scale(heat: list, scale: float):
    np.testing.assert_allclose(explain.heat_scale(np.array(heat)), scale, rtol=0.01)


@pytest.mark.parametrize(("filters", "channels"), [(1, 1), (10, 3), (8, 2)])
def test_filter_grid_shows_every_filter(filters: int, channels: int):
    kernels = RNG.uniform(-1, 1, (filters, 3, 3, channels))
    shown = pictures(explain.filter_grid(kernels))
    assert len(shown) == filters
    expected = (kernels[0] + 1) / 2 if channels == 3 else kernels[0].sum(-1)
    np.testing.assert_allclose(shown[0], expected)


def test_feature_map_strips_show_the_first_maps_of_each_layer():
    maps = {"conv1": RNG.normal(size=(8, 8, 3)), "pool1": RNG.uniform(size=(4, 4, 12))}
    figure = explain.feature_map_strips(draw_images(1, 1)[0], maps, most=5)
    assert [len(axes.images) for axes in figure.axes[:3]] == [1, 3, 5]
    np.testing.assert_array_equal(figure.axes[2].images[4].get_array(), maps["pool1"][..., 4])
    labels = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert labels == ["image", "conv1\n8x8, 3 of 3", "pool1\n4x4, 5 of 12"]


@pytest.mark.parametrize("channels", [1, 3])
def test_explanation_rows(channels: int):
    heats = {"saliency": RNG.uniform(size=(2, 8, 8)), "occlusion": RNG.normal(size=(2, 8, 8))}
    images = draw_images(2, channels)
    figure = explain.explanation_rows(images, heats, ["a cat", "a $dog"])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["image", "saliency", "occlusion"]
    assert [figure.axes[index].get_ylabel() for index in (0, 3)] == ["a cat", "a $dog"]
    assert len(pictures(figure)) == 6
    svg = figures.to_svg(figure)
    assert {"against", "for", "most"} <= {part.split("<")[0] for part in svg.split(">")}


def test_neighbor_rows():
    images, found = draw_images(2, 3), draw_images(6, 3).reshape(2, 3, 8, 8, 3)
    captions = [["x", "y", "z"], ["u", "v", "w"]]
    figure = explain.neighbor_rows(images, ["first", "second"], found, captions)
    shown = [axes.get_xlabel() for axes in figure.axes if axes.images]
    assert shown == ["first", "x", "y", "z", "second", "u", "v", "w"]
    np.testing.assert_array_equal(pictures(figure)[5], found[1, 0])


def test_image_grid_scales_floats_and_frames_patches():
    images = RNG.normal(size=(3, 8, 8, 1))
    patches = np.array([[1, 2, 3, 4]] * 3)
    figure = explain.image_grid(images, "abc", columns=2, patches=patches)
    shown = pictures(figure)
    assert len(shown) == 3
    assert (shown[0].min(), shown[0].max()) == (0, 255)
    frame = figure.axes[0].patches[0]
    assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (1.5, 0.5, 4, 3)
    as_bytes(np.ones((8, 8, 1)))


def test_ambiguous_card_names_both_guesses():
    evidence = RNG.normal(size=(2, 8, 8))
    card = explain.ambiguous_card(
        draw_images(1, 3)[0], np.array([0.1, 0.4, 0.5]), ["hen", "duck", "rabbit"], evidence, "hen"
    )
    titles = [axes.get_title() for axes in card.axes[:3]]
    assert titles == ["rabbit or duck?", "for rabbit: 50%", "for duck: 40%"]
    assert card.axes[0].get_xlabel() == "hen"


def test_import_leaves_matplotlib_alone():
    code = "import sys, cnn_jax.analysis.explain; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
