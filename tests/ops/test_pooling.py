from functools import partial
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax.ops import POOLINGS, avg_pool, global_avg_pool, max_pool

FEATURE_MAP = np.float32([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]])


class Case(NamedTuple):
    """The shape of the images, the window, and the options of a pooling."""

    images: tuple[int, ...]
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: Any


@st.composite
def cases(draw):
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window, strides = draw(pair), draw(pair)
    # A window that lies in the padding alone has no largest pixel to send a gradient to.
    sides = [st.tuples(*[st.integers(0, size - 1)] * 2) for size in window]
    number = st.integers(0, min(window) - 1)
    padding = draw(st.sampled_from(["SAME", "VALID"]) | number | st.tuples(*sides))
    sizes = (size + draw(st.integers(0, 4)) for size in window)
    images = (draw(st.integers(1, 2)), *sizes, draw(st.integers(1, 3)))
    return Case(images, window, strides, padding)


def max_pool_of_lax(images, window, *, strides, padding):
    padding = padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]
    full_window, full_strides = (1, *window, 1), (1, *strides, 1)
    return lax.reduce_window(images, -jnp.inf, lax.max, full_window, full_strides, padding)


REFERENCES = {
    "average": lambda images, window, **options: flax.linen.avg_pool(images, window, **options),
    "max": max_pool_of_lax,
}


def value_and_gradient(pool, images):
    maps, pull_back = jax.vjp(pool, images)
    weights = (jnp.arange(maps.size) * 5 % 7 - 3).reshape(maps.shape).astype(maps.dtype)
    return maps, *pull_back(weights)


@pytest.mark.parametrize(
    ("name", "expected"), [("max", [[9, 7], [8, 6]]), ("average", [[4.25, 4.25], [4.25, 3.5]])]
)
def test_example_of_the_lecture(name, expected):
    images = jnp.asarray(FEATURE_MAP)[None, :, :, None]
    np.testing.assert_array_equal(POOLINGS[name](images)[0, :, :, 0], expected)
    np.testing.assert_array_equal(POOLINGS[name](images, 2, strides=2)[0, :, :, 0], expected)


@pytest.mark.parametrize("name", POOLINGS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(case=cases())
def test_value_and_gradient_equal_the_reference(name, case):
    pads = [(case.padding,) * 2] * 2 if isinstance(case.padding, int) else case.padding
    ours = partial(POOLINGS[name], window=case.window, strides=case.strides, padding=case.padding)
    other = partial(REFERENCES[name], window=case.window, strides=case.strides, padding=pads)
    # Few different values, so that most windows have several largest ones.
    images = np.random.default_rng(0).integers(-1, 2, case.images).astype(np.float32)
    result, expected = jax.jit(
        lambda images: (value_and_gradient(ours, images), value_and_gradient(other, images))
    )(images)
    for array, same in zip(result, expected, strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-6, atol=1e-6)


def test_gradient_of_a_tie_goes_to_the_first_in_reading_order():
    images = jnp.asarray([[0.0, 1, 1], [1, 1, 0], [0, 0, 1]])[None, :, :, None]
    gradient = jax.grad(lambda images: jnp.sum(max_pool(images, 3)))(images)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("name", POOLINGS)
def test_nan_spoils_its_windows_and_no_other(name):
    pool = partial(POOLINGS[name], window=(2, 3), strides=1)
    places = [(row, column) for row in range(4) for column in range(4)]
    images = np.tile(FEATURE_MAP, (16, 1, 1))
    for image, place in zip(images, places, strict=True):
        image[place] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 3), axis=(1, 2))
    spoiled = np.isnan(windows).any(axis=(3, 4))
    np.testing.assert_array_equal(np.isnan(pool(images[..., None])[..., 0]), spoiled)


@pytest.mark.parametrize(("name", "empty"), [("max", -np.inf), ("average", 0.0)])
def test_what_padding_counts_as(name, empty):
    images = jnp.full((1, 1, 1, 1), -2.0)
    maps = POOLINGS[name](images, 1, padding=1)[0, :, :, 0]
    expected = np.full((3, 3), empty)
    expected[1, 1] = -2
    np.testing.assert_array_equal(maps, expected)


def test_padding_enters_the_average_as_zero():
    maps = avg_pool(jnp.ones((1, 2, 2, 1)), 2, strides=1, padding="SAME")
    np.testing.assert_array_equal(maps[0, :, :, 0], [[1, 0.5], [0.5, 0.25]])


@pytest.mark.parametrize("name", POOLINGS)
def test_bfloat16_is_kept(name):
    images = jnp.asarray(FEATURE_MAP, jnp.bfloat16)[None, :, :, None]
    maps, gradient = value_and_gradient(partial(POOLINGS[name], padding=1), images)
    assert maps.dtype == gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((4, 4, 1), {}, "images must be n h w c"),
        ((1, 4, 4, 1), {"window": 0}, "window and strides must be at least 1"),
        ((1, 4, 4, 1), {"strides": (1, 0)}, "window and strides must be at least 1"),
        ((1, 4, 4, 1), {"window": (5, 2)}, "window of 5 pixels does not fit an image of 4"),
        ((1, 4, 4, 1), {"window": (2, 7), "padding": 1}, "window of 7 .* image of 6"),
        ((1, 4, 4, 1), {"padding": "FULL"}, "padding must be SAME, VALID"),
        ((1, 4, 4, 1), {"padding": -1}, "padding must not be negative"),
    ],
)
def test_arguments_that_do_not_fit(name, shape, options, words):
    with pytest.raises(ValueError, match=words):
        POOLINGS[name](jnp.zeros(shape), **options)


def test_global_average():
    images = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(global_avg_pool(jnp.asarray(images)), images.mean((1, 2)), rtol=1e-5)
    gradient = jax.grad(lambda images: jnp.sum(global_avg_pool(images)))(images)
    np.testing.assert_allclose(gradient, np.full_like(images, 1 / 15), rtol=1e-6)
