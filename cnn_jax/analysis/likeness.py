"""Whether a picture is like anything that a network was trained on, by its features.

The distance to the k-th nearest training image in the features that the last layer decides on, as a
cosine (Sun et al. 2022, arXiv:2204.06507, "Out-of-distribution detection with deep nearest
neighbors"); what is far is said by images that were held out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from cnn_jax import compilation
from cnn_jax.analysis.explain import TrainedNetwork, features, in_chunks
from cnn_jax.errors import UsageError

# The k-th neighbor, of so many training images at most.
_K = 5
_KEPT = 1000
# So many of the held-out images are nearer than what is called far.
_QUANTILE = 0.99


class Likeness(NamedTuple):
    """What training images look like to a network.

    Attributes:
        rows: features of training images, each of length 1.
        limit: the distance that 99% of the held-out images keep within, in [0, 2].
    """

    rows: Float[np.ndarray, "n d"]
    limit: float

    def distances(self, rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m"]:
        """One less the cosine to the k-th nearest training image, of features of length 1."""
        cosines = rows @ self.rows.T.astype(np.float32)
        return 1 - np.sort(cosines, axis=1)[:, -min(_K, len(self.rows))]


UnitFeatures = Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n d"]]


def unit_features(trained: TrainedNetwork) -> UnitFeatures:
    """The function from images to what the last layer decides on, each row of length 1."""

    @compilation.jit
    def program(weights: PyTree, images: Array) -> Array:
        network = trained.tapped(weights)
        found = in_chunks(lambda some: features(network, trained.normalize(some)), images)
        return found / jnp.maximum(jnp.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    return lambda images: np.asarray(program(trained.weights, images))


def learn_likeness(
    trained: TrainedNetwork,
    train: UInt8[np.ndarray, "n h w c"],
    held_out: UInt8[np.ndarray, "m h w c"],
) -> Likeness | None:
    """What images have to be like, from up to a thousand of each split.

    None where nothing was held out, where the network is not made of named layers, or where it
    diverged.
    """
    if not len(held_out):
        return None
    some = [images[:: -(-len(images) // _KEPT)] for images in (train, held_out)]
    try:
        rows = unit_features(trained)(np.concatenate(some))
    except UsageError:
        return None
    if not np.isfinite(rows).all():
        return None
    known = Likeness(rows[: len(some[0])].astype(np.float16), 2.0)
    limit = np.quantile(known.distances(rows[len(some[0]) :]), _QUANTILE)
    return known._replace(limit=float(limit))
