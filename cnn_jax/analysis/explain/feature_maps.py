"""Inside a network: its first filters, its feature maps, its features, and Grad-CAM.

Here a network is a function of images and a tap: the tap is called with the name and the output of
every layer, in order, and what it returns goes on in the network, as `cnn_jax.models` do it.
"""

from collections import OrderedDict
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from cnn_jax.analysis.explain.attribution import Target
from cnn_jax.errors import UsageError

Tap = Callable[[str, Array], Array]
Network = Callable[[Float[Array, "n h w c"], Tap], Float[Array, "n classes"]]


def first_kernel(weights: PyTree, channels: int) -> Float[Array, "kh kw c f"]:
    """The kernel of the first convolution: of all that fit the image, the outermost and first.

    Args:
        weights: all that a network learned, or took from the data: nested containers of arrays.
        channels: of the images it is given.

    Raises:
        UsageError: if no kernel takes so many channels.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(weights)
    kernels = [
        (len(path), str(path), leaf)
        for path, leaf in leaves
        if jnp.ndim(leaf) == 4 and leaf.shape[2] == channels
    ]
    if not kernels:
        raise UsageError(
            f"the network has no convolution of {channels} channel(s); give the weights of one "
            "that has"
        )
    return min(kernels, key=lambda kernel: kernel[:2])[2]


def filter_images(kernel: Float[Array, "kh kw c f"]) -> Float[Array, "f kh kw c"]:
    """The filters as images in [-1, 1], each divided by its largest absolute weight."""
    filters = jnp.moveaxis(kernel, -1, 0)
    largest = jnp.max(jnp.abs(filters), axis=(1, 2, 3), keepdims=True)
    return filters / jnp.where(largest > 0, largest, 1)


def feature_maps(
    network: Network, images: Float[Array, "n h w c"]
) -> OrderedDict[str, Float[Array, "n fh fw f"]]:
    """What every layer with feature maps returns, by its name, in the order of the network.

    Those are convolutions, normalizations, activations, poolings and whole blocks; a compiled
    function that returns them keeps the order too.
    """
    maps: OrderedDict[str, Array] = OrderedDict()

    def tap(name: str, value: Array) -> Array:
        if value.ndim == 4:
            maps[name] = value
        return value

    network(images, tap)
    return maps


def layer_output(network: Network, layer: str, images: Float[Array, "n h w c"]) -> Array:
    """What one layer returns.

    Raises:
        UsageError: if there is no layer of that name.
    """
    return _tapped(network, layer, images, lambda value: value)[1]


def features(
    network: Network, images: Float[Array, "n h w c"], layer: str = "output"
) -> Float[Array, "n d"]:
    """What `layer` is given, one row for each image: what the network knows before it decides.

    Raises:
        UsageError: if there is no layer of that name, or none before it.
    """
    outputs: dict[str, Array] = {}

    def tap(name: str, value: Array) -> Array:
        outputs[name] = value
        return value

    network(images, tap)
    names = list(outputs)
    _check_layer(layer, names[1:])
    return outputs[names[names.index(layer) - 1]].reshape(images.shape[0], -1)


def grad_cam(
    network: Network, images: Float[Array, "n h w c"], target: Target, layer: str
) -> Float[Array, "n h w"]:
    """Where the feature maps of a layer speak for the target, at the size of the image.

    ReLU(sum over k of alpha_k A^k), alpha_k the mean over positions of dS / dA^k, then bilinear
    interpolation. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization", 2017, equations 1 and 2.

    Args:
        network: the network.
        images: the images.
        target: what is explained.
        layer: a layer with feature maps; the paper takes the last one before the classification.

    Returns:
        Values of at least 0, in units of the target.

    Raises:
        UsageError: if there is no layer of that name, or it has no feature maps.
    """
    maps = jax.eval_shape(lambda images: layer_output(network, layer, images), images)
    if len(maps.shape) != 4:
        raise UsageError(f"layer {layer!r} has no feature maps; give one before they are flattened")

    def total(shift: Array) -> tuple[Array, Array]:
        logits, value = _tapped(network, layer, images, lambda value: value + shift)
        return jnp.sum(target(logits)), value

    # The gradient with respect to a shift of the maps is that with respect to the maps.
    gradient, activations = jax.grad(total, has_aux=True)(jnp.zeros(maps.shape, maps.dtype))
    weights = jnp.mean(gradient, axis=(1, 2))
    heat = jax.nn.relu(jnp.einsum("nhwk,nk->nhw", activations, weights, precision="highest"))
    return jax.image.resize(heat, images.shape[:3], "bilinear")


def _tapped(
    network: Network, layer: str, images: Array, change: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """The logits with the output of one layer changed, and that output before the change."""
    outputs: dict[str, Array] = {}

    def tap(name: str, value: Array) -> Array:
        outputs[name] = value
        return change(value) if name == layer else value

    logits = network(images, tap)
    _check_layer(layer, list(outputs))
    return logits, outputs[layer]


def _check_layer(layer: str, names: list[str]) -> None:
    if layer not in names:
        raise UsageError(f"there is no layer {layer!r}; give one of {', '.join(names)}")
