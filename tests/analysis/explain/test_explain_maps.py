"""Feature maps, activation maximization, neighbors and predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.neighbors import NearestNeighbors

from cnn_jax.analysis import explain
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, build, build_abstract

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def test_feature_maps_are_those_of_the_taps_in_order():
    architecture = Architecture(model="resnet20", normalization="batch")
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    seen = []

    def tapped(images: jax.Array, tap: explain.Tap) -> jax.Array:
        def look(name: str, value: jax.Array) -> jax.Array:
            if value.ndim == 4:
                seen.append((name, value.shape))
            return tap(name, value)

        return build(architecture, (8, 8, 3), 5, KEY)(images, tap=look)

    maps = jax.eval_shape(lambda images: explain.feature_maps(tapped, images), images)
    assert [(name, value.shape) for name, value in maps.items()] == seen
    assert {"conv1", "norm1", "activation1", "block1_1.conv1", "block3_3"} <= set(maps)


@pytest.mark.parametrize(
    "architecture",
    [Architecture(filters=(4,) * 11), Architecture(model="resnet20")],
    ids=["cnn", "resnet20"],
)
def test_first_kernel_is_that_of_the_first_convolution(architecture: Architecture):
    network = build_abstract(architecture, (2**11, 2**11, 3), 5)
    shapes = nnx.to_pure_dict(nnx.state(network, nnx.Param))
    params = jax.tree.map(lambda leaf: np.broadcast_to(0, leaf.shape), shapes)
    kernel = explain.first_kernel(params, 3)
    assert kernel is params["network"]["conv1"]["conv"]["kernel"]


def test_filter_images_are_scaled_one_by_one():
    kernel = RNG.normal(size=(3, 5, 2, 4))
    kernel[..., 3] = 0
    found = np.asarray(explain.filter_images(kernel))
    for index in range(3):
        weights = kernel[..., index]
        np.testing.assert_allclose(found[index], weights / np.abs(weights).max(), rtol=1e-6)
    np.testing.assert_array_equal(found[3], 0)


def test_maximisation_raises_what_it_is_asked_to():
    model = build(Architecture(filters=(4, 6), hidden=(8,)), (8, 8, 1), 3, KEY)

    def tapped(images: jax.Array, tap: explain.Tap) -> jax.Array:
        return model(images, tap=tap)

    @jax.jit
    def found(key: jax.Array) -> dict:
        answers = {}
        for name, activations in (
            ("output", lambda images: explain.output(jnp.arange(3))(model(images))),
            ("filter", explain.filter_activations(tapped, "conv2", jnp.arange(3))),
        ):
            start = explain.maximize(activations, (3, 8, 8, 1), key, steps=0)
            for penalty in (0.0, 0.5):
                images = explain.maximize(
                    activations,
                    (3, 8, 8, 1),
                    key,
                    steps=40,
                    l2=penalty,
                    total_variation=penalty,
                    low=-2.0,
                    high=3.0,
                )
                answers[name, penalty] = images, activations(images), activations(start)
        return answers

    for name, (images, after, before) in (answers := found(KEY)).items():
        assert (after > before).all(), name
        assert images.min() >= -2
        assert images.max() <= 3
    for name in ("output", "filter"):
        free, held = answers[name, 0.0][0], answers[name, 0.5][0]
        assert jnp.mean(held**2) < jnp.mean(free**2)
        assert (explain.roughness(held) < explain.roughness(free)).all()


def test_maximisation_finds_the_maximum_of_a_linear_unit():
    # With l2 alone the ascent comes to rest where g / rms(g) = l2 * x, whatever the scale of g.
    weights = RNG.normal(size=(1, 6, 6, 3)).astype(np.float32) * 100
    found = explain.maximize(
        lambda images: jnp.sum(images * weights, axis=(1, 2, 3)),
        weights.shape,
        KEY,
        steps=400,
        l2=0.5,
        total_variation=0.0,
        jitter=0,
    )
    np.testing.assert_allclose(found, weights / np.sqrt(np.mean(weights**2)) / 0.5, atol=1e-3)


def test_roughness_is_that_of_numpy():
    images = RNG.normal(size=(2, 5, 6, 3)).astype(np.float32)
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, :-1] = images[:, 1:] - images[:, :-1]
    right[:, :, :-1] = images[:, :, 1:] - images[:, :, :-1]
    expected = np.hypot(down, right).sum((1, 2, 3))
    np.testing.assert_allclose(explain.roughness(images), expected, rtol=1e-4)
    flat = jax.grad(lambda images: explain.roughness(images).sum())(np.ones_like(images))
    np.testing.assert_array_equal(flat, 0)


@pytest.mark.parametrize("chunk", [16, 1000])
@pytest.mark.parametrize("metric", explain.METRICS)
def test_nearest_neighbors_are_those_of_scikit_learn(metric: str, chunk: int):
    rows = RNG.normal(2, 1, (101, 7)).astype(np.float32)
    rows[3] = 0
    queries = np.concatenate([rows[50:52], RNG.normal(2, 1, (8, 7)).astype(np.float32)])
    found = explain.nearest_neighbors(queries, rows, 5, metric, chunk)
    expected = NearestNeighbors(n_neighbors=5, metric=metric, algorithm="brute").fit(rows)
    distances, indices = expected.kneighbors(queries)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.indices[:2, 0], [50, 51])


@pytest.mark.parametrize(
    ("k", "metric", "message"),
    [(2, "angle", "no metric 'angle'; give one of euclidean, cosine"), (5, "cosine", "1 to 4")],
)
def test_nearest_neighbors_refuse(k: int, metric: str, message: str):
    with pytest.raises(UsageError, match=message):
        explain.nearest_neighbors(np.ones((1, 2)), np.ones((4, 2)), k, metric)


@pytest.mark.parametrize("chunk", [4, 5, 100])
def test_in_chunks_is_the_function_itself(chunk: int):
    rows = RNG.integers(0, 256, (15, 3, 2), dtype=np.uint8)
    found = explain.in_chunks(lambda rows: rows.sum(-1) / 2, jnp.asarray(rows), chunk)
    np.testing.assert_allclose(found, rows.sum(-1) / 2)
