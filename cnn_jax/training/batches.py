"""How the examples of a split are cut into batches, and the size that their images have."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from cnn_jax.errors import FieldError
from cnn_jax.models import Architecture, build_abstract
from cnn_jax.training.config import Config
from cnn_jax.training.optimizers import OPTIMIZERS
from cnn_jax.training.task import Task


def steps_per_epoch(config: Config, examples: int) -> int:
    """Updates in one epoch: whole batches, or one for full-batch gradient descent.

    The examples of the last, smaller batch are left out of that epoch; another shuffle leaves out
    others.

    Raises:
        FieldError: if a batch is larger than the training set.
    """
    if config.batch_size > examples:
        raise FieldError(
            "{batch_size}={size} is larger than the training split of {examples} examples; give at "
            "most {examples}",
            size=config.batch_size,
            examples=examples,
        )
    return 1 if OPTIMIZERS[config.optimizer].full_batch else examples // config.batch_size


def examples_together(config: Config) -> int:
    """The examples that a step computes at the same time, which devices may share."""
    return config.batch_size // config.micro_batches


def check_divides(config: Config, devices: int) -> None:
    """Refuses devices that batches cannot be split over.

    Raises:
        FieldError: naming what would be right.
    """
    size = examples_together(config)
    if size % devices:
        fewer = max(n for n in range(1, devices) if size % n == 0)
        raise FieldError(
            "batches of {size} cannot be split evenly over {devices} devices; give a {batch_size} "
            "that can, or {fewer} of them",
            size=size,
            devices=devices,
            fewer=fewer,
        )


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


def check_resolutions(config: Config, task: Task) -> None:
    """Refuses sizes that this training cannot have.

    Raises:
        FieldError: if a size is not smaller than the images, or the network's parameters depend
            on the size.
    """
    if not config.resolutions:
        return
    full = _shapes(config.architecture, task, task.image_shape)
    for pixels, _ in config.resolutions:
        height, width, channels = task.image_shape
        if pixels >= height:
            raise FieldError(
                "{resolutions}: {pixels} pixels are no smaller than the images, which have "
                "{height}x{width}; the epochs after the smaller ones have that size anyway",
                pixels=pixels,
                height=height,
                width=width,
            )
        small = (pixels, round(pixels * width / height), channels)
        if _shapes(config.architecture, task, small) != full:
            raise FieldError(
                "{resolutions}: {model}={name} flattens its feature maps, so its parameters depend "
                "on the size of the images; networks that pool them whole (airnet, vgg, resnets) "
                "do not",
                name=config.architecture.model,
            )


def shrink(images: Float[Array, "n h w c"], size: Size) -> Float[Array, "n s t c"]:
    """Images at a smaller size, by an antialiased bilinear filter; as they are at their own."""
    if images.shape[1:3] == size:
        return images
    shape = (images.shape[0], *size, images.shape[3])
    return jax.image.resize(images.astype(jnp.float32), shape, "linear")


def _shapes(architecture: Architecture, task: Task, image_shape: tuple[int, int, int]) -> list:
    model = build_abstract(architecture, image_shape, task.num_classes)
    return [leaf.shape for leaf in jax.tree.leaves(nnx.state(model))]
