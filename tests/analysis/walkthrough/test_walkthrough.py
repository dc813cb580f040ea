"""The walkthrough: a page that stands alone, and whose numbers are those of the functions."""

import base64
import importlib
import io
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browser import browser, needs_chromium
from flax import nnx
from PIL import Image
from scipy import signal, special

from cnn_jax import ops
from cnn_jax.analysis.walkthrough import Station, Trained, deciding, learning, lecture, seeing
from cnn_jax.analysis.walkthrough import page as walkthrough_page
from cnn_jax.analysis.walkthrough.drawings import weighted_sum, window_places
from cnn_jax.analysis.walkthrough.lecture import color_smile, planes
from cnn_jax.models import Architecture, build, count_parameters
from cnn_jax.ops import activations, augment, convolution, losses, pooling, updates

SHAPE = (8, 8, 1)
MAKERS = {
    "image": seeing.image,
    "convolution": seeing.convolution_,
    "activation": seeing.activation,
    "pooling": seeing.pooling_,
    "flattening": seeing.flattening,
    "outputs": deciding.sigmoid_or_softmax,
    "loss": deciding.loss,
    "descent": learning.gradient_descent,
    "sgd": learning.stochastic_gradient_descent,
    "augmentation": learning.augmentation,
    "parameters": learning.parameters,
}
ANCHORS = {make: anchor for anchor, make in MAKERS.items()}
ORDER = {name: getattr(walkthrough_page, name) for name in ("STATIONS", "LATER_STATIONS")}


def trained(several: bool = False) -> Trained:
    """A network that has learned nothing, and ten images."""
    model = build(Architecture(filters=(4,), hidden=(6,)), SHAPE, 3, jax.random.key(0))
    skeleton, state = nnx.split(model)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (10, 3)).astype(np.uint8) if several else np.arange(10) % 3
    return Trained(
        model="cnn",
        dataset="shapes",
        train_examples=1234,
        class_names=("circle", "<square>", "star"),
        network=lambda images, tap: nnx.merge(skeleton, state)(images, tap=tap),
        normalize=lambda images: images / 255,
        parameters=count_parameters(model, SHAPE),
        images=rng.integers(0, 256, (10, *SHAPE), dtype=np.uint8),
        labels=labels,
        probabilities=rng.dirichlet(np.ones(3), 10).astype(np.float32),
        calibrated=True,
    )


