"""Convolution as XLA's own, in the form that XLA for CPU hands to oneDNN, where it is told to.

oneDNN takes convolutions whose input is not dilated and whose window is not reversed. JAX's
gradient with respect to the images reverses it; here it is a convolution with a kernel that is
turned by itself. The gradient of the kernel has a window as large as the image, which oneDNN takes
no advantage of, and comes from the products, and so does that of the images behind a stride.
"""

from functools import partial

import jax
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops._products import Geometry, Taps, products, transposed

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def native(
    geometry: Geometry, images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw cg f"]
) -> Float[Array, "n oh ow f"]:
    """The feature maps of a convolution of this shape, by `lax.conv_general_dilated`."""
    rows, columns = geometry.rows, geometry.columns
    return lax.conv_general_dilated(
        images,
        kernel,
        (rows.stride, columns.stride),
        [_pads(rows), _pads(columns)],
        rhs_dilation=(rows.dilation, columns.dilation),
        dimension_numbers=DIMENSIONS,
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def _pads(taps: Taps) -> tuple[int, int]:
    reach = (taps.outputs - 1) * taps.stride + (taps.kernel - 1) * taps.dilation + 1
    return taps.low, reach - taps.low - taps.inputs


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def onednn(
    geometry: Geometry, images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw cg f"]
) -> Float[Array, "n oh ow f"]:
    """The feature maps of a convolution of this shape, with gradients that are fast in oneDNN."""
    # Without the barrier XLA has oneDNN apply SiLU or ELU too, and the gradient reads their values
    # where it needs what they are of.
    return lax.optimization_barrier(native(geometry, images, kernel))


def _backward(geometry: Geometry, residuals: tuple[Array, Array], dy: Array) -> tuple:
    images, kernel = residuals
    _, to_kernel = jax.vjp(lambda kernel: products(geometry, images, kernel), kernel)
    if geometry.groups > 1 or max(geometry.rows.stride, geometry.columns.stride) > 1:
        _, to_images = jax.vjp(lambda images: products(geometry, images, kernel), images)
        return *to_images(dy), *to_kernel(dy)
    back = geometry._replace(rows=transposed(geometry.rows), columns=transposed(geometry.columns))
    # Without the barrier XLA makes a convolution with a reversed window of it.
    turned = lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3))
    return native(back, dy, turned), *to_kernel(dy)


onednn.defvjp(
    lambda geometry, images, kernel: (onednn(geometry, images, kernel), (images, kernel)), _backward
)
