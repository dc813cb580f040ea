"""What a trained network says of images: ranked guesses, and how sure it should be of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.report.charts import top_guesses
from cnn_jax.errors import UsageError

# Temperatures looked at lie between 1 / 100 and 100.
_EXTREME = 100.0


class Guess(NamedTuple):
    """A class and its probability (or what stands for it in a loss that is not calibrated)."""

    name: str
    probability: float


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
    """The temperature T whose logits / T have the least negative log likelihood.

    Above 1 the network was too sure, below it not sure enough. The first guess stays the same.
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 9.

    Args:
        logits: of examples that the network was not trained on, one row each.
        labels: true classes.
        output: softmax or sigmoid.

    Returns:
        In [0.01, 100]. Where all guesses are right no temperature is the best, and a small one is
        returned; where all are wrong, a large one.

    Raises:
        UsageError: there are no examples, or logits that are not finite.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or not np.isfinite(logits).all():
        raise UsageError("a temperature is fitted to one or more examples with finite outputs")
    logits = np.asarray(logits, np.float64)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits / math.exp(log), labels, output),
        bounds=(-math.log(_EXTREME), math.log(_EXTREME)),
        method="bounded",
    )
    return math.exp(found.x)
