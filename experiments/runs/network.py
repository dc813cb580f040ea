"""What the pictures of a trained network are drawn from, for the programs that draw some."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8

from cnn_jax import training
from cnn_jax.analysis import pictures
from cnn_jax.analysis.explain.feature_maps import Tap
from cnn_jax.analysis.explain.network import TrainedNetwork
from cnn_jax.models import build_abstract
from cnn_jax.training.task import normalize


def trained_network(
    config: training.Config,
    task: training.Task,
    state: training.TrainState,
    images: UInt8[np.ndarray, "n h w c"],
) -> TrainedNetwork:
    """A network in evaluation, with the weights that predict.

    Args:
        config: of its run.
        task: likewise.
        state: what it was trained to be.
        images: some that it was trained on, which tell what an empty image is.
    """
    skeleton, *_ = nnx.split(
        build_abstract(config.architecture, task.image_shape, task.num_classes)
    )

    def network(weights: PyTree, images: Array, tap: Tap) -> Array:
        return nnx.merge(skeleton, *weights)(images, tap=tap)

    return TrainedNetwork(
        network,
        jax.jit(partial(network, tap=lambda name, value: value)),
        jax.device_get(state.weights),
        lambda images: normalize(task, images),
        _blank(task, pictures.learn_style(images)),
    )


def _blank(task: training.Task, style: pictures.Style) -> Float[Array, "c"]:
    """Nothing to see is the ground that all training images share, or else their mean color."""
    if style.frame is None:
        return jnp.zeros(task.image_shape[2])
    return normalize(task, jnp.full((1, 1, 1, 1), style.frame.level))[0, 0, 0]
