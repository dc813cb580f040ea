"""Two-dimensional convolution that is fast on every platform, inside `scan` and under `vmap`.

On GPU and TPU it is `lax.conv_general_dilated`; matrix products instead where kernels are vmapped
that are small (`lowering_on_accelerators`), and on a GPU where there are few channels. On CPU XLA's
own convolution is slow inside a compiled loop and slower still when vmapped, so there it is written
as matrix products, which XLA runs near the machine's peak; or, in programs that may call the
project's own library or oneDNN (`lowering_on_cpu`), in the form that is fast there. The platform is
chosen when the program is lowered, not when it is traced, so that one traced program can be
exported for several platforms.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import index
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops._affine import add_bias
from cnn_jax.ops._direct import direct
from cnn_jax.ops._onednn import DIMENSIONS, native, onednn
from cnn_jax.ops._products import ON_ACCELERATORS, Geometry, Taps, products

Lowering = Literal["auto", "products", "blocks", "direct", "onednn", "lax"]
LOWERINGS: tuple[Lowering, ...] = ("auto", "products", "blocks", "direct", "onednn", "lax")
Padding = str | int | Sequence[tuple[int, int]]
Form = Callable[..., Array]
# On CPU, on GPU, elsewhere.
Forms = tuple[Form, Form, Form]

_FORMS: dict[str, Form] = {
    "products": products,
    "blocks": partial(products, blocking=ON_ACCELERATORS),
    "direct": direct,
    "onednn": onednn,
    "lax": native,
}
_on_cpu: ContextVar[Lowering] = ContextVar("lowering on CPU", default="products")
_on_accelerators: ContextVar[Lowering] = ContextVar("lowering on GPU and TPU", default="auto")


@contextmanager
def lowering_on_cpu(lowering: Lowering) -> Iterator[None]:
    """What "auto" is on CPU for what is traced inside: "products" if not said otherwise.

    `compilation.jit` traces in it, and says "onednn" where XLA is told to use it;
    `training.programs` says "direct" where the library can be built.
    """
    before = _on_cpu.set(lowering)
    try:
        yield
    finally:
        _on_cpu.reset(before)


@contextmanager
def lowering_on_accelerators(lowering: Lowering) -> Iterator[None]:
    """What "auto" is on GPU and TPU for what is traced inside.

    If not said otherwise, or said to be "auto": "blocks" on a GPU for few channels and no
    strides, for which cuDNN's kernels are slow (measured: docs/accelerators.md), "lax" for all
    others. Under `vmap` over kernels "lax" is a convolution in groups, one for each kernel;
    "blocks" and "products" are batched products, without groups.
    """
    before = _on_accelerators.set(lowering)
    try:
        yield
    finally:
        _on_accelerators.reset(before)


def conv2d(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw cg f"],
    bias: Float[Array, " f"] | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
    lowering: Lowering = "auto",
    split: bool = False,
) -> Float[Array, "n oh ow f"]:
    """Slides `kernel` over `images` and sums the products: the feature map of every filter.

    Equal to `lax.conv_general_dilated` up to rounding, in value and both gradients. As in every
    deep learning library this is the cross-correlation: the kernel is not flipped. Reverse-mode
    differentiation works to any order; for forward mode choose `lowering="lax"`.

    Args:
        images: a batch of images or feature maps, channels last.
        kernel: f filters over windows of kh x kw pixels and cg = c / groups channels.
        bias: a number that is added to each map (`add_bias`), if given.
        strides: step of the window in pixels, at least 1.
        padding: "SAME" (output size is input size / stride, rounded up), "VALID" (windows inside
            the image only), a number of pixels for all sides, or ((top, bottom), (left, right)).
        dilation: distance in pixels between neighboring taps of the kernel, at least 1.
        groups: the channels are split in this many groups, each seen by f / groups filters only.
        precision: of the products, as in `lax.dot_general`.
        lowering: "auto" picks by platform; "products" (fast on CPU), "blocks" (products that copy
            less and multiply more), "direct" (of the library that `cnn_jax.native.load` builds for
            CPU; products where there is none), "onednn" and "lax" force one form.
        split: as in `channel_sums`, for the gradient of the bias.

    Returns:
        The feature maps.

    Raises:
        ValueError: if shapes, strides, padding or groups do not fit each other.
    """
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering must be one of {', '.join(LOWERINGS)}, got {lowering!r}")
    geometry = _geometry(images, kernel, strides, padding, dilation, groups, precision)
    if bias is not None and bias.shape != kernel.shape[3:]:
        raise ValueError(f"{kernel.shape[3]} filters need a bias each, got {bias.shape}")
    if images.shape[0] == 0:
        return jnp.zeros(
            (0, geometry.rows.outputs, geometry.columns.outputs, kernel.shape[3]), images.dtype
        )
    arrays = (images, kernel) if bias is None else (images, kernel, bias)
    if lowering != "auto":
        return _formed(_FORMS[lowering], geometry, split, *arrays)
    taken = groups == 1 and images.dtype in (jnp.float32, jnp.bfloat16)
    on_cpu = _FORMS[_on_cpu.get()] if taken else products
    on_gpu = elsewhere = _on_accelerators.get()
    if elsewhere != "auto":
        return _by_platform(arrays, geometry, (on_cpu, _FORMS[on_gpu], _FORMS[elsewhere]), split)
    narrow = groups == 1 and kernel.shape[2] <= ON_ACCELERATORS.patches_up_to
    on_gpu = "blocks" if narrow and geometry.dense else "lax"
    # A lone network is not slower where the bias comes last (measured: docs/accelerators.md).
    maps = _by_platform(arrays[:2], geometry, (on_cpu, _FORMS[on_gpu], native), split)
    return maps if bias is None else add_bias(maps, bias, split=split)


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
    if dimensions != lax.conv_dimension_numbers(lhs.shape, rhs.shape, DIMENSIONS):
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
    if hasattr(value, "__index__"):
        return index(value), index(value)
    try:
        first, second = value
        return index(first), index(second)
    except (TypeError, ValueError):
        raise ValueError(f"expected a whole number of pixels or a pair, got {value!r}") from None


def _padding(
    padding: Padding, sizes: tuple[int, int], spans: tuple[int, int], strides: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f"padding must be SAME, VALID, a number or two pairs, got {padding!r}")
        rows, columns = lax.padtype_to_pads(sizes, spans, strides, padding.upper())
    elif hasattr(padding, "__index__"):
        rows = columns = _pair(index(padding))
    else:
        try:
            (top, bottom), (left, right) = padding
        except (TypeError, ValueError):
            raise ValueError(
                f"padding must be SAME, VALID, a number or two pairs, got {padding!r}"
            ) from None
        rows, columns = (top, bottom), (left, right)
    low_high = _pair(rows), _pair(columns)
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


def _formed(
    form: Form, geometry: Geometry, split: bool, images: Array, kernel: Array, *bias: Array
) -> Array:
    """The feature maps in a form, with their bias if there is one."""
    if form is _FORMS["blocks"]:
        return form(geometry, images, kernel, *bias, split=split)
    maps = form(geometry, images, kernel)
    return add_bias(maps, *bias, split=split) if bias else maps


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _by_platform(arrays: tuple[Array, ...], geometry: Geometry, forms: Forms, split: bool) -> Array:
    return _choose([partial(_formed, form, geometry, split) for form in forms], *arrays)


def _by_platform_backward(
    geometry: Geometry, forms: Forms, split: bool, arrays: tuple[Array, ...], dy: Array
) -> tuple:
    # Differentiating each form by itself, and not the choice between them, keeps the residuals of
    # the form that is not taken out of the program.
    def backward(form: Form, dy: Array, *arrays: Array) -> tuple:
        return jax.vjp(partial(_formed, form, geometry, split), *arrays)[1](dy)

    return (_choose([partial(backward, form) for form in forms], dy, *arrays),)


def _choose(functions: Sequence[Callable], *arguments: Array) -> Any:
    on_cpu, on_gpu, elsewhere = functions
    return lax.platform_dependent(
        *arguments, cpu=on_cpu, cuda=on_gpu, rocm=on_gpu, default=elsewhere
    )


_by_platform.defvjp(
    lambda arrays, *static: (_by_platform(arrays, *static), arrays), _by_platform_backward
)
