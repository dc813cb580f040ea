"""What a trained network says of images: ranked guesses, and how sure it is and should be."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from cnn_jax.errors import UsageError

# Temperatures looked at lie between 1 / 100 and 100.
_EXTREME = 100.0


class Guess(NamedTuple):
    """A class and its probability (or what stands for it in a loss that is not calibrated)."""

    name: str
    probability: float


def top_guesses(probabilities: Float[np.ndarray, "n c"], k: int = 5) -> Int[np.ndarray, "n k"]:
    """The `min(k, c)` most probable classes of each example, best first; NaN comes last."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


def ranked(
    probabilities: Float[np.ndarray, "n c"], class_names: Sequence[str], k: int
) -> list[list[Guess]]:
    """The `k` best guesses (or all, if fewer) for each image, best first."""
    return [
        [Guess(class_names[guess], float(row[guess])) for guess in guesses]
        for row, guesses in zip(probabilities, top_guesses(probabilities, k), strict=True)
    ]


def there(
    probabilities: Float[np.ndarray, "n l"],
    names: Sequence[str],
    thresholds: Float[np.ndarray, "l"],
) -> list[list[Guess]]:
    """The labels of each image that reach their threshold, the most probable first."""
    every = ranked(probabilities, names, len(names))
    least = dict(zip(names, thresholds.tolist(), strict=True))
    return [[guess for guess in row if guess.probability >= least[guess.name]] for row in every]


def true_names(label: Int[np.ndarray, ""] | UInt8[np.ndarray, "l"], names: Sequence[str]) -> str:
    """What an image truly shows: the name of its class, or those of all its labels."""
    if np.ndim(label) == 0:
        return names[int(label)]
    there = [name for name, one in zip(names, np.asarray(label), strict=True) if one]
    return ", ".join(there) or "none of the labels"


def margin(probabilities: Float[Array | np.ndarray, "*n c"]) -> Float[Array, "*n"]:
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


def most_ambiguous(probabilities: Float[np.ndarray, "n c"], k: int) -> Int[np.ndarray, " m"]:
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


def negative_log_likelihood(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], output: str = "softmax"
) -> float:
    """Mean of -log p(label) in nats: how surprised a network is by what is true.

    Args:
        logits: one row per image.
        labels: true classes.
        output: softmax; or sigmoid, where every class is a question of its own and the answers'
            surprises are added.

    Raises:
        ValueError: there is no such output.
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))
    if output == "softmax":
        return float(np.mean(np.logaddexp.reduce(logits, axis=1) - logits[rows, labels]))
    if output == "sigmoid":
        against = np.logaddexp(0, logits).sum(axis=1)
        return float(np.mean(against - logits[rows, labels]))
    raise ValueError(f"output must be softmax or sigmoid, got {output!r}")


def fit_temperature(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, "n"], output: str = "softmax"
) -> float:
    """The temperature T whose logits / T have the least negative log likelihood, and a prior.

    Above 1 the network was too sure, below it not sure enough. The first guess stays the same.
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 9; with log T drawn
    from a standard normal distribution, which counts where examples are few or all guesses right.

    Args:
        logits: of examples that the network was not trained on, one row each.
        labels: true classes.
        output: softmax or sigmoid.

    Returns:
        In [0.01, 100]. Without a prior it would be an end of that where all guesses are right, and
        every guess of the network certain.

    Raises:
        UsageError: there are no examples, or logits that are not finite.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or not np.isfinite(logits).all():
        raise UsageError("a temperature is fitted to one or more examples with finite outputs")
    logits = np.asarray(logits, np.float64)

    def surprise(log: float) -> float:
        prior = log**2 / (2 * len(labels))
        return negative_log_likelihood(logits / math.exp(log), labels, output) + prior

    found = minimize_scalar(
        surprise, bounds=(-math.log(_EXTREME), math.log(_EXTREME)), method="bounded"
    )
    return math.exp(found.x)
