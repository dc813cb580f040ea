"""Two-dimensional convolution that is fast on every platform, inside `scan` and under `vmap`.

On GPU and TPU it is `lax.conv_general_dilated`. On CPU XLA's own convolution is slow inside a
compiled loop and slower still when vmapped, so there it is written as matrix products, which XLA
runs near the machine's peak. The choice is made when the program is lowered, not when it is traced,
so that one traced program can be exported for several platforms.

Two forms of the product, chosen by the number of input channels:

* *patches* (im2col; Chellapilla et al. 2006): every window becomes one row of a matrix, one product
  does the rest. Best when there are few channels: the rows are short.
* *separable taps*: with K_x columns and K_y rows in the kernel, gather the K_x columns of a window
  side by side, multiply once by all K_y rows of the kernel, then add the K_y products shifted by
  one row each. It reads and writes K_x + K_y copies of the image where patches need K_x * K_y.

Gathering along an axis and scattering along it are each other's transpose, so each is the other's
gradient, and the backward pass has the same cost and shape as the forward pass.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Lowering = Literal["auto", "products", "lax"]
LOWERINGS: tuple[Lowering, ...] = ("auto", "products", "lax")
Padding = str | int | Sequence[tuple[int, int]]

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Measured: up to this many channels per group the patches of a window fit a few vector registers.
_PATCHES_UP_TO = 4
# With so few channels a patch is short and the product narrow. A patch that serves a block of
# neighbouring outputs costs products with zeros and saves more in copies, up to so many times the
# arithmetic: fewer where the filters alone make the product wide (measured: WORKSPACE.md).
_BLOCKS = ((2, 4), (1, 4), (2, 2), (1, 2))
_NARROW = 16
_MOST_ARITHMETIC = 1.5
_MOST_ARITHMETIC_IF_NARROW = 2.0


class Taps(NamedTuple):
    """A kernel along one axis: for output t, tap j reads input t * stride + j * dilation - low."""

    kernel: int
    stride: int
    dilation: int
    low: int
    inputs: int
    outputs: int


class Geometry(NamedTuple):
    """A convolution's static shape: the taps along the height and the width, and the groups."""

    rows: Taps
    columns: Taps
    groups: int
    precision: lax.PrecisionLike


def conv2d(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw cg f"],
    *,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
    lowering: Lowering = "auto",
) -> Float[Array, "n oh ow f"]:
    """Slides `kernel` over `images` and sums the products: the feature map of every filter.

    Equal to `lax.conv_general_dilated` up to rounding, in value and both gradients. As in every
    deep learning library this is the cross-correlation: the kernel is not flipped. Reverse-mode
    differentiation works to any order; for forward mode choose `lowering="lax"`.

    Args:
      images: a batch of images or feature maps, channels last.
      kernel: f filters over windows of kh x kw pixels and cg = c / groups channels.
      strides: step of the window in pixels, at least 1.
      padding: "SAME" (output size is input size / stride, rounded up), "VALID" (windows inside the
        image only), a number of pixels for all sides, or ((top, bottom), (left, right)).
      dilation: distance in pixels between neighbouring taps of the kernel, at least 1.
      groups: the channels are split in this many groups, each seen by f / groups filters only.
      precision: of the products, as in `lax.dot_general`.
      lowering: "auto" picks by platform, "products" and "lax" force one form.

    Returns:
      The feature maps.

    Raises:
      ValueError: if shapes, strides, padding or groups do not fit each other.
    """
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering must be one of {', '.join(LOWERINGS)}, got {lowering!r}")
    geometry = _geometry(images, kernel, strides, padding, dilation, groups, precision)
    if lowering == "lax":
        return _native(geometry, images, kernel)
    if lowering == "products":
        return _products(geometry, images, kernel)
    return _by_platform(images, kernel, geometry)


