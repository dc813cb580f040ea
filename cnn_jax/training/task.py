"""What a run works on: the shape of the problem, and its examples on the device."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Examples:
    """A split on the device.

    Attributes:
      images: as bytes.
      labels: class indices; multi-hot where an image has several labels.
      count: static: how many are examples. Those after them fill the arrays up to a multiple of the
        devices that they are split over, and are never looked at. None for all.
    """

    images: UInt8[Array, "n h w c"]
    labels: Int32[Array, " n"] | UInt8[Array, "n classes"]
    count: int | None = field(default=None, metadata={"static": True})

    def __len__(self) -> int:
        return self.labels.shape[0] if self.count is None else self.count


def normalize(task: Task, images: Num[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Values in [0, 255] to mean 0 and variance 1 over the training set, channel by channel."""
    scale = 1 / (255 * jnp.asarray(task.std, jnp.float32))
    return images * scale - jnp.asarray(task.mean, jnp.float32) * 255 * scale
