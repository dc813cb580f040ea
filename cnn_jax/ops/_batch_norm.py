"""Batch normalization (Ioffe and Szegedy 2015): statistics of channels, and maps by them."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.ops._affine import add_bias, channel_sums, spread

# Normalized maps, mean and variance; or what the loss changes with each of them.
Normalized = tuple[Array, Array, Array]


def batch_statistics(
    maps: Float[Array, "n h w c"], *, split: bool = False
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and variance (of the population) of every channel over examples and places.

    In float32 or wider. The variance is the mean of the squares less the square of the mean, and
    never negative.

    Args:
        maps: a batch of feature maps.
        split: as in `channel_sums`.
    """
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    count = maps.size // maps.shape[-1]
    mean = channel_sums(maps, split=split) / count
    squares = channel_sums(maps * maps, split=split) / count
    return mean, jnp.maximum(0.0, squares - mean * mean)


def batch_norm(
    maps: Float[Array, "n h w c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    scale: Float[Array, " c"] | None = None,
    bias: Float[Array, " c"] | None = None,
    *,
    epsilon: float = 1e-5,
    split: bool = False,
) -> Float[Array, "n h w c"]:
    """Batch normalization: (x - mean) / sqrt(variance + epsilon).

    Args:
        maps: a batch of feature maps.
        mean: of every channel: of this batch (`batch_statistics`), or a running average.
        variance: likewise.
        scale: what is multiplied; 1 without.
        bias: what is added; 0 without.
        epsilon: keeps the division finite, positive.
        split: as in `channel_sums`, for the gradients.
    """
    factor = lax.rsqrt(variance + epsilon)
    factor = factor if scale is None else factor * scale
    normed = (maps - spread(mean, maps.shape, split)) * spread(factor, maps.shape, split)
    return normed if bias is None else add_bias(normed, bias, split=split)


def batch_norm_in_training(
    maps: Float[Array, "n h w c"],
    scale: Float[Array, " c"] | None = None,
    bias: Float[Array, " c"] | None = None,
    *,
    epsilon: float = 1e-5,
    split: bool = False,
) -> tuple[Float[Array, "n h w c"], Float[Array, " c"], Float[Array, " c"]]:
    """Batch normalization by the statistics of the batch itself, and these.

    Equal to `batch_norm` by `batch_statistics` up to rounding, in value and gradients. On a GPU
    both sums that a direction needs are found in one pass over the maps (measured:
    docs/accelerators.md).

    Args:
        maps: a batch of feature maps.
        scale: as in `batch_norm`.
        bias: likewise.
        epsilon: likewise.
        split: as in `channel_sums`.

    Returns:
        The normalized maps, and the mean and the variance of every channel.
    """
    if split:
        # XLA would have the devices exchange again what the gradient takes from the way forward.
        return _composed(epsilon, True, maps, scale, bias)
    return _in_training(maps, scale, bias, epsilon)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _in_training(
    maps: Array, scale: Array | None, bias: Array | None, epsilon: float
) -> Normalized:
    def at_once(maps: Array, scale: Array | None, bias: Array | None) -> Normalized:
        wide = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
        count = maps.size // maps.shape[-1]
        total, squares = _two_sums(wide, wide * wide, maps.shape)
        mean = total / count
        variance = jnp.maximum(0.0, squares / count - mean * mean)
        return batch_norm(maps, mean, variance, scale, bias, epsilon=epsilon), mean, variance

    return _by_platform(partial(_composed, epsilon, False), at_once, maps, scale, bias)


def _in_training_forward(
    maps: Array, scale: Array | None, bias: Array | None, epsilon: float
) -> tuple[Normalized, tuple]:
    normed, mean, variance = _in_training(maps, scale, bias, epsilon)
    return (normed, mean, variance), (maps, scale, bias, mean, variance)


def _in_training_backward(epsilon: float, residuals: tuple, cotangents: Normalized) -> tuple:
    def composed(residuals: tuple, cotangents: Normalized) -> tuple:
        return jax.vjp(partial(_composed, epsilon, False), *residuals[:3])[1](cotangents)

    def at_once(residuals: tuple, cotangents: Normalized) -> tuple:
        maps, scale, bias, mean, variance = residuals
        dnormed, dmean, dvariance = cotangents
        count = maps.size // maps.shape[-1]
        centered = maps - mean
        inverse = lax.rsqrt(variance + epsilon)
        factor = inverse if scale is None else inverse * scale
        along, total = _two_sums(dnormed * centered, dnormed, maps.shape)
        slope = (2 * dvariance - factor * inverse * inverse * along) / count
        dmaps = factor * dnormed + slope * centered + (dmean - factor * total) / count
        dscale = None if scale is None else (along * inverse).astype(scale.dtype)
        dbias = None if bias is None else total.astype(bias.dtype)
        return dmaps.astype(maps.dtype), dscale, dbias

    return _by_platform(composed, at_once, residuals, cotangents)


_in_training.defvjp(_in_training_forward, _in_training_backward)


def _composed(
    epsilon: float, split: bool, maps: Array, scale: Array | None, bias: Array | None
) -> Normalized:
    mean, variance = batch_statistics(maps, split=split)
    normed = batch_norm(maps, mean, variance, scale, bias, epsilon=epsilon, split=split)
    return normed, mean, variance


def _by_platform(
    composed: Callable[..., tuple], at_once: Callable[..., tuple], *arguments: object
) -> tuple:
    return lax.platform_dependent(*arguments, cuda=at_once, rocm=at_once, default=composed)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _two_sums(first: Array, second: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The sums of every channel of two batches of maps of a shape, in one pass over both."""
    zero = jnp.zeros((), first.dtype)
    first, second = lax.reduce(
        (first, second), (zero, zero), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0, 1, 2)
    )
    return first, second


_two_sums.defvjp(
    lambda first, second, shape: (_two_sums(first, second, shape), None),
    lambda shape, _, dsums: tuple(jnp.broadcast_to(dsum, shape) for dsum in dsums),
)