def conv_general_dilated(
    lhs: Float[Array, "n h w c"],
    rhs: Float[Array, "kh kw cg f"],
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: object = None,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    out_sharding: object = None,
    *,
    lowering: Lowering = "auto",
) -> Float[Array, "n oh ow f"]:
    """`conv2d` with the signature that `nnx.Conv(conv_general_dilated=...)` calls.

    Raises:
      ValueError: if the layout is not NHWC and HWIO, if the input is dilated (a transposed
        convolution) or if an output sharding is asked for.
    """
    dimensions = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    if dimensions != lax.conv_dimension_numbers(lhs.shape, rhs.shape, _DIMENSIONS):
        raise ValueError(f"conv2d takes NHWC images and HWIO kernels, got {dimension_numbers}")
    if lhs_dilation is not None and any(d != 1 for d in lhs_dilation):
        raise ValueError(f"conv2d does not dilate its input, got lhs_dilation={lhs_dilation}")
    if out_sharding is not None:
        raise ValueError("conv2d leaves the sharding of its output to the compiler")
    return conv2d(
        lhs,
        rhs,
        strides=_pair(window_strides),
        padding=padding,
        dilation=_pair(rhs_dilation or 1),
        groups=feature_group_count,
        precision=precision,
        lowering=lowering,
    )


def output_size(inputs: int, kernel: int, *, stride: int = 1, padding: Padding = "SAME") -> int:
    """Pixels along one axis of the feature map: floor((inputs + padding - kernel) / stride) + 1.

    Not positive where the kernel is larger than the padded image.
    """
    low, high = _padding(padding, (inputs,) * 2, (kernel,) * 2, (stride,) * 2)[0]
    return (inputs + low + high - kernel) // stride + 1


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def _padding(
    padding: Padding, sizes: tuple[int, int], spans: tuple[int, int], strides: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f"padding must be SAME, VALID, a number or two pairs, got {padding!r}")
        rows, columns = lax.padtype_to_pads(sizes, spans, strides, padding.upper())
    elif isinstance(padding, int):
        rows = columns = (padding, padding)
    else:
        rows, columns = padding
    low_high = (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))
    if min(*low_high[0], *low_high[1]) < 0:
        raise ValueError(f"padding must not be negative, got {padding}")
    return low_high


def _geometry(
    images: Array,
    kernel: Array,
    strides: int | tuple[int, int],
    padding: Padding,
    dilation: int | tuple[int, int],
    groups: int,
    precision: lax.PrecisionLike,
) -> Geometry:
    if images.ndim != 4 or kernel.ndim != 4:
        raise ValueError(
            f"images must be n h w c and kernel kh kw c f, got {images.shape} and {kernel.shape}"
        )
    if images.dtype != kernel.dtype:
        raise ValueError(f"images and kernel differ in dtype: {images.dtype} and {kernel.dtype}")
    channels, filters = images.shape[3], kernel.shape[3]
    if groups < 1 or channels != kernel.shape[2] * groups or filters % groups:
        raise ValueError(
            f"{channels} channels and a kernel of {kernel.shape[2]} channels and {filters} filters "
            f"do not fit {groups} group(s)"
        )
    strides, dilation = _pair(strides), _pair(dilation)
    if min(*strides, *dilation) < 1:
        raise ValueError(f"strides and dilation must be at least 1, got {strides} and {dilation}")
    sizes = images.shape[1], images.shape[2]
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True))
    pads = _padding(padding, sizes, (spans[0], spans[1]), strides)
    taps = []
    for axis in range(2):
        padded = sizes[axis] + sum(pads[axis])
        if padded < spans[axis]:
            raise ValueError(
                f"a kernel that spans {spans[axis]} pixels does not fit an image of {padded} "
                f"(with padding) along the {('height', 'width')[axis]}"
            )
        taps.append(
            Taps(
                kernel=kernel.shape[axis],
                stride=strides[axis],
                dilation=dilation[axis],
                low=pads[axis][0],
                inputs=sizes[axis],
                outputs=(padded - spans[axis]) // strides[axis] + 1,
            )
        )
    return Geometry(taps[0], taps[1], groups, precision)


