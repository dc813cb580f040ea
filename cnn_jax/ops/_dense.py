"""From feature maps to scores: flatten, dense, dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops.hyperparameters import Hyperparameter, Interval, Number

DROPOUT_RATE = Hyperparameter(
    0.5, Interval("[0, 1)"), "probability of dropping a value; no dropout layers if not given or 0"
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