@pytest.fixture(scope="module")
def stations() -> dict[str, Station]:
    """Every station, computed once; of the augmentations one of each kind."""
    few = {name: learning.AUGMENTATIONS[name] for name in ("flip", "mixup")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "AUGMENTATIONS", few)
        return {name: make() for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def looked_into() -> Station:
    return walkthrough_page.network(trained())


@pytest.fixture
def render(stations, looked_into, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The page, with some of the stations replaced."""

    def render(guesser: Trained | None = None, **changed: Station) -> str:
        there = stations | changed
        for name, makers in ORDER.items():
            kept = tuple(lambda anchor=ANCHORS[make]: there[anchor] for make in makers)
            monkeypatch.setattr(walkthrough_page, name, kept)
        monkeypatch.setattr(walkthrough_page, "network", lambda smiles: looked_into)
        return walkthrough_page.render_walkthrough(trained(), guesser or trained())

    return render


@pytest.fixture
def page(render) -> str:
    return render()


def test_every_station_is_in_the_page_in_the_order_of_the_contents(page: str):
    anchors = re.findall(r'<section id="(.*?)">', page)
    assert re.findall(r'<li><a href="#(.*?)">', page) == anchors
    seeing = list(MAKERS)[:5]
    assert anchors == [*seeing, "network", *list(MAKERS)[5:], "guesses"]


def test_nothing_is_fetched(page: str):
    assert not re.search(r"""(src|href)\s*=\s*(?!["'](data:|#))""", page)
    assert not re.search(
        r"""url\(\s*(?!["']?(data:|#))|@import|<link|<iframe|<script[^>]+src""", page
    )
    assert "default-src 'none'" in page
    assert len(page.encode()) < 3e6


def test_ids_are_unique_and_links_lead_somewhere(page: str):
    ids = re.findall(r'\bid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(.*?)"', page)) <= set(ids)


def test_pictures_have_words_for_those_who_do_not_see_them(page: str):
    assert all(re.search(r'\balt="[^"]+"', image) for image in re.findall(r"<img.*?>", page))
    for opening in re.findall(r'<div class="picture".*?>', page):
        assert re.search(r'aria-label="[^"]+"', opening)


def test_animation_has_a_frame_for_each_place(page: str):
    (data,) = re.findall(r"data:image/gif;base64,([^\"]+)", page)
    gif = Image.open(io.BytesIO(base64.b64decode(data)))
    assert gif.n_frames == 9
    assert gif.info["loop"] == 0
    assert page.count('<figcaption class="sum">') == 9


def test_functions_are_where_the_page_says(stations, looked_into):
    for station in (*stations.values(), looked_into):
        assert station.functions
        for name in station.functions:
            module, function = name.rsplit(".", 1)
            assert callable(getattr(importlib.import_module(module), function))


def test_numbers_of_the_lecture(page: str, stations):
    def shown(name: str) -> dict:
        return stations[name].shown

    expected = signal.correlate2d(lecture.IMAGE, lecture.FILTER, mode="valid")
    np.testing.assert_array_equal(shown("convolution")["feature_map"], expected)
    assert expected[0, 0] == lecture.PRINTED_FIRST
    np.testing.assert_array_equal(shown("pooling")["maxima"], lecture.PRINTED_MAXIMA)
    np.testing.assert_array_equal(shown("pooling")["means"], lecture.PRINTED_MEANS)
    np.testing.assert_array_equal(shown("flattening")["column"], lecture.PRINTED_COLUMN)
    assert shown("image")["pink"] == [255, 105, 180]
    for name, function in (("sigmoid", special.expit), ("softmax", special.softmax)):
        rows = shown("outputs")["tables"][name]["rows"]
        np.testing.assert_allclose([row[2] for row in rows], function(lecture.SCORES), rtol=1e-5)
        assert all(abs(value - float(printed)) < 0.01 for _, _, value, printed, _ in rows)
    assert shown("outputs")["there"] == ["car", "train"]
    # The lecture cuts these digits off; the exact value stands beside each.
    assert set(re.findall(r"≠ ([\d.]+)", page)) == {"0.37", "0.91", "0.05", "2.53"}
    for text in ("0.3775", "0.9168", "0.0571", "4.5099", "61,706", "(5 * 5 * 6 + 1) * 16"):
        assert text in page


@pytest.mark.parametrize(
    ("station", "module", "function", "change", "text"),
    [
        ("convolution", convolution, "conv2d", lambda f: lambda *a, **k: 2 * f(*a, **k), "= 8</"),
        ("pooling", pooling, "max_pool", lambda f: lambda x, w: -f(x, w), '<td class="w00">-9<'),
        ("flattening", ops, "flatten", lambda f: lambda x: 10 * f(x), "<td>40</td>"),
        ("outputs", activations, "sigmoid", lambda f: lambda x: 0 * x + 0.125, ">0.5000<"),
        ("loss", losses, "log_loss", lambda f: lambda y, p: 0 * p + 7.0, "pays 7.0000"),
        ("loss", losses, "error", lambda f: lambda y, p: p + 3, "+3.6953"),
        (
            "descent",
            updates,
            "gradient_descent",
            lambda f: lambda g, s, **k: (0 * g, s),
            "to (-4, 1)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_numbers_change_with_the_function(
    station, module, function, change, text, render, monkeypatch: pytest.MonkeyPatch
):
    assert text not in render()
    monkeypatch.setattr(module, function, change(getattr(module, function)))
    assert text in render(**{station: MAKERS[station]()})


def test_curves_change_with_the_loss(stations, monkeypatch: pytest.MonkeyPatch):
    before = dict(stations["loss"].shown["curves"])
    monkeypatch.setitem(losses.LOSSES, "hinge", losses.binary_cross_entropy)
    after = dict(deciding.loss().shown["curves"])
    assert [name for name in before if before[name] != after[name]] == ["hinge"]


def test_weighted_sums_are_right():
    feature_map = signal.correlate2d(lecture.IMAGE, lecture.FILTER, mode="valid")
    for place in window_places(feature_map):
        text = weighted_sum(lecture.IMAGE, lecture.FILTER, place, feature_map[place])
        products, result = text.replace("×", "*").split(" = ")
        assert eval(products) == float(result)
        assert products.count("*") == 9


def test_losses_are_of_the_probability():
    p = np.linspace(0.01, 0.99, 50, dtype=np.float32)
    rows = special.softmax(np.asarray(deciding.two_class_logits(jnp.asarray(p))), -1)
    np.testing.assert_allclose(rows[:, 0], p, rtol=1e-5)
    found = deciding._losses(jnp.asarray(p))
    for name in ("cross_entropy", "binary_cross_entropy", "kl_divergence"):
        np.testing.assert_allclose(found[name], -np.log(p), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["squared_error"], 2 * (1 - p) ** 2, rtol=1e-4, atol=1e-6)
    for name in ("hinge", "crammer_singer", "weston_watkins"):
        expected = np.maximum(0, 1 - special.logit(p))
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def test_path_of_gradient_descent():
    start, rate, steps = np.array([-4.0, 1.0]), 0.15, 12
    path = learning.descend(learning.valley, jnp.asarray(start), rate, steps)
    shrink = 1 - rate * np.array(learning.CURVATURES)
    np.testing.assert_allclose(path, start * shrink ** np.arange(steps + 1)[:, None], rtol=1e-4)


def test_rates_are_what_they_are_called(stations):
    shown = stations["descent"].shown
    after = {name: last for name, _, _, last in shown["rows"]}
    (before,) = {first for _, _, first, _ in shown["rows"]}
    assert after["good"] < after["small"] < before < after["too large"]
    assert shown["limit"] == pytest.approx(2 / max(learning.CURVATURES))


def test_stochastic_descent_is_ahead_after_one_pass_and_behind_in_the_end(stations):
    shown = stations["sgd"].shown
    assert shown["single_after_pass"] < shown["full_after_pass"] < shown["start_loss"]
    assert shown["best_loss"] <= shown["full_after"] < shown["single_after"]


def test_every_augmentation_can_be_asked_for():
    assert set(learning.STRONGER) <= set(learning.AUGMENTATIONS)
    for name in learning.AUGMENTATIONS:
        (call,) = augment.parse(learning.STRONGER.get(name, name))
        assert call.name == name


def test_mixtures_show_their_targets(stations):
    flip, mixup = stations["augmentation"].shown["cards"]
    assert flip["targets"] is None
    assert (
        len(mixup["targets"]) == len(mixup["pictures"]) == stations["augmentation"].shown["draws"]
    )
    assert 0 <= min(mixup["targets"]) < 1


def test_smile_and_its_planes():
    smile, frown = color_smile(32), color_smile(32, happy=False)
    assert tuple(smile[0, 0]) == lecture.HOT_PINK
    np.testing.assert_array_equal(sum(planes(smile)), smile)
    differing = np.flatnonzero((smile != frown).any((1, 2)))
    assert differing.min() > 14
    assert (smile != smile[:, ::-1]).any()


def test_guesses_with_one_class_and_with_several_labels(render):
    page = render()
    assert "its 3 classes by probability" in page
    assert "&lt;square&gt;" in page and "<square>" not in page
    several = trained(several=True)
    page = render(several._replace(calibrated=False))
    assert "its 3 labels by probability" in page
    assert "they rank the guesses, but do not measure" in page
    shown = walkthrough_page.guesses(several).shown
    for card in shown["drawn"]:
        row = several.labels[card["number"]]
        marked = {guess["name"] for guess in card["guesses"] if guess["right"]}
        assert marked == {
            name for name, there in zip(several.class_names, row, strict=True) if there
        }


def test_network_shows_every_layer(looked_into):
    layers = {row.name for row in looked_into.shown["rows"]}
    vectors = {name: size for name, size, _ in looked_into.shown["vectors"]}
    assert vectors == {"flatten": 64, "dense1": 6, "dense_activation1": 6, "output": 3}
    assert set(vectors) < layers


@needs_chromium
def test_stations_move(page: str, tmp_path):
    file = tmp_path / "walkthrough.html"
    file.write_text(page, encoding="utf-8")
    with browser() as tab:
        tab.open(file, motion=False)
        plays = "[...document.querySelectorAll('[data-play]')]"
        found = set(tab.value(f"{plays}.map(each => each.dataset.play)"))
        moving = {"convolution", "activation", "pooling", "outputs", "loss", "descent", "sgd"}
        assert moving | {"plane"} <= found
        assert tab.value(f"{plays}.every(each => !each.hidden && each.textContent.length > 5)")

        def play(station: str, code: str) -> str:
            part = f"document.querySelector('[data-play={station}]')"
            tab.value(f"(root => {{ {code} }})({part})")
            return tab.value(f"{part}.textContent")

        edit = "root.querySelector('input').value = 5; "
        edit += "root.querySelector('input').dispatchEvent(new Event('input'))"
        assert "5·1" not in play("convolution", "")
        assert "row 1, column 1: 1·5 + 1·0" in play("convolution", edit)
        last = "[...root.querySelectorAll('.output button')].at(-1).focus()"
        assert "row 2, column 2: max(2, 4, 2, 6) = 6" in play("pooling", last)
        step = "root.querySelector('select').value = 'step'; "
        step += "root.querySelector('select').dispatchEvent(new Event('change'))"
        assert "surrogate that is learned with (dotted) 0.25" in play("activation", step)
        assert "sum 2.5379" in play("outputs", "")
        # Where motion is not wanted, the steps are taken at once.
        run = "[...root.querySelectorAll('button')]"
        run += ".find(each => each.textContent === '50 steps').click()"
        assert "gradient descent: 50 steps, loss 0" in play("descent", run)
        assert "SGD: 50 steps" in play("sgd", run)
        assert "200 steps" in play("plane", run)
        for width in (390, 768, 1280):
            tab.open(file, width)
            assert tab.value("document.documentElement.scrollWidth") <= width
        assert (tab.said, tab.requests) == ([], [])
