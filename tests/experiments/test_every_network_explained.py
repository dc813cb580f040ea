"""All that the explaining page computes, on every family of networks, whatever the images are.

Networks are untrained and images few and small: this is about shapes and names. What the numbers
have to be is tested on smaller networks in tests/analysis.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import training
from cnn_jax.analysis import explain_page
from cnn_jax.analysis.explain_sections import Chosen, Depth, Labeled, Subject
from cnn_jax.analysis.trained_network import contributions
from cnn_jax.models import Architecture
from cnn_jax.models.architecture import MODEL_OPTIONS
from experiments.network import trained_network

SIDE = 16
NAMES = ("bus", "car", "train")
SMALL = {"cnn": {"filters": (3, 4), "hidden": (5,)}, "lenet5": {}}
# Model, channels, and whether an image has several labels: each model, and each combination of the
# other two, with what it is likeliest to break.
CASES = [
    ("cnn", 1, True),
    ("cnn", 3, False),
    ("lenet5", 1, False),
    ("lenet5", 3, True),
    ("resnet20", 3, False),
    ("resnet18", 1, True),
    ("wide_resnet", 3, True),
    ("vgg", 1, False),
    ("airnet", 3, True),
    ("airnet", 1, False),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs that are compiled faster than they could run, and figures that are not rendered."""
    monkeypatch.setattr(
        "cnn_jax.analysis.explain_sections.to_png", lambda figure, dpi: f"{len(figure.axes)} axes"
    )
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def untrained(model: str, task: training.Task) -> tuple[training.Config, training.TrainState]:
    """The network with random parameters and statistics from NumPy, which compiles nothing."""
    smaller = SMALL.get(model, {"normalization": "batch"})
    config = training.Config(
        Architecture(model=model, **smaller),
        loss="binary_cross_entropy" if task.multi_label else "cross_entropy",
    )
    run = training.make_run(config, task)
    shapes = jax.eval_shape(run.init, training.hyperparameters(config, {}), jax.random.key(0))
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) < 2:  # Positive, as a variance has to be.
            return jnp.asarray(rng.uniform(0.5, 1, leaf.shape), leaf.dtype)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(rng.normal(0, scale, leaf.shape), leaf.dtype)

    params, statistics = jax.tree.map(fill, (shapes.params, shapes.statistics))
    return config, training.TrainState(jnp.zeros((), jnp.int32), params, statistics, ())


def test_every_model_is_here():
    families = {name for name in MODEL_OPTIONS if name not in ("resnet32", "resnet56")}
    assert {model for model, _, _ in CASES} == families
    assert len({case[1:] for case in CASES}) == 4


@pytest.mark.parametrize(("model", "channels", "several"), CASES)
def test_every_section(model: str, channels: int, several: bool):
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, channels)
    task = training.Task(
        shape, len(NAMES), (0.5,) * channels, (0.25,) * channels, multi_label=several
    )
    config, state = untrained(model, task)
    images = rng.integers(0, 256, (10, *shape), dtype=np.uint8)
    labels = (
        rng.integers(0, 2, (10, 3)).astype(np.uint8)
        if several
        else rng.integers(0, 3, 10).astype(np.int32)
    )
    probabilities = rng.dirichlet(np.ones(3), 10).astype(np.float32)
    trained = trained_network(config, task, state, images)
    targets = np.array([[0, 1, 2]] * 2) if several else np.array([[1], [2]])
    subject = Subject(
        trained,
        contributions(trained, steps=2),
        NAMES,
        Chosen(images[:2], ["bus", None], ["a.png", "b.png"], probabilities[:2], targets),
        Labeled(images, labels),
        Labeled(images, labels),
        probabilities,
        np.full(3, 0.4, np.float32) if several else None,
        Depth(samples=2, overlap=1, ascent=2),
    )
    parts = {part.anchor: part for part in explain_page.sections(subject)}
    assert list(parts) == [
        "filters", "maps", "evidence", "classes", "neighbors", "mistakes", "ambiguous"
    ]  # fmt: skip
    assert all(part.pictures for part in parts.values())
    assert len(parts["evidence"].pictures) == (2 if several else 1)
    assert len(parts["ambiguous"].pictures) == (3 if several else 4)
    assert f"{channels} channel" in parts["filters"].note
    explained = explain_page.render_page(list(parts.values()), title=(model, "drawn"), facts={})
    assert explained.count("<img") == sum(len(part.pictures) for part in parts.values())
