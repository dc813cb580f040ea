"""What the report of a run shows of the trained network itself: its filters, and why it erred.

Which examples are worth a look is said here once, for the report and for the page that explains.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.explain import feature_maps
from cnn_jax.analysis.explain.network import Contributions, Evidence, TrainedNetwork, contributions
from cnn_jax.analysis.report import ambiguity

MISTAKES = 12
AMBIGUOUS = 6
# Half as many gradients as a page of its own takes: nobody waits long for a report.
_STEPS = 32


class Noteworthy(NamedTuple):
    """Examples worth a look, and what is asked of each.

    Attributes:
        examples: their numbers.
        evidence: what their pictures show: what speaks for an output, one for each example.
    """

    examples: Int[np.ndarray, " m"]
    evidence: Evidence


class Insight(NamedTuple):
    """What a report shows of a trained network beside its answers.

    Attributes:
        filters: of the first convolution, each scaled to [-1, 1].
        mistakes: evidence in the surest mistakes, in their order.
        ambiguous: evidence in the most ambiguous examples, in their order.
    """

    filters: Float[np.ndarray, "f kh kw c"]
    mistakes: Float[np.ndarray, "m h w"]
    ambiguous: Float[np.ndarray, "a h w"]


def surest_mistakes(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], k: int
) -> Noteworthy:
    """The mistakes of the largest probability; what speaks for the guess and not for the truth."""
    found = ambiguity.confident_mistakes(probabilities, labels, k)
    return Noteworthy(found, Evidence(probabilities[found].argmax(1), labels[found]))


def most_ambiguous(probabilities: Float[np.ndarray, "n c"], k: int) -> Noteworthy:
    """The examples torn between two classes; what speaks for the first and not for the second."""
    found = ambiguity.most_ambiguous(jnp.asarray(probabilities), k)
    found = found[np.isfinite(probabilities[found]).all(axis=1)]
    first, second = np.argsort(-probabilities[found], axis=1, kind="stable")[:, :2].T
    return Noteworthy(found, Evidence(first, second))


def surest_wrong_answers(
    probabilities: Float[np.ndarray, "n l"],
    labels: UInt8[np.ndarray, "n l"],
    thresholds: Float[np.ndarray, "l"],
    k: int,
) -> Noteworthy:
    """The examples of the surest wrong answer; what speaks for the label that it is about."""
    return _best_answers(ambiguity.label_error(probabilities, labels, thresholds), k)


def answers_in_doubt(
    probabilities: Float[np.ndarray, "n l"], thresholds: Float[np.ndarray, "l"], k: int
) -> Noteworthy:
    """The examples with an answer nearest to turning; what speaks for its label."""
    return _best_answers(ambiguity.label_doubt(probabilities, thresholds), k)


def _best_answers(scores: Float[np.ndarray, "n l"], k: int) -> Noteworthy:
    """The examples whose best answer by these scores is best, and what speaks for its label."""
    found = ambiguity.largest(scores.max(axis=1), k)
    return Noteworthy(found, Evidence(scores[found].argmax(axis=1)))


def filters(trained: TrainedNetwork) -> Float[np.ndarray, "f kh kw c"]:
    """The filters of the first convolution, each scaled to [-1, 1] by its largest weight.

    Of a run that diverged they are 0.
    """
    kernel = feature_maps.first_kernel(trained.weights, len(trained.blank))
    return np.nan_to_num(feature_maps.filter_images(kernel))


def look(
    trained: TrainedNetwork,
    images: UInt8[np.ndarray, "n h w c"],
    mistakes: Noteworthy,
    ambiguous: Noteworthy,
) -> Insight:
    """The insight into a network that a report shows.

    Args:
        trained: the network.
        images: those that the numbers of examples are about.
        mistakes: the surest of them.
        ambiguous: the examples that it is least sure of.
    """
    contribute = contributions(trained, _STEPS)
    return Insight(
        filters(trained),
        evidence_in(contribute, images, mistakes),
        evidence_in(contribute, images, ambiguous),
    )


def evidence_in(
    contribute: Contributions, images: UInt8[np.ndarray, "n h w c"], noteworthy: Noteworthy
) -> Float[np.ndarray, "m h w"]:
    """The evidence that is asked for, in each of the examples."""
    return contribute(images[noteworthy.examples], noteworthy.evidence)
