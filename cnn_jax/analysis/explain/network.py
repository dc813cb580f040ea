"""A trained network as the pictures of it take it, and its evidence in images worth a look."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree, UInt8

from cnn_jax import compilation
from cnn_jax.analysis import predictions
from cnn_jax.analysis.explain import attribution
from cnn_jax.analysis.explain.internals import Network, Tap, filter_images, first_kernel
from cnn_jax.analysis.pictures import Style
from cnn_jax.errors import UsageError
from cnn_jax.models import Structure

# Images explained by one call of the compiled program: it serves any number, so that sections of
# a page share it.
_TOGETHER = 8


class TrainedNetwork(NamedTuple):
    """A network and what it was trained to be.

    Attributes:
        network: `(weights, normalized images, tap) -> logits`.
        logits: the same without a tap. Made by `jax.jit`, so that a program with several of its
            gradients in it is traced once; the options are those of that program.
        weights: all that it learned, an argument of every compiled program.
        normalize: from bytes to what the network takes.
        blank: the normalized value of each channel where there is nothing to see.
        structure: the network without its weights.
    """

    network: Callable[[PyTree, Array, Tap], Array]
    logits: Callable[[PyTree, Array], Array]
    weights: PyTree
    normalize: Callable[[Array], Array]
    blank: Float[Array, "c"]
    structure: Structure

    def tapped(self, weights: PyTree) -> Network:
        """The network with its weights: normalized images and a tap to logits."""
        return partial(self.network, weights)

    def logits_of(self, weights: PyTree) -> attribution.LogitsOf:
        """The network with its weights, without a tap."""
        return partial(self.logits, weights)

    def filters(self) -> Float[np.ndarray, "f kh kw c"]:
        """The filters of the first convolution, each scaled to [-1, 1] by its largest weight.

        Of a run that diverged they are 0; of a network without a convolution of the image there
        are none.
        """
        channels = len(self.blank)
        try:
            kernel = first_kernel(self.weights, channels)
        except UsageError:
            return np.zeros((0, 1, 1, channels), np.float32)
        return np.nan_to_num(np.asarray(filter_images(kernel)))


def trained_network(
    model: nnx.Module, weights: PyTree, normalize: Callable[[Array], Array], style: Style
) -> TrainedNetwork:
    """A network in evaluation.

    Args:
        model: its structure, from `models.build_abstract` for example.
        weights: its parameters and statistics, as `nnx.split` names them.
        normalize: from bytes to what the network takes.
        style: of the images that it was trained on. Nothing to see is the ground that all of them
            share, or else their mean color, which is normalized to 0.
    """
    structure = Structure.of(model)

    def network(weights: PyTree, images: Array, tap: Tap) -> Array:
        return structure.merge(*weights)(images, tap=tap)

    blank = jnp.zeros(style.shape[-1])
    if style.frame is not None:
        blank = normalize(jnp.full((1, 1, 1, 1), style.frame.level))[0, 0, 0]
    return TrainedNetwork(
        network,
        jax.jit(partial(network, tap=lambda name, value: value)),
        jax.device_get(weights),
        normalize,
        blank,
        structure,
    )


class Evidence(NamedTuple):
    """What speaks for an output: one for each image, and perhaps another that it is set against.

    Attributes:
        outputs: a class or label for each image.
        rather_than: likewise, where the logit of `outputs` less this one's is what is explained.
    """

    outputs: Int[np.ndarray, "n"]
    rather_than: Int[np.ndarray, "n"] | None = None


Contributions = Callable[[UInt8[np.ndarray, "n h w c"], Evidence], Float[np.ndarray, "n h w"]]


def contributions(trained: TrainedNetwork, steps: int = 64) -> Contributions:
    """The function from images to what every pixel of them contributes to an output.

    Integrated gradients, counted from an empty image. What it returns compiles once, for whatever
    number of images and for both kinds of `Evidence`.

    Args:
        trained: the network.
        steps: see `attribution.integrated_gradients`.
    """

    @compilation.jit
    def program(
        weights: PyTree, images: Array, outputs: Array, others: Array, against: Array
    ) -> Float[Array, "n h w"]:
        images = trained.normalize(images)

        blank = jnp.broadcast_to(trained.blank, images.shape[1:])
        first, second = attribution.output(outputs), attribution.output(others)
        found = attribution.integrated_gradients(
            trained.logits_of(weights),
            images,
            lambda logits: first(logits) - against * second(logits),
            blank,
            steps,
        )
        return attribution.evidence(found)

    def contribute(
        images: UInt8[np.ndarray, "n h w c"], evidence: Evidence
    ) -> Float[np.ndarray, "n h w"]:
        outputs = np.asarray(evidence.outputs, np.int32)
        alone = evidence.rather_than is None
        others = np.zeros_like(outputs) if alone else np.asarray(evidence.rather_than, np.int32)
        heats = [np.zeros((0, *images.shape[1:3]), np.float32)]
        for start in range(0, len(images), _TOGETHER):
            chosen = np.minimum(np.arange(start, start + _TOGETHER), len(images) - 1)
            heat = program(
                trained.weights, images[chosen], outputs[chosen], others[chosen], float(not alone)
            )
            heats.append(np.asarray(heat)[: len(images) - start])
        return np.concatenate(heats)

    return contribute


class Noteworthy(NamedTuple):
    """Examples worth a look, and what is asked of each.

    Attributes:
        examples: their numbers.
        evidence: what their pictures show: what speaks for an output, one for each example.
    """

    examples: Int[np.ndarray, " m"]
    evidence: Evidence

    def shown(
        self, contribute: Contributions, images: UInt8[np.ndarray, "n h w c"]
    ) -> Float[np.ndarray, "m h w"]:
        """The evidence that is asked for, in each of the examples.

        Args:
            contribute: what in images speaks for an output.
            images: those that the numbers of the examples are about.
        """
        return contribute(images[self.examples], self.evidence)


def surest_mistakes(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n c"],
    k: int,
    thresholds: Float[np.ndarray, "c"] | None = None,
) -> Noteworthy:
    """The mistakes that the network is surest of.

    With one class an image, those of the largest probability: what speaks for the guess and not for
    the truth. With several labels, the examples of the surest wrong answer: what speaks for the
    label that it is about.

    Args:
        probabilities: one for each class or label of each example.
        labels: true classes, or multi-hot.
        k: how many, or fewer where there are fewer.
        thresholds: of the labels; None: there is one class an image.
    """
    if thresholds is not None:
        return _best_answers(predictions.label_error(probabilities, labels, thresholds), k)
    found = predictions.confident_mistakes(probabilities, labels, k)
    return Noteworthy(found, Evidence(probabilities[found].argmax(1), labels[found]))


def least_sure(
    probabilities: Float[np.ndarray, "n c"],
    k: int,
    thresholds: Float[np.ndarray, "c"] | None = None,
) -> Noteworthy:
    """The examples that the network is least sure of.

    With one class an image, those torn between two classes: what speaks for the first and not for
    the second. With several labels, those with an answer nearest to turning: what speaks for its
    label. The arguments are those of `surest_mistakes`.
    """
    if thresholds is not None:
        return _best_answers(predictions.label_doubt(probabilities, thresholds), k)
    found = predictions.most_ambiguous(probabilities, k)
    found = found[np.isfinite(probabilities[found]).all(axis=1)]
    first, second = np.argsort(-probabilities[found], axis=1, kind="stable")[:, :2].T
    return Noteworthy(found, Evidence(first, second))


def _best_answers(scores: Float[np.ndarray, "n l"], k: int) -> Noteworthy:
    """The examples whose best answer by these scores is best, and what speaks for its label."""
    found = predictions.largest(scores.max(axis=1), k)
    return Noteworthy(found, Evidence(scores[found].argmax(axis=1)))
