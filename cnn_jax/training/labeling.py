"""What labels mean to a run: one class for each image, or any number of labels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt8

from cnn_jax.errors import UsageError
from cnn_jax.ops.losses import PER_LABEL
from cnn_jax.ops.metrics import accuracy, label_accuracy, label_correct

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
      UsageError: if images have several labels and the loss chooses one.
    """
    if not multi_label:
        return ONE_CLASS
    if loss not in PER_LABEL:
        raise UsageError(
            f"an image of this data set has several labels, but --loss={loss} chooses one class; "
            f"use --loss={' or --loss='.join(sorted(PER_LABEL))}"
        )
    return SEVERAL_LABELS
