"""A trained network as the pictures of it take it, and the evidence that several of them draw."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from cnn_jax.analysis.explain import attribution
from cnn_jax.analysis.explain.feature_maps import Network, Tap

# Images explained by one call of the compiled program: it serves any number, so that sections of
# a page share it.
_TOGETHER = 8


class TrainedNetwork(NamedTuple):
    """A network and what it was trained to be.

    Attributes:
        network: `(weights, normalized images, tap) -> logits`.
        logits: the same without a tap. Made by `jax.jit`, so that a program with several of its
            gradients in it is traced once.
        weights: all that it learned, an argument of every compiled program.
        normalize: from bytes to what the network takes.
        blank: the normalized value of each channel where there is nothing to see.
    """

    network: Callable[[PyTree, Array, Tap], Array]
    logits: Callable[[PyTree, Array], Array]
    weights: PyTree
    normalize: Callable[[Array], Array]
    blank: Float[Array, "c"]

    def tapped(self, weights: PyTree) -> Network:
        """The network with its weights: normalized images and a tap to logits."""
        return partial(self.network, weights)

    def logits_of(self, weights: PyTree) -> attribution.LogitsOf:
        """The network with its weights, without a tap."""
        return partial(self.logits, weights)

    def emptiness(self, images: Float[Array, "n h w c"]) -> Float[Array, "h w c"]:
        """An image that shows nothing, of the size of these."""
        return jnp.broadcast_to(self.blank, images.shape[1:])


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

    @jax.jit
    def program(
        weights: PyTree, images: Array, outputs: Array, others: Array, against: Array
    ) -> Float[Array, "n h w"]:
        images = trained.normalize(images)

        def target(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
            return attribution.output(outputs)(logits) - against * attribution.output(others)(
                logits
            )

        return attribution.evidence(
            attribution.integrated_gradients(
                trained.logits_of(weights), images, target, trained.emptiness(images), steps
            )
        )

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
