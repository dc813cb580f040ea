"""The networks by name: how one is built, called, and initialized from data."""

from collections.abc import Callable
from functools import partial

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.models.airnet import airnet, whiten
from cnn_jax.models.architecture import Architecture, ImageShape
from cnn_jax.models.layers import EVALUATION, Mode, Sequential, Tap
from cnn_jax.models.plain import cnn, lenet5, vgg
from cnn_jax.models.residual import resnet, resnet18, wide_resnet

MODELS: dict[str, Callable[[Architecture, ImageShape, int, nnx.Rngs], dict[str, nnx.Module]]] = {
    "airnet": airnet,
    "cnn": cnn,
    "lenet5": lenet5,
    "resnet18": resnet18,
    "resnet20": partial(resnet, 20),
    "resnet32": partial(resnet, 32),
    "resnet56": partial(resnet, 56),
    "vgg": vgg,
    "wide_resnet": wide_resnet,
}

# What some models take from the data before training: `(statistics, images) -> statistics`.
DATA_INITIALIZATIONS: dict[str, Callable[[PyTree, Float[Array, "n h w c"]], PyTree]] = {
    "airnet": whiten,
}


class Classifier(nnx.Module):
    """A network: images in, one score (logit) per class out."""

    def __init__(self, layers: dict[str, nnx.Module]):
        self.network = Sequential(**layers)

    def __call__(
        self,
        images: Float[Array, "n h w c"],
        mode: Mode = EVALUATION,
        tap: Tap = lambda name, value: value,
    ) -> Float[Array, "n classes"]:
        """The logits of a batch.

        Args:
            images: normalized images, channels last.
            mode: training or not, and the dropout.
            tap: called with the name and the output of every layer, in order; what it returns goes
                on in the network. The identity by default: use it to look at or change feature
                maps.
        """
        return self.network(images, mode, tap)


def build(
    architecture: Architecture, image_shape: ImageShape, num_classes: int, key: PRNGKeyArray
) -> Classifier:
    """The network that `architecture` describes, initialized from `key`.

    Raises:
        UsageError: if the images are too small for it.
    """
    layers = MODELS[architecture.model](architecture, image_shape, num_classes, nnx.Rngs(key))
    return Classifier(layers)


def build_abstract(
    architecture: Architecture, image_shape: ImageShape, num_classes: int
) -> Classifier:
    """The network with shapes in place of arrays: nothing is computed. Raises as `build` does."""
    return nnx.eval_shape(lambda: build(architecture, image_shape, num_classes, jax.random.key(0)))


def initialize_from_data(
    architecture: Architecture, statistics: PyTree, images: Float[Array, "n h w c"]
) -> PyTree:
    """The statistics of a network that has seen some images, before it is trained.

    The identity for a model that takes nothing from the data. Works under `jit` and `vmap`.

    Args:
        architecture: of the network.
        statistics: all that the network holds beside its parameters, as nested dicts by layer.
        images: normalized training images; some thousand are enough.

    Returns:
        As `statistics`, with the kernel of the whitening in it for `airnet`.
    """
    if architecture.model not in DATA_INITIALIZATIONS:
        return statistics
    return DATA_INITIALIZATIONS[architecture.model](statistics, images)
