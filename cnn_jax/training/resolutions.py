"""Progressive resolution: the first epochs on smaller images, which cost less.

A network whose parameters do not depend on the size of its images trains at any; each size is a
program of its own, of the same state.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, build_abstract
from cnn_jax.training.config import Config
from cnn_jax.training.task import Task

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
      UsageError: if the stages last longer than the training, a size is not smaller than the
        images, or the network's parameters depend on the size.
    """
    if not config.resolutions:
        return
    early = sum(epochs for _, epochs in config.resolutions)
    if early > config.epochs:
        raise UsageError(
            f"--resolutions are of {early} epochs, and --epochs={config.epochs} has fewer"
        )
    full = _shapes(config.architecture, task, task.image_shape)
    for pixels, _ in config.resolutions:
        height, width, channels = task.image_shape
        if pixels >= height:
            raise UsageError(
                f"--resolutions: {pixels} pixels are no smaller than the images, which have "
                f"{height}x{width}; the epochs after the smaller ones have that size anyway"
            )
        small = (pixels, round(pixels * width / height), channels)
        if _shapes(config.architecture, task, small) != full:
            raise UsageError(
                f"--resolutions: --model={config.architecture.model} flattens its feature maps, so "
                "its parameters depend on the size of the images; networks that pool them whole "
                "(airnet, vgg, resnets) do not"
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
