"""Convolution as calls of `cnn_jax/native/convolution.cc`, which makes no matrix of the windows.

Forward pass, gradient of the images and gradient of the kernel are two functions, each of which is
linear in both arguments, so their derivatives are the two functions again, to any order. What they
do not take (holes, few or very many filters) comes from the products.
"""

import ctypes
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops._products import Geometry, Taps, products, transposed

MAPS, KERNEL_GRADIENT = "cnn_jax_maps", "cnn_jax_kernel_gradient"
# Filters come in such groups; zeros fill one up where they are few beside the filters.
_GROUP, _MOST_FILLED = 8, 4 / 3
# Measured: a larger kernel does not stay in the caches.
_MOST_TAPS = 1 << 20
_registered: list[ctypes.CDLL] = []


def register_direct(library: ctypes.CDLL) -> None:
    """Makes the functions of `cnn_jax/native/convolution.cc` known to XLA for CPU, once.

    Raises:
        AttributeError: if the library lacks one.
    """
    if _registered:
        return
    for target in (MAPS, KERNEL_GRADIENT):
        function = jax.ffi.pycapsule(getattr(library, target))
        jax.ffi.register_ffi_target(target, function, platform="cpu")
    _registered.append(library)


def unregister_direct() -> None:
    """Takes the library back, which was found wrong."""
    _registered.clear()


def direct(
    geometry: Geometry, images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c f"]
) -> Float[Array, "n oh ow f"]:
    """The feature maps of a convolution of this shape; by products where no library is there."""
    taken = bool(_registered) and images.dtype == jnp.float32 and geometry.groups == 1
    taken &= max(geometry.rows.dilation, geometry.columns.dilation) == 1
    # A window of one pixel is a product without any copies.
    taken &= max(geometry.rows.kernel, geometry.columns.kernel) > 1
    return (_maps if taken else products)(geometry, images, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _maps(geometry: Geometry, images: Array, kernel: Array) -> Array:
    filters = kernel.shape[3]
    filled = _filled(geometry, kernel.shape[2], filters)
    if not filled:
        return products(geometry, images, kernel)
    sizes = geometry.rows.outputs, geometry.columns.outputs
    maps = _call(MAPS, geometry, (len(images), *sizes, filled), images, _fill(kernel, filled))
    return maps[..., :filters]


def _maps_backward(geometry: Geometry, residuals: tuple[Array, Array], dy: Array) -> tuple:
    images, kernel = residuals
    return _images_gradient(geometry, dy, kernel), _kernel_gradient(geometry, images, dy)


def _images_gradient(geometry: Geometry, dy: Array, kernel: Array) -> Array:
    """By maps of the kernel that is turned, where outputs of a stride have zeros between them."""
    back = [transposed(taps) for taps in (geometry.rows, geometry.columns)]
    if min(taps.low for taps in back) < 0 or not _filled(geometry, *kernel.shape[:1:-1]):
        shape = (len(dy), geometry.rows.inputs, geometry.columns.inputs, kernel.shape[2])
        _, to_images = jax.vjp(partial(products, geometry, kernel=kernel), jnp.zeros(shape))
        return to_images(dy)[0]
    rows, columns = (
        taps._replace(stride=1, inputs=(taps.inputs - 1) * taps.stride + 1) for taps in back
    )
    between = [(0, 0, taps.stride - 1) for taps in back]
    spread = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *between, (0, 0, 0)))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _maps(geometry._replace(rows=rows, columns=columns), spread, turned)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(geometry: Geometry, images: Array, dy: Array) -> Array:
    channels, filters = images.shape[3], dy.shape[3]
    shape = (geometry.rows.kernel, geometry.columns.kernel, channels)
    filled = _filled(geometry, channels, filters)
    if not filled:
        kernel = jnp.zeros((*shape, filters))
        return jax.vjp(partial(products, geometry, images), kernel)[1](dy)[0]
    gradient = _call(KERNEL_GRADIENT, geometry, (*shape, filled), images, _fill(dy, filled))
    return gradient[..., :filters]


def _kernel_gradient_backward(
    geometry: Geometry, residuals: tuple[Array, Array], kernel: Array
) -> tuple:
    images, dy = residuals
    return _images_gradient(geometry, dy, kernel), _maps(geometry, images, kernel)


_maps.defvjp(
    lambda geometry, images, kernel: (_maps(geometry, images, kernel), (images, kernel)),
    _maps_backward,
)
_kernel_gradient.defvjp(
    lambda geometry, images, dy: (_kernel_gradient(geometry, images, dy), (images, dy)),
    _kernel_gradient_backward,
)


def _filled(geometry: Geometry, channels: int, filters: int) -> int:
    """With how many filters the library is called; 0 where products are faster."""
    filled = -(-filters // _GROUP) * _GROUP
    taps = geometry.rows.kernel * geometry.columns.kernel * channels * filled
    return filled if filled <= filters * _MOST_FILLED and taps <= _MOST_TAPS else 0


def _fill(x: Array, filters: int) -> Array:
    missing = filters - x.shape[3]
    return jnp.pad(x, (*((0, 0),) * 3, (0, missing))) if missing else x


def _call(target: str, geometry: Geometry, shape: tuple[int, ...], *arguments: Array) -> Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    taps = [*_numbers(geometry.rows), *_numbers(geometry.columns)]
    call = jax.ffi.ffi_call(target, result, vmap_method="sequential")
    return call(*arguments, taps=np.array(taps, np.int64))


def _numbers(taps: Taps) -> tuple[int, ...]:
    return taps.kernel, taps.stride, taps.low, taps.inputs, taps.outputs
