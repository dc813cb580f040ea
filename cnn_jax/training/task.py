"""What a run works on: the shape of the problem, what its labels mean, its examples in batches."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Int32, Num, UInt8

from cnn_jax.data import Split, channel_statistics
from cnn_jax.errors import FIELD, FieldError
from cnn_jax.ops import (
    OUTPUT_ACTIVATIONS,
    PER_LABEL,
    accuracy,
    correct,
    label_accuracy,
    label_correct,
    sigmoid,
)
from cnn_jax.training.config import Config
from cnn_jax.training.devices import BATCH_AXIS, mesh_shape, split, whole
from cnn_jax.training.optimizers import OPTIMIZERS


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


def task_of(
    images: UInt8[np.ndarray, "n h w c"], labels: np.ndarray, num_classes: int | None = None
) -> Task:
    """The task of training images and their labels.

    Args:
        images: as bytes.
        labels: class indices, or multi-hot rows where an image has several labels.
        num_classes: one more than the largest index if not given.

    Raises:
        ValueError: if they are not such arrays.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"images are {images.dtype} of shape {images.shape}, expected uint8 of n h w c"
        )
    if len(images) != len(labels) or labels.ndim not in (1, 2):
        raise ValueError(
            f"labels have shape {labels.shape}, expected one or a row for each of {len(images)} "
            "images"
        )
    mean, std = channel_statistics(images)
    several = labels.ndim == 2
    found = labels.shape[1] if several else int(labels.max()) + 1
    height, width, channels = images.shape[1:]
    classes = found if num_classes is None else num_classes
    numbers = tuple(map(float, mean)), tuple(map(float, std))
    return Task((height, width, channels), classes, *numbers, several)


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
        answers: `(logits, labels, output) -> (probabilities, truth)`: of every question that an
            example is, the probabilities of its answers, a row each, and which is right; `output`
            is that of the loss.
    """

    targets: Callable[[Array], Num[Array, "n ..."]]
    soft_targets: Callable[[Array, int], Float[Array, "n classes"]]
    right: Callable[[Float[Array, "n classes"], Array], Num[Array, " n"]]
    accuracy: Callable[[Float[Array, "n classes"], Array], Float[Array, ""]]
    answers: Callable[
        [Float[Array, "n classes"], Array, str], tuple[Float[Array, "q c"], Int[Array, " q"]]
    ]


def _to_float(labels: UInt8[Array, "n classes"]) -> Float[Array, "n classes"]:
    return labels.astype(jnp.float32)


def _each_label(
    logits: Float[Array, "n classes"], labels: UInt8[Array, "n classes"]
) -> Float[Array, " n"]:
    return jnp.mean(label_correct(logits, labels, _BOUNDARY).astype(jnp.float32), axis=-1)


def _one_answer(
    logits: Float[Array, "n classes"], labels: Int[Array, " n"], output: str
) -> tuple[Float[Array, "n classes"], Int[Array, " n"]]:
    return OUTPUT_ACTIVATIONS[output](logits), labels


def _yes_or_no(
    logits: Float[Array, "n classes"], labels: UInt8[Array, "n classes"], output: str
) -> tuple[Float[Array, "q 2"], Int[Array, " q"]]:
    yes = sigmoid(logits).ravel()
    return jnp.stack([1 - yes, yes], axis=1), labels.ravel().astype(jnp.int32)


ONE_CLASS = Labeling(
    targets=lambda labels: labels,
    soft_targets=jax.nn.one_hot,
    right=correct,
    accuracy=accuracy,
    answers=_one_answer,
)
SEVERAL_LABELS = Labeling(
    targets=_to_float,
    soft_targets=lambda labels, classes: _to_float(labels),
    right=_each_label,
    accuracy=lambda logits, labels: jnp.mean(label_accuracy(logits, labels, _BOUNDARY)),
    answers=_yes_or_no,
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
        possible = " or ".join(f"{FIELD.loss}={name}" for name in sorted(PER_LABEL))
        raise FieldError(
            f"an image of this data set has several labels, but {FIELD.loss}={loss} chooses one "
            f"class; use {possible}"
        )
    return SEVERAL_LABELS


def to_device(examples: Split, mesh: Mesh | None = None, shard: bool = False) -> Examples:
    """A split of the data set as arrays on the devices.

    Args:
        examples: the split.
        mesh: the devices, or None for a single one.
        shard: whether each device along the axis `batch` has its part of the examples only, the
            last one's filled up with zeros, and a batch is gathered from all of them; if not, every
            device has them whole.
    """
    where = split(mesh, BATCH_AXIS) if shard else whole(mesh)
    filling = -len(examples) % mesh_shape(mesh).batch if shard else 0

    def spread(array: np.ndarray) -> jax.Array:
        if filling:
            array = np.pad(array, [(0, filling)] + [(0, 0)] * (array.ndim - 1))
        # Each device is given its part and no more.
        return jax.make_array_from_callback(array.shape, where, array.__getitem__)

    count = len(examples) if filling else None
    return Examples(spread(examples.images), spread(examples.labels), count)


def steps_per_epoch(config: Config, examples: int) -> int:
    """Updates in one epoch: whole batches, or one for full-batch gradient descent.

    The examples of the last, smaller batch are left out of that epoch; another shuffle leaves out
    others.

    Raises:
        FieldError: if a batch is larger than the training set.
    """
    if config.batch_size > examples:
        raise FieldError(
            f"{FIELD.batch_size}={config.batch_size} is larger than the training split of "
            f"{examples} examples; give at most {examples}"
        )
    return 1 if OPTIMIZERS[config.optimizer].full_batch else examples // config.batch_size


def fit_batch(config: Config, examples: int) -> Config:
    """The config with a batch that is no larger than the training set.

    Args:
        config: as it was asked for.
        examples: of the training set.

    Raises:
        FieldError: there are fewer examples than micro-batches.
    """
    if config.batch_size <= examples:
        return config
    size = examples - examples % config.micro_batches
    if not size:
        raise FieldError(
            f"{examples} training examples cannot be cut into {FIELD.micro_batches}="
            f"{config.micro_batches} parts"
        )
    return replace(config, batch_size=size)


def class_weights(labels: Int[Array, " n"], classes: int) -> Float[Array, " classes"]:
    """The weight of an example of each class that makes all classes count alike, 1 on average."""
    counts = jnp.bincount(labels, length=classes)
    there = jnp.sum(counts > 0)
    return jnp.where(counts > 0, labels.shape[0] / (there * jnp.maximum(counts, 1)), 0.0)


def examples_together(config: Config) -> int:
    """The examples that a step computes at the same time, which devices may share."""
    return config.batch_size // config.micro_batches


def padded_batches(count: int, size: int) -> tuple[Int[Array, "b s"], Float[Array, "b s"]]:
    """All indices below `count` in batches of `size`; the last is filled up, at weight 0."""
    batches = -(-count // size)
    indices = jnp.arange(batches * size).reshape(batches, size)
    return jnp.minimum(indices, count - 1), (indices < count).astype(jnp.float32)


# Height and width in pixels.
Size = tuple[int, int]


def sizes(config: Config, task: Task) -> tuple[Size, ...]:
    """The size of the training images in each epoch."""
    height, width, _ = task.image_shape
    early = [
        (pixels, round(pixels * width / height))
        for pixels, epochs in config.resolutions
        for _ in range(epochs)
    ]
    return (*early, *[(height, width)] * (config.epochs - len(early)))[: config.epochs]


def shrink(images: Float[Array, "n h w c"], size: Size) -> Float[Array, "n s t c"]:
    """Images at a smaller size, by an antialiased bilinear filter; as they are at their own."""
    if images.shape[1:3] == size:
        return images
    shape = (images.shape[0], *size, images.shape[3])
    return jax.image.resize(images.astype(jnp.float32), shape, "linear")
