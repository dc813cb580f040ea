"""How an epoch is compiled: its state donated and, on CPU, the matrix product that suits it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

# Leaves XLA's products to Eigen, where the default of jaxlib 0.10 is YNNPACK.
_EIGEN: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": ""}
# Measured: up to this many filters Eigen is faster, on networks with wider convolutions YNNPACK.
_NARROW = 16


def compile_epoch(epoch: Callable, state: PyTree, *arguments: Any) -> jax.stages.Compiled:
    """Compiles `epoch(state, *arguments)`, which gives up the memory of `state`.

    Its results lie on the devices as the state does.

    Args:
      epoch: of a run or of a sweep.
      state: holds the parameters; arrays, or their shapes, types and places.
      *arguments: likewise.
    """
    where = jax.tree.leaves(state)[0].sharding
    program = jax.jit(epoch, donate_argnums=0, out_shardings=where)
    lowered = program.lower(state, *arguments)
    if jax.default_backend() != "cpu" or _widest_convolution(state) > _NARROW:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=_EIGEN)
    except jax.errors.JaxRuntimeError as error:
        # Other versions of XLA may not have the option, and then nothing to choose either.
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()


def _widest_convolution(state: PyTree) -> int:
    """The filters of the widest convolution; its kernel is `h w c f`, behind an axis of trials."""
    shapes = (leaf.shape for leaf in jax.tree.leaves(state))
    return max((shape[-1] for shape in shapes if len(shape) >= 4), default=0)
