"""Convolution as matrix products: the form that is fast on CPU, inside `scan` and under `vmap`.

Two forms, chosen by the number of input channels:

* *patches* (im2col; Chellapilla et al. 2006): every window becomes one row of a matrix, one product
  does the rest. Best when there are few channels: the rows are short. Neighboring windows may share
  a row (`Blocking`).
* *separable taps*: with K_x columns and K_y rows in the kernel, gather the K_x columns of a window
  side by side, multiply once by all K_y rows of the kernel, then add the K_y products shifted by
  one row each. It reads and writes K_x + K_y copies of the image where patches need K_x * K_y.

Gathering along an axis and scattering along it are each other's transpose, so each is the other's
gradient, and the backward pass has the same cost and shape as the forward pass.
"""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops._affine import add_bias

# With fewer filters than these a product is narrow.
_NARROW = 16


class Blocking(NamedTuple):
    """Where patches are taken, and how many outputs share one.

    A patch that serves a block of neighboring outputs costs products with zeros and saves copies.

    Attributes:
        patches_up_to: channels per group; with more, taps are separable.
        blocks: rows and columns of a block, the first that fits is taken.
        most_arithmetic: of a block, beside the convolution's own.
        most_if_narrow: likewise, where there are few filters.
        whole_cells: whether images are cut into cells of a block's size first, and a patch is
            some neighboring cells, copied in one pass; blocks that allow it alone are taken.
    """

    patches_up_to: int
    blocks: tuple[tuple[int, int], ...]
    most_arithmetic: float
    most_if_narrow: float
    whole_cells: bool


# Measured: patches of so few channels fit a few vector registers; blocks: WORKSPACE.md.
ON_CPU = Blocking(4, ((2, 4), (1, 4), (2, 2), (1, 2)), 1.5, 2.0, False)
# Measured: docs/accelerators.md. Arithmetic costs little beside copies.
ON_ACCELERATORS = Blocking(8, ((4, 4), (2, 4), (1, 4), (2, 2), (1, 2)), 2.6, 2.6, True)


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

    @property
    def dense(self) -> bool:
        """Whether neighboring outputs see windows that are a pixel apart, without holes."""
        return all(taps.stride == taps.dilation == 1 for taps in (self.rows, self.columns))


def products(
    geometry: Geometry,
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw cg f"],
    bias: Float[Array, " f"] | None = None,
    *,
    blocking: Blocking = ON_CPU,
    split: bool = False,
) -> Float[Array, "n oh ow f"]:
    """The feature maps of a convolution of this shape, every group by itself.

    A bias is added where the outputs of a block still lie side by side: its gradient is the sum of
    rows that are wide, and of maps that are not put in order first.
    """
    one_group = partial(_one_group, geometry, blocking, split)
    if geometry.groups == 1:
        return one_group(images, kernel, bias)
    grouped = images.reshape(*images.shape[:3], geometry.groups, -1)
    filters = kernel.reshape(*kernel.shape[:3], geometry.groups, -1)
    biases = None if bias is None else bias.reshape(geometry.groups, -1)
    maps = jax.vmap(one_group, in_axes=(3, 3, 0), out_axes=3)(grouped, filters, biases)
    return maps.reshape(*maps.shape[:3], -1)


def _one_group(
    geometry: Geometry,
    blocking: Blocking,
    split: bool,
    images: Array,
    kernel: Array,
    bias: Array | None,
) -> Array:
    channels, filters = kernel.shape[2:]
    if channels <= blocking.patches_up_to:
        rows, columns = geometry.rows, geometry.columns
        down, across = block = _block(blocking, geometry, filters)
        kernel = _blocked_kernel(kernel, block)
        blocked = _blocked(rows, down), _blocked(columns, across)
        if blocking.whole_cells and geometry.dense:
            patches, kernel = _neighbors(images, *blocked), _by_cells(kernel, block)
        else:
            patches = _gather(_gather(images, 2, blocked[1]), 1, blocked[0])
        maps = _product(patches, kernel.reshape(-1, down * across * filters), geometry.precision)
        if bias is not None:
            maps = add_bias(maps, jnp.tile(bias, down * across), split=split)
        # Rows of a block lie next to each other in the product, and one below the other in the map.
        maps = maps.reshape(*maps.shape[:3], down, -1).swapaxes(2, 3)
        return maps.reshape(len(images), rows.outputs, columns.outputs, filters)
    maps = _by_taps(geometry, images, kernel)
    return maps if bias is None else add_bias(maps, bias, split=split)


