"""What in an image speaks for an output: pure functions of a network, its images and a target.

A network is any function from images to logits that treats every image by itself, as networks do
in evaluation. A target says which number is explained, one for each image: `output(3)` is one
score, of a class or of a label among several, and `difference(duck, rabbit)` what tells two apart.
Images are what the network takes, as floats. Every function can be compiled by `compilation.jit`.
Grad-CAM looks into the network, and is given one with a tap.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax.analysis.explain.internals import Network, layer_output
from cnn_jax.errors import UsageError

LogitsOf = Callable[[Float[Array, "n h w c"]], Float[Array, "n classes"]]
Target = Callable[[Float[Array, "n classes"]], Float[Array, " n"]]


def output(index: int | Int[Array, " n"]) -> Target:
    """The target that is one output: the same for all images, or one for each.

    Raises:
        UsageError: when the target is read, if there is no such output.
    """

    def target(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
        outputs = logits.shape[-1]
        # The values of a JAX array may not be known yet, and are taken as they are.
        known = np.zeros(()) if isinstance(index, jax.Array) else np.asarray(index)
        if known.size and not 0 <= known.min() <= known.max() < outputs:
            raise UsageError(f"there is no output {index}; give 0 to {outputs - 1}")
        return logits[jnp.arange(logits.shape[0]), jnp.asarray(index)]

    return target


def difference(first: int | Int[Array, " n"], second: int | Int[Array, " n"]) -> Target:
    """The target that is one output less another: what speaks for `first` rather than `second`.

    Raises:
        UsageError: when the target is read, if there is no such output.
    """
    return lambda logits: output(first)(logits) - output(second)(logits)


def saliency(
    logits_of: LogitsOf, images: Float[Array, "n h w c"], target: Target
) -> Float[Array, "n h w c"]:
    """The gradient of the target with respect to the image: dS / dx.

    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualizing Image
    Classification Models and Saliency Maps", 2013, section 3; their map is `strength` of this.
    """
    # No image acts on the target of another, so the gradient of the sum is that of every image.
    return jax.grad(lambda images: jnp.sum(target(logits_of(images))))(images)


def integrated_gradients(
    logits_of: LogitsOf,
    images: Float[Array, "n h w c"],
    target: Target,
    baseline: Float[Array, "#n h w c"] | Float[Array, "h w c"] | float,
    steps: int = 64,
) -> Float[Array, "n h w c"]:
    """What every value of an image contributes to the target, counted from a baseline.

    (x - x') * integral over a in [0, 1] of dS/dx at x' + a (x - x'), by Gauss-Legendre quadrature.
    The contributions of an image add up to S(x) - S(x').
    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", 2017, equation 1.

    Args:
        logits_of: the network.
        images: the images.
        target: what is explained.
        baseline: the image x' that shows nothing, black for example; one for all, or one for each.
        steps: gradients taken on the way. The sum reaches S(x) - S(x') with few for smooth
            activations; the kinks of ReLU and max pooling leave an error that falls as 1 / steps.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    path = images - baseline

    def add(total: Array, point: tuple[Array, Array]) -> tuple[Array, None]:
        position, weight = point
        gradient = saliency(logits_of, baseline + position * path, target)
        return total + weight * gradient, None

    # From the quadrature's interval [-1, 1] to [0, 1].
    points = (jnp.asarray((nodes + 1) / 2, path.dtype), jnp.asarray(weights / 2, path.dtype))
    total, _ = lax.scan(add, jnp.zeros_like(path), points)
    return path * total


def smooth_grad(
    logits_of: LogitsOf,
    images: Float[Array, "n h w c"],
    target: Target,
    key: PRNGKeyArray,
    noise: float = 0.15,
    samples: int = 32,
) -> Float[Array, "n h w c"]:
    """The mean gradient of the target over noisy copies of the image.

    1/m sum of dS/dx at x + N(0, (noise * (max x - min x))^2).
    Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, section 3.

    Args:
        logits_of: the network.
        images: the images.
        target: what is explained.
        key: of the noise, which is drawn for every value anew.
        noise: its standard deviation, as a share of the range of the image (the paper: 0.1 to 0.2).
        samples: copies of every image.
    """
    axes = (1, 2, 3)
    span = images.max(axes, keepdims=True) - images.min(axes, keepdims=True)

    def add(total: Array, key: PRNGKeyArray) -> tuple[Array, None]:
        noisy = images + noise * span * jax.random.normal(key, images.shape, images.dtype)
        return total + saliency(logits_of, noisy, target), None

    total, _ = lax.scan(add, jnp.zeros_like(images), jax.random.split(key, samples))
    return total / samples


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
        tapped: dict[str, Array] = {}

        def tap(name: str, value: Array) -> Array:
            tapped[name] = value
            return value + shift if name == layer else value

        return jnp.sum(target(network(images, tap))), tapped[layer]

    # The gradient with respect to a shift of the maps is that with respect to the maps.
    gradient, activations = jax.grad(total, has_aux=True)(jnp.zeros(maps.shape, maps.dtype))
    weights = jnp.mean(gradient, axis=(1, 2))
    heat = jax.nn.relu(jnp.einsum("nhwk,nk->nhw", activations, weights, precision="highest"))
    return jax.image.resize(heat, images.shape[:3], "bilinear")


def strength(attributions: Float[Array, "n h w c"]) -> Float[Array, "n h w"]:
    """How much a pixel matters, for or against: the largest absolute value of its channels.

    Simonyan et al. 2013, section 3.1.
    """
    return jnp.max(jnp.abs(attributions), axis=-1)


def evidence(attributions: Float[Array, "n h w c"]) -> Float[Array, "n h w"]:
    """What a pixel contributes, for (positive) or against: the sum of its channels."""
    return jnp.sum(attributions, axis=-1)


class Occlusion(NamedTuple):
    """What covering an image place by place does to the target.

    Attributes:
        heat: drop of the target at every pixel, the mean over the patches that cover it.
        drops: drop of the target for every patch; negative where covering helps.
        tops: first row of the patches.
        lefts: first column of the patches.
    """

    heat: Float[Array, "n h w"]
    drops: Float[Array, "n p q"]
    tops: Int[Array, " p"]
    lefts: Int[Array, " q"]


def occlusion(
    logits_of: LogitsOf,
    images: Float[Array, "n h w c"],
    target: Target,
    patch: int,
    stride: int = 1,
    fill: Float[Array, " c"] | float = 0.0,
) -> Occlusion:
    """Covers every place of an image in turn and looks how far the target drops: S(x) - S(covered).

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 4.2.

    Args:
        logits_of: the network.
        images: the images.
        target: what is explained.
        patch: height and width of the square that covers, in pixels.
        stride: pixels from one patch to the next. The last patch ends at the edge, wherever the
            stride would lead.
        fill: what covers: one value, or one for each channel.

    Raises:
        UsageError: if the patch does not fit in the image, or the stride would leave gaps.
    """
    height, width = images.shape[1:3]
    if not 1 <= patch <= min(height, width):
        raise UsageError(f"patch={patch} does not fit; give 1 to {min(height, width)} pixels")
    if not 1 <= stride <= patch:
        raise UsageError(f"stride={stride} leaves gaps; give 1 to {patch}, the size of the patch")
    tops, lefts = _starts(height, patch, stride), _starts(width, patch, stride)
    in_rows, in_columns = _covered(tops, height, patch), _covered(lefts, width, patch)
    whole = target(logits_of(images))

    def drop(place: tuple[Array, Array]) -> Float[Array, " n"]:
        row, column = place
        covered = (in_rows[row][:, None] & in_columns[column])[..., None]
        return whole - target(logits_of(jnp.where(covered, fill, images)))

    places = np.indices((len(tops), len(lefts))).reshape(2, -1)
    drops = lax.map(drop, (jnp.asarray(places[0]), jnp.asarray(places[1])))
    drops = drops.T.reshape(-1, len(tops), len(lefts))
    rows, columns = in_rows.astype(drops.dtype), in_columns.astype(drops.dtype)
    total = jnp.einsum("npq,ph,qw->nhw", drops, rows, columns, precision="highest")
    heat = total / jnp.outer(rows.sum(0), columns.sum(0))
    return Occlusion(heat, drops, jnp.asarray(tops), jnp.asarray(lefts))


def first_seen(occluded: Occlusion) -> Int[Array, "n 2"]:
    """The feature an image is judged by: first row and column of the patch of the largest drop."""
    count, _, across = occluded.drops.shape
    best = jnp.argmax(occluded.drops.reshape(count, -1), axis=-1)
    return jnp.stack([occluded.tops[best // across], occluded.lefts[best % across]], axis=-1)


def _starts(size: int, patch: int, stride: int) -> np.ndarray:
    """Where patches begin along an axis so that the last one ends at the edge."""
    return np.unique(np.append(np.arange(0, size - patch + 1, stride), size - patch))


def _covered(starts: np.ndarray, size: int, patch: int) -> Array:
    """Which positions along an axis each patch covers: bool[patches, size]."""
    offset = np.arange(size) - starts[:, None]
    return jnp.asarray((offset >= 0) & (offset < patch))
