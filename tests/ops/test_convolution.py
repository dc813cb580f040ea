from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax.ops import LOWERINGS, conv2d, output_size

IMAGE = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
FILTER = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
FEATURE_MAP = [[4, 3, 4], [2, 4, 3], [2, 3, 4]]
OWN = ("auto", "products", "blocks")
few = partial(settings, deadline=None, derandomize=True)


class Case(NamedTuple):
    """The shapes of one convolution and its options, as `conv2d` takes them."""

    images: tuple[int, ...]
    kernel: tuple[int, ...]
    options: dict[str, Any]


def pair(value):
    return (value, value) if isinstance(value, int) else value


def both_sides(padding):
    return (pair(padding),) * 2 if isinstance(padding, int) else padding


@st.composite
def cases(draw):
    steps = st.tuples(st.integers(1, 3), st.integers(1, 3))
    sides = st.tuples(st.integers(0, 3), st.integers(0, 3))
    height, width = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    strides, dilation = draw(steps), draw(steps)
    explicit = st.tuples(sides, sides)
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.integers(0, 3) | explicit)
    channels, filters, groups = draw(st.tuples(*map(st.integers, (1, 1, 1), (6, 3, 3))))
    spans = (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1
    # The window must fit the padded image, which may be smaller than it; SAME makes it fit.
    if isinstance(padding, str):
        pads = {"SAME": spans, "VALID": (0, 0)}[padding]
    else:
        pads = tuple(map(sum, both_sides(padding)))
    least = [max(1, span - pad) for span, pad in zip(spans, pads, strict=True)]
    sizes = [size + draw(st.integers(0, 4)) for size in least]
    return Case(
        (draw(st.integers(1, 2)), *sizes, channels * groups),
        (height, width, channels, filters * groups),
        {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups},
    )


# Padding beyond the reach of the kernel, in both forms of the product.
BEYOND = {"strides": 1, "padding": 1, "dilation": 1, "groups": 1}
BEYOND_TAPS = Case((1, 3, 4, 5), (1, 1, 5, 2), BEYOND)
BEYOND_PATCHES = Case((1, 3, 4, 2), (1, 1, 2, 2), BEYOND)
ONE_SIDED = Case((1, 4, 5, 6), (3, 2, 6, 2), BEYOND | {"padding": ((3, 0), (3, 0))})


def reference(images, kernel, *, strides=1, padding="SAME", dilation=1, groups=1):
    """The convolution by JAX."""
    return lax.conv_general_dilated(
        images,
        kernel,
        pair(strides),
        padding if isinstance(padding, str) else both_sides(padding),
        rhs_dilation=pair(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def whole_numbers(seed, *shapes, largest=3, dtype=np.float32):
    """Arrays whose products and sums are exact, so that results must agree to the last bit."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-largest, largest + 1, shape).astype(dtype) for shape in shapes]


def value_and_gradients(convolve, images, kernel):
    """The feature maps and both gradients of a weighting of them that has no symmetry."""
    maps, pull_back = jax.vjp(convolve, images, kernel)
    weights = (jnp.arange(maps.size) * 5 % 7 - 3).reshape(maps.shape).astype(maps.dtype)
    return maps, *pull_back(weights)


def agree(check, *arrays):
    """Compiles once; `check` maps the arrays to several results that should be the same."""
    first, *others = jax.jit(check)(*arrays)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, other, first)


def test_example_of_the_lecture():
    images = jnp.asarray(IMAGE, jnp.float32)[None, :, :, None]
    kernel = jnp.asarray(FILTER, jnp.float32)[:, :, None, None]
    for lowering in LOWERINGS:
        maps = conv2d(images, kernel, padding="VALID", lowering=lowering)
        assert maps[0, 0, 0, 0] == 4
        np.testing.assert_array_equal(maps[0, :, :, 0], FEATURE_MAP)


def test_kernel_is_not_flipped():
    images = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    np.testing.assert_array_equal(conv2d(images, kernel)[0, ..., 0], kernel[::-1, ::-1, 0, 0])


@few(max_examples=25)
@given(cases())
@example(BEYOND_TAPS)
@example(BEYOND_PATCHES)
@example(ONE_SIDED)
def test_value_and_gradients_equal_those_of_lax(case):
    convolutions = [partial(reference, **case.options)]
    convolutions += [partial(conv2d, lowering=name, **case.options) for name in LOWERINGS]

    def check(images, kernel):
        return [value_and_gradients(convolve, images, kernel) for convolve in convolutions]

    agree(check, *whole_numbers(0, case.images, case.kernel))


@few(max_examples=10)
@given(cases(), st.sampled_from(LOWERINGS))
@example(BEYOND_TAPS, "blocks")
@example(BEYOND_PATCHES, "blocks")
def test_a_bias_is_added_to_every_map(case, lowering):
    images, kernel, bias = whole_numbers(1, case.images, case.kernel, case.kernel[3:])
    convolve = partial(conv2d, lowering=lowering, **case.options)
    maps, back = jax.vjp(convolve, images, kernel, bias)
    plain, plain_back = jax.vjp(convolve, images, kernel)
    dmaps = whole_numbers(2, maps.shape)[0]
    np.testing.assert_array_equal(maps, plain + bias)
    *found, dbias = back(jnp.asarray(dmaps))
    jax.tree.map(np.testing.assert_array_equal, found, list(plain_back(jnp.asarray(dmaps))))
    np.testing.assert_array_equal(dbias, np.sum(dmaps, (0, 1, 2)))


@few(max_examples=8)
@given(cases(), st.sampled_from(OWN))
@example(BEYOND_TAPS, "auto")
def test_vmap_and_scan_equal_lax_one_by_one(case, lowering):
    convolve = partial(conv2d, lowering=lowering, **case.options)
    both = partial(value_and_gradients, convolve)
    expected = partial(value_and_gradients, partial(reference, **case.options))

    def check(images, kernels):
        def one_by_one(pairs):
            results = [expected(images[i], kernels[j]) for i, j in pairs]
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

        def scanned(carry, pair):
            return carry, both(*pair)

        matched = one_by_one([(0, 0), (1, 1)])
        return [
            (matched, matched, one_by_one([(0, 0), (1, 0)]), one_by_one([(0, 0), (0, 1)])),
            (
                lax.scan(scanned, None, (images, kernels))[1],
                jax.vmap(both)(images, kernels),
                jax.vmap(both, (0, None))(images, kernels[0]),
                jax.vmap(both, (None, 0))(images[0], kernels),
            ),
        ]

    agree(check, *whole_numbers(1, (2, *case.images), (2, *case.kernel)))


@pytest.mark.parametrize("image_axis", [1, 4])
def test_vmap_over_another_axis(image_axis):
    images, kernels = whole_numbers(2, (2, 5, 6, 6, 2), (3, 3, 6, 4, 2))

    def check(images, kernels):
        return [
            jax.vmap(convolve, (image_axis, 4))(jnp.moveaxis(images, 4, image_axis), kernels)
            for convolve in (reference, conv2d, partial(conv2d, lowering="products"))
        ]

    agree(check, images, kernels)


@pytest.mark.parametrize(
    "case",
    [
        Case((2, 5, 4, 2), (3, 2, 2, 3), {}),
        Case((2, 5, 4, 6), (3, 3, 6, 3), {}),
        Case((1, 7, 6, 10), (3, 2, 5, 4), {"groups": 2, "strides": (1, 2), "dilation": 2}),
        BEYOND_TAPS,
    ],
)
def test_second_order_gradient(case):
    def second_order(convolve, images, kernel, moves):
        def along(*arrays):
            maps, pull_back = jax.vjp(partial(convolve, **case.options), *arrays)
            grads = pull_back(2 * maps)
            return sum(jnp.vdot(grad, move) for grad, move in zip(grads, moves, strict=True))

        return jax.grad(along, (0, 1))(images, kernel)

    def check(images, kernel, *moves):
        convolutions = [reference, conv2d, partial(conv2d, lowering="products")]
        return [second_order(convolve, images, kernel, moves) for convolve in convolutions]

    agree(check, *whole_numbers(3, *[case.images, case.kernel] * 2, largest=1))


def test_forward_mode_of_the_lax_form():
    arrays = whole_numbers(4, (1, 4, 4, 2), (3, 3, 2, 2))

    def check(*arrays):
        convolutions = [reference, partial(conv2d, lowering="lax")]
        return [jax.jvp(convolve, arrays, arrays) for convolve in convolutions]

    agree(check, *arrays)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("channels", [2, 6])
def test_bfloat16_is_kept(lowering, channels):
    shapes = (2, 5, 5, channels), (3, 3, channels, 4)
    arrays = whole_numbers(5, *shapes, largest=1, dtype=jnp.bfloat16)
    results = jax.jit(partial(value_and_gradients, partial(conv2d, lowering=lowering)))(*arrays)
    expected = value_and_gradients(reference, *(array.astype(np.float32) for array in arrays))
    for result, exact in zip(results, expected, strict=True):
        assert result.dtype == jnp.bfloat16
        np.testing.assert_array_equal(result, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("images", "kernel", "options", "words"),
    [
        ((4, 4, 1), (3, 3, 1, 1), {}, "images must be n h w c"),
        ((1, 4, 4, 1), (3, 3, 1), {}, "kernel kh kw c f"),
        ((1, 4, 4, 2), (3, 3, 1, 1), {}, "2 channels and a kernel of 1 channels"),
        ((1, 4, 4, 4), (3, 3, 2, 3), {"groups": 2}, r"3 filters do not fit 2 group\(s\)"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"groups": 0}, r"do not fit 0 group\(s\)"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"strides": 0}, "strides and dilation must be at least 1"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"dilation": (1, 0)}, "must be at least 1"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"padding": "FULL"}, "padding must be SAME, VALID.*'FULL'"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"padding": -1}, "padding must not be negative"),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"padding": ((0, 0), (0, -1))}, "must not be negative"),
        ((1, 2, 4, 1), (3, 3, 1, 1), {"padding": "VALID"}, "does not fit .* 2 .*along the height"),
        (
            (1, 9, 4, 1),
            (3, 3, 1, 1),
            {"padding": 1, "dilation": 3},
            "spans 7 .* 6 .*along the width",
        ),
        ((1, 4, 4, 1), (3, 3, 1, 1), {"lowering": "fft"}, "lowering must be one of auto.*'fft'"),
    ],
)
def test_arguments_that_do_not_fit(images, kernel, options, words):
    with pytest.raises(ValueError, match=words):
        conv2d(jnp.zeros(images), jnp.zeros(kernel), **options)


def test_a_bias_for_each_filter():
    with pytest.raises(ValueError, match=r"3 filters need a bias each, got \(2,\)"):
        conv2d(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 3)), jnp.zeros(2))


def test_dtypes_that_differ():
    with pytest.raises(ValueError, match="differ in dtype: bfloat16 and float32"):
        conv2d(jnp.zeros((1, 4, 4, 1), jnp.bfloat16), jnp.zeros((3, 3, 1, 1)))


def test_spellings_of_the_same_options():
    images, kernel = map(jnp.asarray, whole_numbers(6, (1, 6, 7, 2), (3, 3, 2, 2)))
    convolve = partial(conv2d, images, kernel)
    np.testing.assert_array_equal(convolve(padding="same"), convolve(padding="SAME"))
    np.testing.assert_array_equal(convolve(padding=0), convolve(padding="VALID"))
    np.testing.assert_array_equal(convolve(padding=[[1, 1], [1, 1]]), convolve(padding=1))
    np.testing.assert_array_equal(convolve(strides=2), convolve(strides=(2, 2)))
    np.testing.assert_array_equal(
        convolve(dilation=2, padding="VALID"), convolve(dilation=(2, 2), padding="VALID")
    )


@few(max_examples=100)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2) | st.just("x"))
def test_output_size_is_that_of_lax(extra, kernel, stride, padding):
    inputs = kernel + extra - 1
    padding = "SAME" if padding == "x" else padding
    shapes = jnp.zeros((1, inputs, inputs, 1)), jnp.zeros((kernel, kernel, 1, 1))
    expected = jax.eval_shape(partial(reference, strides=stride, padding=padding), *shapes).shape
    size = output_size(inputs, kernel, stride=stride, padding=padding)
    assert (1, size, size, 1) == expected


def test_output_size():
    assert output_size(5, 3, padding="VALID") == 3
    assert output_size(5, 3, stride=2) == 3
    assert output_size(2, 5, padding="VALID") <= 0
    with pytest.raises(ValueError, match="padding must be"):
        output_size(5, 3, padding="FULL")


def test_sizes_of_numpy_and_an_empty_batch():
    images, kernel = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 4))
    two, one = np.int64(2), np.int64(1)
    assert conv2d(images, kernel, strides=two, padding=one).shape == (2, 3, 3, 4)
    assert conv2d(images[:0], kernel).shape == (0, 5, 5, 4)
    gradient = jax.grad(lambda kernel: conv2d(images[:0], kernel).sum())(kernel)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(kernel))
    for wrong in ({"strides": 1.5}, {"strides": (2, 1, 1)}, {"padding": (1, 1)}):
        with pytest.raises(ValueError, match="got"):
            conv2d(images, kernel, **wrong)
