"""Which images a network is unsure of, and of which it is sure and wrong: duck or rabbit?"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from cnn_jax.errors import UsageError


def margin(probabilities: Float[Array, "*n c"]) -> Float[Array, "*n"]:
    """Probability of the first guess less that of the second: 0 is torn between two, 1 is certain.

    An image with a NaN among its probabilities has NaN.
    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction", 2001.

    Raises:
        UsageError: if there are not at least two classes.
    """
    if probabilities.shape[-1] < 2:
        raise UsageError(
            "a margin lies between two guesses; give probabilities of 2 classes or more"
        )
    best, _ = lax.top_k(probabilities, 2)
    undefined = jnp.any(jnp.isnan(probabilities), axis=-1)
    return jnp.where(undefined, jnp.nan, best[..., 0] - best[..., 1])


def most_ambiguous(probabilities: Float[Array, "n c"], k: int) -> Int[np.ndarray, " m"]:
    """Which `k` images (or all, if fewer) have the smallest `margin`, smallest first, NaN last."""
    return np.argsort(np.asarray(margin(jnp.asarray(probabilities))), kind="stable")[:k]


def confident_mistakes(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int
) -> Int[np.ndarray, " m"]:
    """Which `k` images (or fewer) have the most probable wrong first guess, surest first.

    An image with a NaN among its probabilities has no guess, and is left out.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero((probabilities.argmax(axis=1) != labels) & ~np.isnan(confidence))
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:k]


def label_error(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    thresholds: Float[np.ndarray, "l"],
) -> Float[np.ndarray, "n l"]:
    """How sure each wrong answer is: its probability's distance from the label's threshold.

    -inf where the answer is right, or where any output for the image is NaN.

    Args:
        probabilities: one for each label of each image.
        labels: multi-hot.
        thresholds: the probability from which on each label is said to be there.
    """
    distance = np.abs(probabilities - thresholds)
    wrong = (probabilities >= thresholds) != (labels > 0)
    return np.where(wrong & np.isfinite(probabilities).all(1, keepdims=True), distance, -np.inf)


def label_doubt(
    probabilities: Float[np.ndarray, "n l"], thresholds: Float[np.ndarray, "l"]
) -> Float[np.ndarray, "n l"]:
    """How near each answer is to turning: minus its distance from the label's threshold.

    -inf where any output for the image is NaN.
    """
    finite = np.isfinite(probabilities).all(1, keepdims=True)
    return np.where(finite, -np.abs(probabilities - thresholds), -np.inf)


def largest(scores: Float[np.ndarray, "n"], k: int) -> Int[np.ndarray, " m"]:
    """Which `k` scores (or fewer) are the largest, largest first; never those of -inf."""
    order = np.argsort(-scores, kind="stable")[:k]
    return order[scores[order] > -np.inf]
