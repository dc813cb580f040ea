"""What follows a convolution: bias, batch normalization, and on to scores: flatten, dense, dropout.

Biases and statistics belong to channels, so they, or their gradients, are sums over all examples
and places.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops.hyperparameters import Hyperparameter, Interval, Number

DROPOUT_RATE = Hyperparameter(
    0.5, Interval("[0, 1)"), "probability of dropping a value; no dropout layers if not given or 0"
)


def channel_sums(maps: Float[Array, "n h w c"]) -> Float[Array, " c"]:
    """The sum of every channel over examples and places, added up in float32 or wider."""
    return _sums(maps, maps.shape)


def add_bias(maps: Float[Array, "n h w c"], bias: Float[Array, " c"]) -> Float[Array, "n h w c"]:
    """Adds to every channel its own number."""
    return maps + _spread(bias, maps.shape)


def batch_statistics(
    maps: Float[Array, "n h w c"],
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and variance (of the population) of every channel over examples and places.

    In float32 or wider. The variance is the mean of the squares less the square of the mean, and
    never negative.
    """
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    count = maps.size // maps.shape[-1]
    mean = channel_sums(maps) / count
    return mean, jnp.maximum(0.0, channel_sums(maps * maps) / count - mean * mean)


def batch_norm(
    maps: Float[Array, "n h w c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    scale: Float[Array, " c"] | None = None,
    bias: Float[Array, " c"] | None = None,
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "n h w c"]:
    """Batch normalization (Ioffe and Szegedy 2015): (x - mean) / sqrt(variance + epsilon).

    Args:
        maps: a batch of feature maps.
        mean: of every channel: of this batch (`batch_statistics`), or a running average.
        variance: likewise.
        scale: what is multiplied; 1 without.
        bias: what is added; 0 without.
        epsilon: keeps the division finite, positive.
    """
    factor = lax.rsqrt(variance + epsilon)
    factor = factor if scale is None else factor * scale
    normed = (maps - _spread(mean, maps.shape)) * _spread(factor, maps.shape)
    return normed if bias is None else add_bias(normed, bias)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sums(maps: Array, shape: tuple[int, ...]) -> Array:
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    return jnp.sum(maps, axis=(0, 1, 2), dtype=wide).astype(maps.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread(vector: Array, shape: tuple[int, ...]) -> Array:
    """A number for each channel at every place: the transpose of the sums."""
    return jnp.broadcast_to(vector, shape)


_sums.defvjp(
    lambda maps, shape: (_sums(maps, shape), None), lambda shape, _, dsums: (_spread(dsums, shape),)
)
_spread.defvjp(
    lambda vector, shape: (_spread(vector, shape), None),
    lambda shape, _, dmaps: (_sums(dmaps, shape),),
)


def flatten(x: Float[Array, "n *dims"]) -> Float[Array, "n d"]:
    """One row per example, in reading order (height, width, channel)."""
    return x.reshape(x.shape[0], -1)


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