def _native(geometry: Geometry, images: Array, kernel: Array) -> Array:
    rows, columns = geometry.rows, geometry.columns
    pads = [
        (t.low, (t.outputs - 1) * t.stride + (t.kernel - 1) * t.dilation + 1 - t.low - t.inputs)
        for t in (rows, columns)
    ]
    return lax.conv_general_dilated(
        images,
        kernel,
        (rows.stride, columns.stride),
        pads,
        rhs_dilation=(rows.dilation, columns.dilation),
        dimension_numbers=_DIMENSIONS,
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def _products(geometry: Geometry, images: Array, kernel: Array) -> Array:
    if geometry.groups == 1:
        return _one_group(geometry, images, kernel)
    grouped = images.reshape(*images.shape[:3], geometry.groups, -1)
    filters = kernel.reshape(*kernel.shape[:3], geometry.groups, -1)
    maps = jax.vmap(partial(_one_group, geometry), in_axes=3, out_axes=3)(grouped, filters)
    return maps.reshape(*maps.shape[:3], -1)


def _one_group(geometry: Geometry, images: Array, kernel: Array) -> Array:
    rows, columns = geometry.rows, geometry.columns
    channels, filters = kernel.shape[2:]
    if channels <= _PATCHES_UP_TO:
        down, across = block = _block(rows, columns, filters)
        kernel = _blocked_kernel(kernel, block)
        patches = _gather(_gather(images, 2, _blocked(columns, across)), 1, _blocked(rows, down))
        maps = _product(patches, kernel.reshape(-1, down * across * filters), geometry.precision)
        # Rows of a block lie next to each other in the product, and one below the other in the map.
        maps = maps.reshape(*maps.shape[:3], down, -1).swapaxes(2, 3)
        return maps.reshape(len(images), rows.outputs, columns.outputs, filters)
    wide = _gather(images, 2, columns)
    if rows.stride > 1:
        patches = _gather(wide, 1, rows)
        return _product(patches, kernel.reshape(-1, filters), geometry.precision)
    # All rows of the kernel at once; row i of the kernel, meeting input row t, adds to output row
    # t + low - i: a scatter in which the kernel's rows run backwards.
    stacked = kernel[::-1].transpose(1, 2, 0, 3)
    products = _product(
        wide,
        stacked.reshape(columns.kernel * channels, rows.kernel * filters),
        geometry.precision,
    )
    return _scatter(products, 1, _reversed(rows))


def _block(rows: Taps, columns: Taps, filters: int) -> tuple[int, int]:
    """Rows and columns of the neighbouring outputs that share one patch; they divide a map."""
    if any(taps.stride > 1 or taps.dilation > 1 for taps in (rows, columns)):
        return 1, 1
    most = _MOST_ARITHMETIC if filters >= _NARROW else _MOST_ARITHMETIC_IF_NARROW
    window = rows.kernel * columns.kernel
    for down, across in _BLOCKS:
        fits = rows.outputs % down == 0 and columns.outputs % across == 0
        patch = (rows.kernel + down - 1) * (columns.kernel + across - 1)
        if fits and patch <= most * window:
            return down, across
    return 1, 1


def _blocked(taps: Taps, block: int) -> Taps:
    """The taps of the windows that blocks of `block` neighbouring outputs see."""
    return taps._replace(
        kernel=taps.kernel + block - 1, stride=taps.stride * block, outputs=taps.outputs // block
    )


def _blocked_kernel(
    kernel: Float[Array, "kh kw c f"], block: tuple[int, int]
) -> Float[Array, "h w c bf"]:
    """The kernel at each place of a block, over the pixels that the block spans, side by side."""
    down, across = block
    shifted = [
        _pad(_pad(kernel, 0, i, down - 1 - i), 1, j, across - 1 - j)
        for i in range(down)
        for j in range(across)
    ]
    return jnp.concatenate(shifted, axis=3)


def _reversed(taps: Taps) -> Taps:
    """The taps of the transposed axis: from the products (outputs) back to the rows (inputs)."""
    reach = (taps.kernel - 1) * taps.dilation
    return taps._replace(low=reach - taps.low, inputs=taps.outputs, outputs=taps.inputs)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(x: Array, axis: int, taps: Taps) -> Array:
    """Lays the taps of every window along `axis` side by side in the channels: c -> kernel * c."""
    reach = (taps.outputs - 1) * taps.stride + (taps.kernel - 1) * taps.dilation + 1
    x = _pad(x, axis, taps.low, reach - taps.low - taps.inputs)
    return jnp.concatenate(
        [_slice(x, axis, j * taps.dilation, taps.outputs, taps.stride) for j in range(taps.kernel)],
        axis=-1,
    )


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _scatter(z: Array, axis: int, taps: Taps) -> Array:
    """The transpose of `_gather`: adds every tap's channels back at the place it was read from."""
    reach = (taps.kernel - 1) * taps.dilation
    last = (taps.outputs - 1) * taps.stride + 1
    lead = max(0, reach - taps.low)
    z = _pad(z, axis, lead, max(0, taps.inputs + taps.low - last), taps.stride - 1)
    return reduce(
        jnp.add,
        (
            _slice(tap, axis, lead + taps.low - j * taps.dilation, taps.inputs)
            for j, tap in enumerate(jnp.split(z, taps.kernel, axis=-1))
        ),
    )


_gather.defvjp(
    lambda x, axis, taps: (_gather(x, axis, taps), None),
    lambda axis, taps, _, dz: (_scatter(dz, axis, taps),),
)
_scatter.defvjp(
    lambda z, axis, taps: (_scatter(z, axis, taps), None),
    lambda axis, taps, _, dx: (_gather(dx, axis, taps),),
)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: Array, kernel: Array, precision: lax.PrecisionLike) -> Array:
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def _product_backward(precision: lax.PrecisionLike, residuals: tuple, dy: Array) -> tuple:
    # JAX's own rule computes the kernel's gradient transposed; XLA then copies the whole batch to
    # turn it, which takes as long as the product. This order needs no copy, and the barrier keeps
    # the compiler from folding a later transpose back into it.
    x, kernel = residuals
    dx = lax.dot_general(dy, kernel, (((dy.ndim - 1,), (1,)), ((), ())), precision=precision)
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dkernel = lax.dot_general(rows, drows, (((0,), (0,)), ((), ())), precision=precision)
    return dx, lax.optimization_barrier(dkernel)


