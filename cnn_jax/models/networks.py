"""The networks by name: how one is built, called, and initialized from data."""

from functools import partial

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.models.airnet import airnet, whiten
from cnn_jax.models.architecture import MODELS, Architecture, ImageShape, Model
from cnn_jax.models.layers import EVALUATION, Mode, Sequential, Tap
from cnn_jax.models.plain import cnn, lenet5, vgg
from cnn_jax.models.residual import resnet, resnet18, wide_resnet

# The options of all networks but airnet, whose kernels begin as its recipe says.
_SHARED = frozenset({"init"})
MODELS |= {
    "airnet": Model(airnet, frozenset({"width"}), whiten),
    "cnn": Model(
        cnn, _SHARED | {"pooling", "filters", "kernel_size", "convolutions_per_block", "hidden"}
    ),
    "lenet5": Model(lenet5, _SHARED | {"pooling"}),
    "resnet18": Model(resnet18, _SHARED),
    "resnet20": Model(partial(resnet, 20), _SHARED),
    "resnet32": Model(partial(resnet, 32), _SHARED),
    "resnet56": Model(partial(resnet, 56), _SHARED),
    "vgg": Model(vgg, _SHARED | {"width"}),
    "wide_resnet": Model(wide_resnet, _SHARED),
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
    layers = MODELS[architecture.model].build(architecture, image_shape, num_classes, nnx.Rngs(key))
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
    from_data = MODELS[architecture.model].from_data
    return statistics if from_data is None else from_data(statistics, images)
