"""Random keys from whose draws XLA makes programs quickly.

JAX draws an array of bits by one loop over its shape. XLA for CPU unrolls such a loop along short
dimensions, and compiles for seconds on a kernel of 3 x 3 x 16 x 16, for minutes on a network of
them. The same bits in a row and then reshaped take a tenth of a second.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.random import define_prng_impl
from jaxtyping import Array, PRNGKeyArray, UInt32

_IMPLEMENTATION = "threefry2x32"


def flat_draws(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key, with the same draws, each made as one row and reshaped.

    Args:
        key: one, of Threefry, JAX's default; of any other implementation it is returned as it is.
    """
    if jax.random.key_impl(key) != _IMPLEMENTATION:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_FLAT)


def _of_data(make: Callable[..., PRNGKeyArray]) -> Callable[..., UInt32[Array, "..."]]:
    """What makes keys from a key, for what keys are made of."""

    def data(key: UInt32[Array, "2"], *given: object) -> UInt32[Array, "..."]:
        return jax.random.key_data(make(_typed(key), *given))

    return data


def _typed(data: UInt32[Array, "2"]) -> PRNGKeyArray:
    return jax.random.wrap_key_data(data, impl=_IMPLEMENTATION)


def _bits(data: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> Array:
    row = (math.prod(shape),) if len(shape) > 1 else shape
    return jax.random.bits(_typed(data), row, f"uint{width}").reshape(shape)


_FLAT = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl=_IMPLEMENTATION)),
    split=_of_data(jax.random.split),
    random_bits=_bits,
    fold_in=_of_data(jax.random.fold_in),
    name=f"{_IMPLEMENTATION}_flat",
    tag="flat",
)