_product.defvjp(
    lambda x, kernel, precision: (_product(x, kernel, precision), (x, kernel)), _product_backward
)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_platform(images: Array, kernel: Array, geometry: Geometry) -> Array:
    return lax.platform_dependent(
        images, kernel, cpu=partial(_products, geometry), default=partial(_native, geometry)
    )


def _by_platform_backward(geometry: Geometry, residuals: tuple, dy: Array) -> tuple:
    # Differentiating each form by itself, and not the choice between them, keeps the residuals of
    # the form that is not taken out of the program.
    def backward(form, images, kernel, dy):
        return jax.vjp(partial(form, geometry), images, kernel)[1](dy)

    return lax.platform_dependent(
        *residuals, dy, cpu=partial(backward, _products), default=partial(backward, _native)
    )


_by_platform.defvjp(
    lambda images, kernel, geometry: (_by_platform(images, kernel, geometry), (images, kernel)),
    _by_platform_backward,
)


def _slice(x: Array, axis: int, start: int, length: int, stride: int = 1) -> Array:
    return lax.slice_in_dim(x, start, start + (length - 1) * stride + 1, stride, axis)


def _pad(x: Array, axis: int, low: int, high: int, interior: int = 0) -> Array:
    if (low, high, interior) == (0, 0, 0):
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, high, interior)
    return lax.pad(x, jnp.zeros((), x.dtype), config)
