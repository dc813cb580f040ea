"""Convolution by the library against that by XLA: maps and both orders of gradients, exactly."""

import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnn_jax import native
from cnn_jax.ops import conv2d

pytestmark = pytest.mark.skipif(native.load() is None, reason="there is no C++ compiler")


@st.composite
def shapes(draw) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Of images and kernel, with options; filters and channels in and beside whole groups."""
    height, width = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    channels = draw(st.sampled_from([1, 3, 5, 6, 8, 16, 17, 72]))
    filters = draw(st.sampled_from([3, 6, 8, 14, 16, 24, 32, 40, 104]))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    sides = st.tuples(st.integers(0, 3), st.integers(0, 3))
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(sides, sides))
    sizes = [span + draw(st.integers(0, 18)) for span in (height, width)]
    images = (draw(st.integers(1, 3)), *sizes, channels)
    return images, (height, width, channels, filters), {"strides": strides, "padding": padding}


def whole_numbers(seed: int, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Arrays whose products and sums are exact, so that results must agree to the last bit."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.integers(-3, 4, shape), jnp.float32) for shape in shapes]


def derivatives(lowering, options, images, kernel, *patterns):
    """Maps, the gradients of a weighting of them, and the gradients of a weighting of these."""
    convolve = partial(conv2d, lowering=lowering, **options)
    maps = convolve(images, kernel)
    weights = (jnp.arange(maps.size) * 5 % 7 - 3.0).reshape(maps.shape)

    def gradients(images, kernel, weights):
        return jax.vjp(convolve, images, kernel)[1](weights)

    def weighted(*arguments):
        pairs = zip(gradients(*arguments), patterns, strict=True)
        return sum(jnp.sum(gradient * pattern) for gradient, pattern in pairs)

    arguments = images, kernel, weights
    return maps, gradients(*arguments), jax.grad(weighted, (0, 1, 2))(*arguments)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(shapes())
@example(((2, 9, 9, 1), (5, 5, 1, 6), {"strides": 1, "padding": "SAME"}))
@example(((1, 2, 3, 8), (3, 3, 8, 8), {"strides": 3, "padding": ((3, 0), (0, 3))}))
@example(((40, 8, 8, 16), (3, 3, 16, 32), {"strides": 2, "padding": "SAME"}))
def test_values_and_gradients_equal_those_of_lax(case):
    images, kernel, options = case
    arrays = whole_numbers(0, images, kernel, images, kernel)
    expected = jax.jit(partial(derivatives, "lax", options))(*arrays)
    found = jax.jit(partial(derivatives, "direct", options))(*arrays)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_trials_in_front_are_taken_one_after_the_other():
    images, kernels = whole_numbers(1, (3, 2, 8, 8, 3), (3, 3, 3, 3, 8))
    for axes in ((0, 0), (None, 0), (0, None)):
        given = [a if axis == 0 else a[0] for a, axis in zip((images, kernels), axes, strict=True)]
        found, expected = (
            jax.jit(jax.vmap(partial(conv2d, lowering=lowering), axes))(*given)
            for lowering in ("direct", "lax")
        )
        np.testing.assert_array_equal(found, expected)


GRADIENT = """
import hashlib, os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}])
import jax, jax.numpy as jnp, numpy as np
from cnn_jax import native
from cnn_jax.ops import conv2d
assert native.load()
rng = np.random.default_rng(0)
images, errors = (
    jnp.asarray(rng.normal(size=(64, 16, 16, count)), jnp.float32) for count in (8, 16)
)
convolve = lambda kernel: conv2d(images, kernel, lowering="direct")
gradient = jax.jit(jax.vjp(convolve, jnp.zeros((3, 3, 8, 16)))[1])(errors)[0]
print(hashlib.sha256(np.asarray(gradient).tobytes()).hexdigest())
"""


def test_sums_have_one_order_on_one_core_and_on_many():
    one, many, again = (
        subprocess.run(
            [sys.executable, "-c", GRADIENT.format(cores=cores)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for cores in (1, None, None)
    )
    assert one == many == again


@pytest.mark.parametrize(
    "images, kernel, options, taken",
    [
        ((8, 8, 8, 8), (3, 3, 8, 8), {}, True),
        ((8, 8, 8, 8), (3, 3, 8, 6), {}, True),
        ((8, 8, 8, 8), (3, 3, 8, 5), {}, False),
        ((8, 8, 8, 8), (1, 1, 8, 8), {}, False),
        ((8, 8, 8, 8), (3, 3, 8, 8), {"dilation": 2}, False),
        ((8, 8, 8, 8), (3, 3, 4, 8), {"groups": 2}, False),
        ((1, 4, 4, 512), (3, 3, 512, 512), {}, False),
    ],
)
def test_what_it_takes(images, kernel, options, taken):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (images, kernel)]
    program = jax.jit(partial(conv2d, lowering="direct", **options)).lower(*arrays)
    assert ("cnn_jax_maps" in program.as_text()) == taken
