"""How every program is compiled: under options with which XLA is known to be right, and fast.

On CPU, XLA gives sums that follow a product to fused reductions of YNNPACK, some of which are wrong
by any factor (see `MISCOMPILED`). `jit` is `jax.jit` without these. On a GPU of NVIDIA a whole step
of training is one graph of kernels. Nothing here changes what other programs of the process do.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.extend.backend import get_backend

from cnn_jax import ops

__all__ = [
    "EIGEN",
    "GRAPHS",
    "ONEDNN",
    "SAFE",
    "TESTED",
    "closure_converted",
    "compiler_options",
    "fast_precision",
    "jit",
    "miscompilations",
    "untrusted",
]

CompilerOptions = dict[str, str | bool]

_SMALL_CONVOLUTION = ((1, 8, 8, 16), (3, 3, 16, 16))
# Versions of jaxlib with whose CPU compiler all tests of the project passed.
TESTED = ("0.10.2", "0.12.0.1")

_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
_ONEDNN_CALLS = "xla_cpu_experimental_onednn_custom_call"
# Products and convolutions by themselves go to YNNPACK, nothing that is fused with them.
SAFE: CompilerOptions = {
    _FUSIONS: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
}
# Products go to Eigen.
EIGEN: CompilerOptions = {_FUSIONS: ""}
# Products go to YNNPACK, convolutions to oneDNN. XLA cannot keep such a program on disk. SiLU
# and ELU behind convolutions that are not `ops.conv2d`'s have wrong gradients (WORKSPACE.md).
ONEDNN: CompilerOptions = {_FUSIONS: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", _ONEDNN_CALLS: True}

# Convolutions are in CUDA graphs too, beside what is there by default; and what does not wait for
# each other runs at the same time (measured: docs/accelerators.md).
GRAPHS: CompilerOptions = {
    "xla_gpu_enable_command_buffer": (
        "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,CONDITIONAL,CONVOLUTION"
    ),
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
}


@lru_cache
def _known(name: str, value: str | bool) -> bool:
    """Whether this XLA has an option; of those for a GPU, with this value."""
    missing = ["No such compile option"]
    if name in GRAPHS:
        missing.append("is not a valid enum value")
    try:
        jax.jit(jnp.negative, compiler_options={name: value}).lower(0.0).compile()
    except jax.errors.JaxRuntimeError as error:
        if not any(said in str(error) for said in missing):
            raise
        return False
    return True


@lru_cache
def _reaches_onednn() -> bool:
    """Whether this XLA hands convolutions to oneDNN when it is told to; older ones only say so."""
    if not _known(_ONEDNN_CALLS, True):
        return False
    images, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in _SMALL_CONVOLUTION)
    convolve = jax.jit(partial(ops.conv2d, lowering="lax"), compiler_options=ONEDNN)
    return "onednn$convolution" in str(convolve.lower(images, kernel).compile().as_text())


def compiler_options(wanted: Mapping[str, str | bool] = SAFE) -> CompilerOptions:
    """Those of the options that the XLA of the default device has.

    Args:
        wanted: for a CPU; SAFE, or EIGEN where products are narrow, or ONEDNN where a long training
            is worth compiling it at every start. SAFE where XLA hands nothing to oneDNN. On a GPU
            of NVIDIA they are those of GRAPHS that XLA_FLAGS does not set, elsewhere none.
    """
    if jax.default_backend() != "cpu":
        on_cuda = "cuda" in get_backend().platform_version
        said = os.environ.get("XLA_FLAGS", "")
        wanted = {name: GRAPHS[name] for name in GRAPHS if on_cuda and name not in said}
    elif wanted.get(_ONEDNN_CALLS) and not _reaches_onednn():
        wanted = SAFE
    return {name: value for name, value in wanted.items() if _known(name, value)}


def jit(
    function: Callable[..., Any],
    *,
    wanted: Mapping[str, str | bool] = SAFE,
    lowering: ops.Lowering | None = None,
    **arguments: Any,
) -> Any:
    """`jax.jit` under options with which XLA is known to be right.

    Args:
        function: to compile. JAX takes options for whole programs only: inside, use `jax.jit`.
        wanted: as in `compiler_options`.
        lowering: of convolutions on CPU that leave it open; that which is fast under the options if
            not given. "direct" is for programs of one device, without `vmap` over kernels.
        **arguments: of `jax.jit`.
    """
    options = compiler_options(wanted)
    lowering = lowering or ("onednn" if options.get(_ONEDNN_CALLS) else "products")

    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with ops.lowering_on_cpu(lowering):
            return function(*args, **kwargs)

    return jax.jit(traced, compiler_options=options, **arguments)


def closure_converted(
    function: Callable[..., Any], *arguments: Any
) -> tuple[Callable[..., Any], list[jax.Array]]:
    """A function that is given the arrays that it closes over, and these.

    Functions that differ in such arrays alone then share a compiled program, on disk too.

    Args:
        function: pure; it is traced.
        *arguments: that it will be called with, or their shapes and types.

    Returns:
        A function of `(constants, *arguments)`, and the constants.
    """
    closed, result = jax.make_jaxpr(function, return_shape=True)(*arguments)

    def converted(constants: list[jax.Array], *arguments: Any) -> Any:
        leaves = jax.core.eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(result), leaves)

    return converted, closed.consts


def fast_precision() -> str:
    """The precision in which networks train fastest here without losing accuracy.

    Returns:
        "bfloat16" on accelerators, and on a CPU that multiplies it in hardware (AMX) where XLA
        reaches oneDNN; "float32" on others.
    """
    if jax.default_backend() != "cpu":
        return "bfloat16"
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        processor = ""
    return "bfloat16" if "amx_bf16" in processor and _reaches_onednn() else "float32"


class Miscompiled(NamedTuple):
    """A small program that some XLA for CPU compiles to wrong numbers under its default options.

    Attributes:
        function: of the arguments.
        arguments: arrays.
        source: where it was found.
    """

    function: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]
    source: str

    def wrong(self, compiled: Callable[..., Any]) -> float:
        """The largest difference from the function in float64, relative to its largest value."""
        with jax.enable_x64(True):
            exact = np.asarray(self.function(*(a.astype(np.float64) for a in self.arguments)))
        found = np.asarray(compiled(*self.arguments), np.float64)
        return float(np.max(np.nan_to_num(np.abs(found - exact), nan=np.inf)) / np.max(abs(exact)))


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _product_with_a_constant(rows: Any, constant: Any) -> Any:
    product = jnp.einsum("bij,bjk->bik", rows, jnp.broadcast_to(constant, rows.shape))
    return jnp.sum(product * rows, -1)


def _squared_products(matrices: Any, vectors: Any) -> Any:
    return jnp.sum(jax.vmap(jnp.matmul)(matrices, vectors) ** 2)


MISCOMPILED = (
    Miscompiled(
        _product_with_a_constant,
        (_numbers(10, 64, 64), np.full((), 0.7, np.float32)),
        "sums of the elements of a product with a constant matrix, jaxlib 0.10.2 and 0.12.0",
    ),
    Miscompiled(
        _squared_products,
        (_numbers(64, 64, 64), _numbers(64, 64)),
        "github.com/jax-ml/jax/issues/39103, jaxlib 0.10.2",
    ),
)
# A right program differs from float64 by rounding: 1e-5 of the largest value at most here.
_ROUNDING = 1e-4


def miscompilations(compile_: Callable[..., Any] = jit) -> list[str]:
    """What is compiled to wrong numbers here: the sources of those of `MISCOMPILED`, if any.

    Args:
        compile_: how the functions are compiled.
    """
    return [item.source for item in MISCOMPILED if item.wrong(compile_(item.function)) > _ROUNDING]


@lru_cache
def untrusted() -> tuple[str, ...]:
    """What a compiler for CPU that was not tested gets wrong, if anything; takes about a second.

    Returns:
        The sources of what `miscompilations` finds; none on other devices, and none with a version
        of `TESTED`.
    """
    if jax.default_backend() != "cpu" or jaxlib.__version__ in TESTED:
        return ()
    return tuple(miscompilations())
