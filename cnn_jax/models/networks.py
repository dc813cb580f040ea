"""The networks by name: how one is built, called, and initialized from data."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.errors import UsageError
from cnn_jax.models.airnet import airnet, whiten
from cnn_jax.models.architecture import MODELS, Architecture, ImageShape, Model
from cnn_jax.models.initialization import numbers_of_network
from cnn_jax.models.layers import EVALUATION, Mode, Sequential, Tap, set_hyperparameters
from cnn_jax.models.outside import Outside, split_variables
from cnn_jax.models.plain import cnn, lenet5, vgg
from cnn_jax.models.residual import resnet, resnet18, wide_resnet
from cnn_jax.ops import Number
from cnn_jax.ops.keys import flat_draws

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
    "resnet8": Model(partial(resnet, 8), _SHARED),
    "vgg": Model(vgg, _SHARED | {"width"}),
    "wide_resnet": Model(wide_resnet, _SHARED),
}


class Classifier(nnx.Module):
    """A network: images in, one score (logit) per class out.

    Args:
        layers: by name, or a module of one's own that is called on images.
    """

    def __init__(self, layers: dict[str, nnx.Module] | nnx.Module):
        self.network: Outside | Sequential
        if isinstance(layers, nnx.Module):
            self.network = Outside(layers)
        else:
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
    architecture: Architecture,
    image_shape: ImageShape,
    num_classes: int,
    key: PRNGKeyArray,
    hyperparameters: Mapping[str, Number] | None = None,
) -> Classifier:
    """The network that `architecture` describes, initialized from `key`.

    Args:
        architecture: the static choices.
        image_shape: height, width and channels.
        num_classes: number of logits.
        key: of the initial parameters.
        hyperparameters: by name, perhaps traced; those that functions of its layers read are kept
            in it, and kernels begin by the gain of an activation with its own.

    Raises:
        UsageError: if the images are too small for it.
    """
    model, rngs = MODELS[architecture.model], nnx.Rngs(flat_draws(key))
    hyperparameters = hyperparameters or {}
    if model.whole:
        numbers = dict(model.numbers) | dict(architecture.numbers)
        network = Classifier(model.build(image_shape, num_classes, rngs, **numbers))
    else:
        with numbers_of_network(hyperparameters):
            network = Classifier(model.build(architecture, image_shape, num_classes, rngs))
    set_hyperparameters(network, hyperparameters)
    return network


def build_abstract(
    architecture: Architecture, image_shape: ImageShape, num_classes: int
) -> Classifier:
    """The network with shapes in place of arrays: nothing is computed. Raises as `build` does."""
    return nnx.eval_shape(lambda: build(architecture, image_shape, num_classes, jax.random.key(0)))


def check_logits(architecture: Architecture, image_shape: ImageShape, num_classes: int) -> None:
    """Refuses a network that cannot be built for these images, or does not give their logits.

    Raises:
        UsageError: naming the network and the reason.
    """
    network = build_abstract(architecture, image_shape, num_classes)
    if not MODELS[architecture.model].outside:
        return
    if not jax.tree.leaves(split_variables(network)[0]):
        raise UsageError(f"network {architecture.model} has no nnx.Param, so nothing to train")
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    modes = (EVALUATION, Mode(train=True, dropout_key=jax.random.key(0)))
    for mode in modes:
        try:
            found = nnx.eval_shape(lambda network, x, mode=mode: network(x, mode), network, images)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise UsageError(
                f"network {architecture.model} cannot be called on images of "
                f"{'x'.join(map(str, image_shape))}: {type(error).__name__}: {lines[0]}"
            ) from error
        shape = getattr(found, "shape", None)
        if shape != (2, num_classes):
            raise UsageError(
                f"network {architecture.model} returns "
                + (f"shape {shape}" if shape is not None else type(found).__name__)
                + f" for 2 images, expected logits of shape {(2, num_classes)}"
            )
        if not jnp.issubdtype(found.dtype, jnp.floating):
            raise UsageError(
                f"network {architecture.model} returns {found.dtype}, expected logits of "
                "floating-point numbers"
            )


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
