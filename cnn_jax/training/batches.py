"""How the examples of a split are cut into batches."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cnn_jax.errors import UsageError
from cnn_jax.training.config import Config
from cnn_jax.training.optimizers import OPTIMIZERS


def steps_per_epoch(config: Config, examples: int) -> int:
    """Updates in one epoch: whole batches, or one for full-batch gradient descent.

    The examples of the last, smaller batch are left out of that epoch; another shuffle leaves out
    others.

    Raises:
      UsageError: if a batch is larger than the training set, or cannot be cut into micro-batches.
    """
    if config.batch_size % config.micro_batches:
        raise UsageError(
            f"--batch_size={config.batch_size} cannot be cut into --micro_batches="
            f"{config.micro_batches} equal parts"
        )
    if config.batch_size > examples:
        raise UsageError(
            f"--batch_size={config.batch_size} is larger than the training split of {examples} "
            f"examples; give at most {examples}"
        )
    return 1 if OPTIMIZERS[config.optimizer].full_batch else examples // config.batch_size


def examples_together(config: Config) -> int:
    """The examples that a step computes at the same time, which devices may share."""
    return config.batch_size // config.micro_batches


def check_divides(config: Config, devices: int) -> None:
    """Refuses devices that batches cannot be split over.

    Raises:
      UsageError: naming what would be right.
    """
    size = examples_together(config)
    if size % devices:
        fewer = max(n for n in range(1, devices) if size % n == 0)
        raise UsageError(
            f"batches of {size} cannot be split evenly over {devices} devices; give a --batch_size "
            f"that can, or {fewer} of them"
        )


def padded_batches(count: int, size: int) -> tuple[Int[Array, "b s"], Float[Array, "b s"]]:
    """All indices below `count` in batches of `size`; the last is filled up, at weight 0."""
    batches = -(-count // size)
    indices = jnp.arange(batches * size).reshape(batches, size)
    return jnp.minimum(indices, count - 1), (indices < count).astype(jnp.float32)
