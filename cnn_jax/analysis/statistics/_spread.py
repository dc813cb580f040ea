"""How much differences between rows vary from seed to seed, learned from all rows together.

A row of three seeds knows its own spread badly. Smyth ("Linear models and empirical Bayes methods",
2004) takes each row's variance for a draw from a scaled inverse chi-squared distribution, so that
a row borrows from the others as much as they are alike. He estimates how much; from few rows that
estimate is poor, so here it is summed over: every hypothesis of a grid counts by how well it
explains the rows' variances. So is the trend: whether the spread is the same in all rows, or falls
as their accuracy nears 100%.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# How many degrees of freedom the rows' common variance is worth, and the prior for each: low, so
# that rows of unequal spread are not taken for alike by chance (`python -m benchmarks.statistics`).
_WORTH = np.array([0.25, 1.0, 4.0, 16.0])
_PRIOR = (1 + _WORTH / 4) ** -3
# The common variance, as the logarithm of its ratio to the rows' mean variance.
_LOG_COMMON = np.linspace(-5.0, 2.5, 16)
# The standard deviation goes with this power of accuracy * (1 - accuracy): 0 the same in all rows,
# 1/2 as guesses that are right by chance, 1 the same in log odds.
_TRENDS = np.array([0.0, 0.5, 1.0])
_GRID = [axis.ravel() for axis in np.meshgrid(_TRENDS, range(len(_WORTH)), _LOG_COMMON)]
_TREND, _COMMON = _GRID[0], _GRID[2]
_FREEDOM, _LOG_PRIOR = (values[_GRID[1].astype(int)] for values in (_WORTH, np.log(_PRIOR)))
# Accuracies nearer to 0 or 1 than this have no smaller scale.
_NEAREST = 1e-3


class Spread(NamedTuple):
    """What the rows together say of the variance of each; `hypotheses` are those of the grid.

    Attributes:
        weights: of the hypotheses; they add up to 1.
        freedom: degrees of freedom of each row's variance under each hypothesis.
        variance: the row's variance under it, in the unit of the variances given.
    """

    weights: Float[np.ndarray, "... hypotheses"]
    freedom: Float[np.ndarray, "hypotheses rows"]
    variance: Float[np.ndarray, "... hypotheses rows"]

    def row(self, index: int) -> "Spread":
        """That of one row."""
        one = slice(index, index + 1)
        return Spread(self.weights, self.freedom[:, one], self.variance[..., one])


def scale(accuracy: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What the trend is a power of: accuracy * (1 - accuracy), away from zero."""
    inside = np.clip(accuracy, _NEAREST, 1 - _NEAREST)
    return inside * (1 - inside)


def moderate(
    variances: Float[np.ndarray, "... rows"],
    freedom: Float[np.ndarray, "rows"],
    accuracies: Float[np.ndarray, "... rows 2"],
    independent: float = 1.0,
) -> Spread:
    """The spread of rows from their own sample variances.

    A row without any spread says nothing of the others': its seeds were too coarse to tell.

    Args:
        variances: of each row's differences; at least one is positive.
        freedom: of each variance, the number of seeds less one, at least 1.
        accuracies: of the two rows that each difference is between, in [0, 1].
        independent: the share of the differences that say something new, in (0, 1].
    """
    from scipy import special

    mean = _mean_of_positive(variances)
    scales = scale(accuracies)[..., None, :, :] ** (2 * _TREND[:, None, None])
    shape = scales.mean(-1)
    shape = shape / np.exp(np.log(shape).mean(-1, keepdims=True))
    ratio = variances[..., None, :] / mean[..., None] / shape
    known, log = ratio > 0, np.log(np.where(ratio > 0, ratio, 1.0)) - _COMMON[:, None]
    prior = _FREEDOM[:, None]
    # The density of log F, F being a sample variance over the common one, by (freedom, prior).
    density = (
        freedom / 2 * (np.log(freedom / prior) + log)
        - (freedom + prior) / 2 * np.log1p(freedom / prior * np.exp(log))
        - special.betaln(freedom / 2, prior / 2)
    )
    evidence = independent * np.where(known, density, 0.0).sum(-1) + _LOG_PRIOR
    weights = np.exp(evidence - evidence.max(-1, keepdims=True))
    common = np.exp(_COMMON)[:, None]
    pooled = (prior * common + freedom * ratio) / (prior + freedom)
    return Spread(
        weights / weights.sum(-1, keepdims=True),
        np.broadcast_to(prior + freedom, (len(_TREND), len(freedom))),
        pooled * shape * mean[..., None],
    )


def _mean_of_positive(variances: Float[np.ndarray, "... rows"]) -> Float[np.ndarray, "... 1"]:
    total = variances.sum(-1, keepdims=True)
    return total / np.maximum((variances > 0).sum(-1, keepdims=True), 1)


def two_sided_p(
    spread: Spread, differences: Float[np.ndarray, "... rows"], seeds: Float[np.ndarray, "rows"]
) -> Float[np.ndarray, "... rows"]:
    """Probability of a mean difference at least so far from 0, were there none.

    Args:
        spread: of the differences.
        differences: the mean over the seeds, in the unit of the spread's square root.
        seeds: of each row.
    """
    from scipy import special

    t = np.abs(differences)[..., None, :] / np.sqrt(spread.variance / seeds)
    tails = 2 * special.stdtr(spread.freedom, -t)
    return (spread.weights[..., None] * tails).sum(-2)


def half_width(spread: Spread, seeds: int, level: float) -> float:
    """How far from one row's mean difference `two_sided_p` falls to the level.

    Args:
        spread: of one row, without leading axes.
        seeds: of the row.
        level: in (0, 1).
    """
    from scipy import optimize

    def surplus(log_width: float) -> float:
        width = np.array([np.exp(log_width)])
        return float(two_sided_p(spread, width, np.array([seeds]))[0]) - level

    middle = 0.5 * float(np.log((spread.weights @ spread.variance[:, 0]) / seeds))
    return float(np.exp(optimize.brentq(surplus, middle - 20, middle + 40, xtol=1e-10)))
