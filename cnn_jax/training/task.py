"""What a run works on: the shape of the problem, and its examples on the device."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Num, UInt8


class Task(NamedTuple):
    """What a program is compiled for, beside the config: the shape of the problem.

    Attributes:
      image_shape: height, width, channels.
      num_classes: number of classes, or of labels.
      mean: of each channel over the training set, images scaled to [0, 1].
      std: standard deviation of each channel, likewise.
      multi_label: whether an image has any number of labels, rather than one class.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    multi_label: bool = False


class Examples(NamedTuple):
    """A split on the device; labels are multi-hot where an image has several."""

    images: UInt8[Array, "n h w c"]
    labels: Int32[Array, " n"] | UInt8[Array, "n classes"]


def normalize(task: Task, images: Num[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Values in [0, 255] to mean 0 and variance 1 over the training set, channel by channel."""
    scale = 1 / (255 * jnp.asarray(task.std, jnp.float32))
    return images * scale - jnp.asarray(task.mean, jnp.float32) * 255 * scale
