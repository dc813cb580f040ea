"""What the convolution becomes on each platform, and inside the layer of flax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.ops import conv2d, conv_general_dilated, lowering_on_accelerators


def loss(images, kernel, precision=None):
    return jnp.sum(conv2d(images, kernel, groups=2, precision=precision) ** 2)


def lowered(function, *platforms):
    """The program that `function` becomes on other machines."""
    shapes = jax.ShapeDtypeStruct((2, 6, 6, 4), "float32"), jax.ShapeDtypeStruct((3, 3, 2, 4), "f4")
    return jax.export.export(jax.jit(function), platforms=platforms)(*shapes).mlir_module()


@pytest.mark.parametrize("function", [loss, jax.grad(loss, (0, 1))], ids=["value", "gradient"])
@pytest.mark.parametrize(("platform", "native"), [("cpu", False), ("tpu", True), ("cuda", True)])
def test_each_platform_gets_its_form_alone(function, platform, native):
    program = lowered(function, platform)
    assert ("stablehlo.convolution" in program) == native
    assert ("stablehlo.dot_general" in program) != native


@pytest.mark.parametrize(("platform", "native"), [("tpu", True), ("cuda", False), ("rocm", False)])
@pytest.mark.parametrize(
    ("channels", "strides", "narrow"), [(8, 1, True), (9, 1, False), (8, 2, False)]
)
def test_few_channels_are_products_on_a_gpu(platform, native, channels, strides, narrow):
    shapes = ((2, 6, 6, channels), (3, 3, channels, 4))
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    convolve = jax.jit(partial(conv2d, strides=strides))
    program = jax.export.export(convolve, platforms=[platform])(*arrays).mlir_module()
    assert ("stablehlo.convolution" in program) == (native or not narrow)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_kernels_of_many_networks_are_products_where_it_is_said(platform):
    def together(images, kernel):
        with lowering_on_accelerators("blocks"):
            return loss(images, kernel)

    program = lowered(together, platform)
    assert "stablehlo.convolution" not in program
    assert "stablehlo.dot_general" in program


def test_one_program_for_several_platforms():
    program = lowered(jax.grad(loss), "cpu", "tpu")
    assert "stablehlo.convolution" in program
    assert "stablehlo.dot_general" in program


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_precision_reaches_every_product(platform):
    program = lowered(jax.grad(partial(loss, precision="highest"), (0, 1)), platform)
    assert "HIGHEST" in program
    assert "DEFAULT" not in program


def as_nnx(**options):
    """A layer of flax, whose weights depend on nothing but its options."""
    return nnx.Conv(4, 6, kernel_size=(3, 3), rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2, "padding": "VALID"},
        {"padding": ((2, 0), (1, 1)), "kernel_dilation": (1, 2), "use_bias": False},
        {"feature_group_count": 2, "padding": 1},
        {"padding": "CIRCULAR", "dtype": jnp.bfloat16},
    ],
)
def test_inside_the_layer_of_flax(options):
    images = jnp.asarray(np.random.default_rng(7).normal(size=(2, 7, 6, 4)), jnp.float32)

    @nnx.jit
    def maps_and_gradients(layer, images):
        gradient = nnx.grad(lambda *both: jnp.sum(both[0](both[1]) ** 2), argnums=(0, 1))
        return layer(images), *gradient(layer, images)

    expected = maps_and_gradients(as_nnx(**options), images)
    results = maps_and_gradients(
        as_nnx(conv_general_dilated=conv_general_dilated, **options), images
    )
    digits = 2e-2 if "dtype" in options else 1e-4
    same = partial(np.testing.assert_allclose, rtol=digits, atol=10 * digits)
    for result, other in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        assert result.dtype == other.dtype
        same(np.asarray(result, np.float32), np.asarray(other, np.float32))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lhs_dilation": (2, 1)}, "does not dilate its input"),
        ({"dimension_numbers": ("NCHW", "HWIO", "NHWC")}, "NHWC images and HWIO kernels"),
        ({"dimension_numbers": None}, "NHWC images and HWIO kernels"),
        ({"out_sharding": "x"}, "sharding"),
    ],
)
def test_what_the_general_form_does_not_take(options, words):
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")} | options
    with pytest.raises(ValueError, match=words):
        conv_general_dilated(jnp.zeros((1, 4, 4, 4)), jnp.zeros((3, 3, 4, 4)), (1, 1), 0, **options)
