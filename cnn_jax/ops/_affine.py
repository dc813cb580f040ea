"""What follows a convolution: bias, and on to scores: flatten, dense, dropout.

Biases and statistics belong to channels, so they, or their gradients, are sums over all examples
and places. XLA on CPU, without YNNPACK's reductions, sums the few channels of a batch in narrow
rows: on the first stage of ResNet-20 that takes 1.0 ms, and 0.3 where all examples are added up
first. That is more exact, too.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops.hyperparameters import Hyperparameter, Interval, Number

# On a GPU XLA sums narrower rows of channels slowly (measured: docs/accelerators.md).
_NARROW_ROW = 16

DROPOUT_RATE = Hyperparameter(
    0.5, Interval("[0, 1)"), "probability of dropping a value; no dropout layers if not given or 0"
)


def channel_sums(maps: Float[Array, "n h w c"], *, split: bool = False) -> Float[Array, " c"]:
    """The sum of every channel over examples and places, added up in float32 or wider.

    Args:
        maps: a batch of feature maps.
        split: whether devices share the examples, which then exchange a number for each channel;
            otherwise they would exchange the sums of every place.
    """
    return _sums(maps, maps.shape, split)


def add_bias(
    maps: Float[Array, "n h w c"], bias: Float[Array, " c"], *, split: bool = False
) -> Float[Array, "n h w c"]:
    """Adds to every channel its own number.

    Args:
        maps: a batch of feature maps.
        bias: the number of each channel.
        split: as in `channel_sums`, for the gradient.
    """
    return maps + spread(bias, maps.shape, split)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _sums(maps: Array, shape: tuple[int, ...], split: bool) -> Array:
    wide = jnp.promote_types(maps.dtype, jnp.float32)

    def at_once(maps: Array) -> Array:
        return jnp.sum(maps, axis=(0, 1, 2), dtype=wide)

    def examples_first(maps: Array) -> Array:
        # Without the barrier XLA merges the two sums into one.
        places = lax.optimization_barrier(jnp.sum(maps, axis=0, dtype=wide))
        return jnp.sum(places, axis=(0, 1))

    cpu = at_once if split else examples_first
    elsewhere = at_once if split or shape[-1] >= _NARROW_ROW else examples_first
    return lax.platform_dependent(maps, cpu=cpu, default=elsewhere).astype(maps.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def spread(vector: Array, shape: tuple[int, ...], split: bool) -> Array:
    """A number for each channel at every place: the transpose of the sums."""
    return jnp.broadcast_to(vector, shape)


_sums.defvjp(
    lambda maps, shape, split: (_sums(maps, shape, split), None),
    lambda shape, split, _, dsums: (spread(dsums, shape, split),),
)
spread.defvjp(
    lambda vector, shape, split: (spread(vector, shape, split), None),
    lambda shape, split, _, dmaps: (_sums(dmaps, shape, split),),
)


def flatten(x: Float[Array, "n *dims"]) -> Float[Array, "n d"]:
    """One row per example, in reading order (height, width, channel)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def dense(
    x: Float[Array, "*b p"], kernel: Float[Array, "p c"], bias: Float[Array, " c"]
) -> Float[Array, "*b c"]:
    """The weighted sum of the inputs plus a bias: y = x W + b, c outputs from p inputs."""
    if x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"x has {x.shape[-1]} features, the kernel takes {kernel.shape[0]}")
    return x @ kernel + bias


def dropout(key: PRNGKeyArray, x: Float[Array, "*dims"], rate: Number) -> Float[Array, "*dims"]:
    """Sets each value to zero with probability `rate` and scales the rest by 1 / (1 - rate).

    The expectation stays the same, so nothing has to change at test time (Srivastava et al. 2014).

    Args:
        key: decides which values are dropped.
        x: any array.
        rate: in [0, 1); may be traced.
    """
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)