def _by_taps(geometry: Geometry, images: Array, kernel: Array) -> Array:
    rows, columns = geometry.rows, geometry.columns
    channels, filters = kernel.shape[2:]
    wide = _gather(images, 2, columns)
    if rows.stride > 1:
        patches = _gather(wide, 1, rows)
        return _product(patches, kernel.reshape(-1, filters), geometry.precision)
    # All rows of the kernel at once; row i of the kernel, meeting input row t, adds to output row
    # t + low - i: a scatter in which the kernel's rows run backwards.
    stacked = kernel[::-1].transpose(1, 2, 0, 3)
    products = _product(
        wide, stacked.reshape(columns.kernel * channels, rows.kernel * filters), geometry.precision
    )
    return _scatter(products, 1, transposed(rows))


def _block(blocking: Blocking, geometry: Geometry, filters: int) -> tuple[int, int]:
    """Rows and columns of the neighboring outputs that share one patch; they divide a map."""
    rows, columns = geometry.rows, geometry.columns
    if not geometry.dense:
        return 1, 1
    most = blocking.most_arithmetic if filters >= _NARROW else blocking.most_if_narrow
    window = rows.kernel * columns.kernel
    for down, across in blocking.blocks:
        fits = rows.outputs % down == 0 and columns.outputs % across == 0
        if blocking.whole_cells:
            fits &= (rows.kernel - 1) % down == 0 and (columns.kernel - 1) % across == 0
        patch = (rows.kernel + down - 1) * (columns.kernel + across - 1)
        if fits and patch <= most * window:
            return down, across
    return 1, 1


def _blocked(taps: Taps, block: int) -> Taps:
    """The taps of the windows that blocks of `block` neighboring outputs see."""
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


def _neighbors(images: Array, rows: Taps, columns: Taps) -> Array:
    """The patch of every block, cell after cell; the taps' stride is the size of a cell."""
    down, across = rows.stride, columns.stride
    high, wide = rows.kernel // down, columns.kernel // across
    cells = rows.outputs + high - 1, columns.outputs + wide - 1
    images = _pad(images, 1, rows.low, cells[0] * down - rows.low - rows.inputs)
    images = _pad(images, 2, columns.low, cells[1] * across - columns.low - columns.inputs)
    parts = images.reshape(len(images), cells[0], down, cells[1], across, -1).swapaxes(2, 3)
    # A pass of its own: the copies of a cell would all compute it.
    cut = lax.optimization_barrier(parts.reshape(len(images), *cells, -1))
    return jnp.concatenate(
        [
            cut[:, i : i + rows.outputs, j : j + columns.outputs]
            for i in range(high)
            for j in range(wide)
        ],
        axis=-1,
    )


def _by_cells(kernel: Float[Array, "h w c bf"], block: tuple[int, int]) -> Array:
    """The kernel of a block with its pixels in the order of `_neighbors`."""
    (down, across), (height, width, *rest) = block, kernel.shape
    cells = kernel.reshape(height // down, down, width // across, across, *rest).swapaxes(1, 2)
    return cells.reshape(kernel.shape)


def transposed(taps: Taps) -> Taps:
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


def _slice(x: Array, axis: int, start: int, length: int, stride: int = 1) -> Array:
    return lax.slice_in_dim(x, start, start + (length - 1) * stride + 1, stride, axis)


def _pad(x: Array, axis: int, low: int, high: int, interior: int = 0) -> Array:
    if (low, high, interior) == (0, 0, 0):
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, high, interior)
    return lax.pad(x, jnp.zeros((), x.dtype), config)
