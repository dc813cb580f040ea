"""All that the explaining page computes, on every family of networks, whatever the images are.

Compiling all of that would take minutes. What is asked of every network here is about layers,
channels and outputs, so the programs are traced, and numbers of the right shapes stand in for what
they would compute. Two families are then trained and explained for good, and what the numbers have
to be is tested on smaller networks in tests/analysis.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from saved_runs import starter

from cnn_jax import training
from cnn_jax.analysis.explain import (
    Chosen,
    Labeled,
    Subject,
    TrainedNetwork,
    contributions,
    make_sections,
    render_explanations,
    trained_network,
)
from cnn_jax.analysis.pictures import learn_style
from cnn_jax.models import MODELS, Architecture, build_abstract
from cnn_jax.training.task import normalize
from experiments import explain, predict

SIDE = 16
NAMES = ("bus", "car", "train")
RNG = np.random.default_rng(0)
# Of the residual networks that differ in depth alone, the least deep one.
FAMILIES = sorted(MODELS.keys() - {"resnet20", "resnet32", "resnet56"})
FIGURES = (
    "page.ranked_guesses",
    "charts.ambiguous_card",
    "charts.evidence_grid",
    "charts.explanation_rows",
    "charts.feature_map_strips",
    "charts.filter_grid",
    "charts.image_grid",
    "charts.neighbor_rows",
)
SMALL = {"cnn": {"filters": (3, 4), "hidden": (5,)}, "lenet5": {}}


def untrained(model: str, task: training.Task) -> TrainedNetwork:
    """The network with random parameters and statistics from NumPy, which compiles nothing."""
    config = training.Config(
        Architecture(model=model, **SMALL.get(model, {"normalization": "batch"})),
        loss="binary_cross_entropy" if task.multi_label else "cross_entropy",
    )
    run = training.make_run(config, task)
    shapes = jax.eval_shape(run.init, training.hyperparameters(config, {}), jax.random.key(0))
    params, statistics = jax.tree.map(
        lambda leaf: RNG.random(leaf.shape, np.float32), (shapes.params, shapes.statistics)
    )
    state = training.TrainState(jnp.zeros((), jnp.int32), params, statistics, ())
    model = build_abstract(config.architecture, task.image_shape, task.num_classes)
    style = learn_style(np.zeros((3, *task.image_shape), np.uint8))
    return trained_network(model, state.weights, functools.partial(normalize, task), style)


def traced(function: Callable, **options: object) -> Callable:
    """What `jax.jit` makes of a function, but that nothing is compiled or computed."""

    def stand_in(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        floats = jnp.issubdtype(shape.dtype, jnp.floating)
        return RNG.random(shape.shape, np.float32) if floats else np.zeros(shape.shape, shape.dtype)

    return lambda *arguments: jax.tree.map(stand_in, jax.eval_shape(function, *arguments))


@pytest.fixture
def without_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are traced, and figures, which have tests of their own, stay empty."""
    for figure in FIGURES:
        monkeypatch.setattr(
            f"cnn_jax.analysis.explain.{figure}", lambda *arguments, **more: Figure()
        )
    monkeypatch.setattr(
        "cnn_jax.analysis.explain.sections.to_png", lambda figure, dpi: "data:image/png;base64,"
    )
    monkeypatch.setattr("cnn_jax.compilation.compiler_options", lambda wanted: {})
    monkeypatch.setattr(jax, "jit", traced)


def cases() -> Iterator[tuple[str, int, bool]]:
    """Each model, on gray and on color images, with classes and with labels.

    All four combinations of the models that are quick to trace, and two of the deep ones: channels
    are seen by a network's first layer alone, and outputs by its last.
    """
    for model in FAMILIES:
        quick = model in ("airnet", "cnn", "lenet5")
        for channels, several in itertools.product((1, 3), (False, True)):
            if quick or (channels == 3) == several:
                yield model, channels, several


@pytest.mark.parametrize(("model", "channels", "several"), list(cases()))
def test_every_section(model: str, channels: int, several: bool, request: pytest.FixtureRequest):
    shape = (SIDE, SIDE, channels)
    task = training.Task(shape, 3, (0.5,) * channels, (0.25,) * channels, several)
    trained = untrained(model, task)
    request.getfixturevalue("without_computing")
    images = RNG.integers(0, 256, (10, *shape), dtype=np.uint8)
    labels: Any = RNG.integers(0, 3, 10).astype(np.int32)
    if several:
        labels = RNG.integers(0, 2, (10, 3)).astype(np.uint8)
    probabilities = RNG.dirichlet(np.ones(3), 10).astype(np.float32)
    targets = np.array([[0, 1, 2]] * 2) if several else np.array([[1], [2]])
    subject = Subject(
        trained,
        contributions(trained),
        NAMES,
        Chosen(images[:2], ["bus", None], ["a.png", "b.png"], probabilities[:2], targets),
        Labeled(images, labels),
        Labeled(images, labels),
        probabilities,
        np.full(3, 0.4, np.float32) if several else None,
    )
    parts = {part.anchor: part for part in make_sections(subject)}
    assert list(parts) == [
        "filters", "maps", "evidence", "classes", "neighbors", "mistakes", "ambiguous"
    ]  # fmt: skip
    assert all(part.pictures for part in parts.values())
    assert len(parts["evidence"].pictures) == (2 if several else 1)
    assert len(parts["ambiguous"].pictures) == (3 if several else 4)
    assert f"{channels} channel" in parts["filters"].note
    page = render_explanations(list(parts.values()), title=(model, "drawn"), facts={})
    assert page.count("<img") == sum(len(part.pictures) for part in parts.values())


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small color pictures in three classes: one color each, and noise."""
    folder = tmp_path_factory.mktemp("data") / "colors"
    for (split, count), (index, name) in itertools.product(
        (("train", 20), ("test", 8)), enumerate(NAMES)
    ):
        (folder / split / name).mkdir(parents=True)
        for number in range(count):
            pixels = RNG.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., index] += 100
            Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def test_airnet_in_color_from_training_to_explanations(program, colors: Path, tmp_path: Path):
    run = tmp_path / "run"
    flags = ("--model=airnet", "--normalization=batch", "--batch_size=12", "--epochs=2")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        outcome = program(f"--dataset={colors}", *flags, f"--workdir={run}")
        assert (outcome.code, outcome.err) == (0, "")
        assert "What the first convolution looks for" in (run / "report.html").read_text()
        start = starter(program, predict.main, takes_paths=True)
        outcome = start(f"--run={run}", colors / "test", "--json")
        right = [each["guesses"][0]["class"] == each["label"] for each in json.loads(outcome.out)]
        assert len(right) == 24 and np.mean(right) > 0.5
        outcome = starter(program, explain.main, True)(f"--run={run}", "--count=1")
        assert (outcome.code, outcome.err) == (0, "")
        assert "All 24 filters of 2x2 pixels and 3 channels" in (run / "explain.html").read_text()
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
