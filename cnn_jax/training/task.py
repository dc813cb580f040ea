"""What a run works on: the shape of the problem, what its labels mean, its examples in batches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int32, Num, UInt8

from cnn_jax.errors import FieldError
from cnn_jax.ops.losses import PER_LABEL
from cnn_jax.ops.metrics import accuracy, label_accuracy, label_correct


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
        count: static: how many are examples. Those after them fill the arrays up to a multiple of
            the devices that they are split over, and are never looked at. None for all.
    """

    images: UInt8[Array, "n h w c"]
    labels: Int32[Array, " n"] | UInt8[Array, "n classes"]
    count: int | None = field(default=None, metadata={"static": True})

    def __len__(self) -> int:
        return self.labels.shape[0] if self.count is None else self.count


def normalize(
    task: Task, images: Num[Array, "n h w c"], white: float = 255
) -> Float[Array, "n h w c"]:
    """Values in [0, white] to mean 0 and variance 1 over the training set, channel by channel."""
    scale = 1 / (white * jnp.asarray(task.std, jnp.float32))
    return images * scale - jnp.asarray(task.mean, jnp.float32) * white * scale


# A label is said to be there from this logit on: where its probability is a half.
_BOUNDARY = 0.0


class Labeling(NamedTuple):
    """How labels are learned from and counted.

    Attributes:
        targets: `labels -> targets`, as a loss takes them.
        soft_targets: `(labels, classes) -> targets` as rows of floats, which can be mixed.
        right: `(logits, labels) -> n`: of each example the share of answers that are right.
        accuracy: `(logits, labels) -> ()`: their mean; the answers of NaN are wrong.
    """

    targets: Callable[[Array], Num[Array, "n ..."]]
    soft_targets: Callable[[Array, int], Float[Array, "n classes"]]
    right: Callable[[Float[Array, "n classes"], Array], Num[Array, " n"]]
    accuracy: Callable[[Float[Array, "n classes"], Array], Float[Array, ""]]


def _most_likely(logits: Float[Array, "n classes"], labels: Int[Array, " n"]) -> Num[Array, " n"]:
    return jnp.argmax(logits, -1) == labels


def _to_float(labels: UInt8[Array, "n classes"]) -> Float[Array, "n classes"]:
    return labels.astype(jnp.float32)


def _each_label(
    logits: Float[Array, "n classes"], labels: UInt8[Array, "n classes"]
) -> Float[Array, " n"]:
    return jnp.mean(label_correct(logits, labels, _BOUNDARY).astype(jnp.float32), axis=-1)


ONE_CLASS = Labeling(
    targets=lambda labels: labels,
    soft_targets=jax.nn.one_hot,
    right=_most_likely,
    accuracy=accuracy,
)
SEVERAL_LABELS = Labeling(
    targets=_to_float,
    soft_targets=lambda labels, classes: _to_float(labels),
    right=_each_label,
    accuracy=lambda logits, labels: jnp.mean(label_accuracy(logits, labels, _BOUNDARY)),
)


def labeling(loss: str, multi_label: bool) -> Labeling:
    """What the labels of a task mean.

    Args:
        loss: a key of `LOSSES`.
        multi_label: whether an image has any number of labels.

    Raises:
        FieldError: if images have several labels and the loss chooses one.
    """
    if not multi_label:
        return ONE_CLASS
    if loss not in PER_LABEL:
        raise FieldError(
            "an image of this data set has several labels, but {loss}={chosen} chooses one class; "
            + f"use {' or '.join(f'{{loss}}={name}' for name in sorted(PER_LABEL))}",
            chosen=loss,
        )
    return SEVERAL_LABELS
