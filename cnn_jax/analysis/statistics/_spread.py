"""How much rows vary from seed to seed, learned from all rows together.

The accuracy of a row at a seed is taken for the row's mean, what the seed does to all rows (the
block), and an error whose variance is the row's own. A row of three seeds knows its variance badly.
Smyth ("Linear models and empirical Bayes methods", 2004) takes each row's variance for a draw from
a scaled inverse chi-squared distribution, so that a row borrows from the others as much as they are
alike. He estimates how much; from few rows that estimate is poor, so here it is summed over: every
hypothesis of a grid counts by how well it explains the rows. So is the trend: whether the spread is
the same in all rows, or falls as their accuracy nears 100%.

What the seeds do is not known either. It is a mean over all rows, the quiet ones counting more, and
found together with the variances by mean-field variational Bayes (Bishop, "Pattern Recognition and
Machine Learning", 2006, section 10.1), which gives the evidence for each hypothesis too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

# How many degrees of freedom the rows' common variance is worth, and the prior for each. So much of
# the weight goes to the lowest whatever the rows say: where most are alike, a few may still not be
# (`python -m benchmarks.statistics`).
_WORTH = np.array([0.25, 1.0, 4.0, 16.0])
_PRIOR = (1 + _WORTH / 4) ** -1
_OWN = 0.15
# The common variance, as the logarithm of its ratio to the rows' mean variance.
_LOG_COMMON = np.linspace(-4.0, 2.0, 9)
# The standard deviation goes with this power of accuracy * (1 - accuracy): 0 the same in all rows,
# 1/2 as guesses that are right by chance, 1 the same in log odds.
_TRENDS = np.array([0.0, 0.5, 1.0])
_GRID = [axis.ravel() for axis in np.meshgrid(_TRENDS, range(len(_WORTH)), _LOG_COMMON)]
_TREND, _COMMON = _GRID[0], np.exp(_GRID[2])
_FREEDOM, _LOG_PRIOR = (values[_GRID[1].astype(int)] for values in (_WORTH, np.log(_PRIOR)))
# Accuracies nearer to 0 or 1 than this have no smaller scale.
_NEAREST = 1e-3
# The degrees of freedom that the model of independent rows counts for, beside those of the paired
# differences.
_MODEL = 4.0
# By then nine variances of ten change by less than a hundredth.
_STEPS = 15


class Rows(NamedTuple):
    """What the rows together say of the variance of each; `hypotheses` are those of the grid.

    Attributes:
        values: that it was learned from.
        weights: of the hypotheses; they add up to 1.
        freedom: degrees of freedom of each row's variance under each hypothesis.
        variance: the row's variance under it, in the unit of the values squared.
    """

    values: Float[np.ndarray, "... rows seeds"]
    weights: Float[np.ndarray, "... hypotheses"]
    freedom: Float[np.ndarray, "... hypotheses rows"]
    variance: Float[np.ndarray, "... hypotheses rows"]

    def of_differences(self, first: list[int], second: list[int]) -> "Spread":
        """That of the differences between rows, by their indices.

        Their degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946). The more seeds
        there are, the more the variance is that of the differences themselves, which does not need
        rows to be independent given the seed.
        """
        one, other = self.variance[..., first], self.variance[..., second]
        both = one**2 / self.freedom[..., first] + other**2 / self.freedom[..., second]
        seen, count = _variances(self.values[..., first, :] - self.values[..., second, :])
        # Never fewer than the differences alone have.
        freedom = np.maximum((one + other) ** 2 / both, count[..., None, :])
        variance = one + other
        share = (count / (count + _MODEL))[..., None, :]
        noise = np.maximum(1 / count[..., None, :] - 1 / freedom, 0.0)
        return Spread(
            self.weights,
            1 / (1 / freedom + share**2 * noise),
            (1 - share) * variance + share * seen[..., None, :],
        )


class Spread(NamedTuple):
    """The variance of differences between rows under each hypothesis.

    Attributes:
        weights: of the hypotheses; they add up to 1.
        freedom: its degrees of freedom.
        variance: of one seed's difference.
    """

    weights: Float[np.ndarray, "... hypotheses"]
    freedom: Float[np.ndarray, "... hypotheses pairs"]
    variance: Float[np.ndarray, "... hypotheses pairs"]

    def pair(self, index: int) -> "Spread":
        """That of one of them."""
        one = slice(index, index + 1)
        return Spread(self.weights, self.freedom[..., one], self.variance[..., one])


def _variances(
    values: Float[np.ndarray, "... rows seeds"],
) -> tuple[Float[np.ndarray, "... rows"], Float[np.ndarray, "... rows"]]:
    """The sample variances of rows without their NaN, and their degrees of freedom."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    mean = np.where(known, values, 0.0).sum(-1, keepdims=True) / count[..., None]
    squares = np.where(known, values - mean, 0.0) ** 2
    return squares.sum(-1) / (count - 1), count - 1.0


def scale(accuracy: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What the trend is a power of: accuracy * (1 - accuracy), away from zero."""
    inside = np.clip(accuracy, _NEAREST, 1 - _NEAREST)
    return inside * (1 - inside)


def moderate(values: Float[np.ndarray, "... rows seeds"]) -> Rows:
    """The spread of rows.

    Args:
        values: accuracies; NaN where a row lacks a seed. Every row has two or more, there are two
            rows or more, and at least one difference between two rows varies.
    """
    from scipy import special

    known = ~np.isnan(values)
    counts = known.sum(-1)
    means = np.where(known, values, 0.0).sum(-1) / counts
    centered = np.where(known, values - means[..., None], 0.0)
    unit = _mean_variance(centered, known)[..., None, None]
    shape = scale(means)[..., None, :] ** (2 * _TREND[:, None])
    shape = shape / np.exp(np.log(shape).mean(-1, keepdims=True))
    worth, freedom = _FREEDOM[:, None], (counts - 1)[..., None, :]
    prior = worth * _COMMON[:, None] * shape
    squares, block = _squares(centered / np.sqrt(unit), known, prior, worth + freedom)
    evidence = (
        worth / 2 * np.log(prior / 2) - special.gammaln(worth / 2)
        + special.gammaln((worth + freedom) / 2)
        - (worth + freedom) / 2 * np.log((prior + squares) / 2)
    ).sum(-1) + block + _LOG_PRIOR  # fmt: skip
    rows = values.shape[-2]
    # What the seeds do is learned from the same values: so much is left of the variances' freedom,
    # for rows that vary alike by Grubbs' estimates (JASA 43, 1948).
    left = max(0.5, (rows - 1) / (rows + 1))
    return Rows(
        values,
        _weights(evidence),
        worth + left * freedom,
        (prior + squares) / (worth + freedom) * unit,
    )


def _weights(evidence: Float[np.ndarray, "... hypotheses"]) -> Float[np.ndarray, "... hypotheses"]:
    odds = np.exp(evidence - evidence.max(-1, keepdims=True))
    own = odds * (_WORTH[0] == _FREEDOM)
    shares = [part / part.sum(-1, keepdims=True) for part in (odds, own)]
    return (1 - _OWN) * shares[0] + _OWN * shares[1]


def _mean_variance(
    centered: Float[np.ndarray, "... rows seeds"], known: Bool[np.ndarray, "... rows seeds"]
) -> Float[np.ndarray, "..."]:
    """The variance of rows, were it the same in all, with what seeds do to all taken away."""
    block = centered.sum(-2, keepdims=True) / np.maximum(known.sum(-2, keepdims=True), 1)
    squares = (np.where(known, centered - block, 0.0) ** 2).sum((-1, -2))
    return squares / ((known.shape[-2] - 1) * np.maximum(known.sum(-1).mean(-1) - 1, 1))


def _squares(
    centered: Float[np.ndarray, "... rows seeds"],
    known: Bool[np.ndarray, "... rows seeds"],
    prior: Float[np.ndarray, "... hypotheses rows"],
    freedom: Float[np.ndarray, "... hypotheses rows"],
) -> tuple[Float[np.ndarray, "... hypotheses rows"], Float[np.ndarray, "... hypotheses"]]:
    """Sums of squared errors as they are expected, and what the block adds to the evidence.

    Args:
        centered: the values of each row about its mean, 0 where there is none.
        known: where there is one.
        prior: what is added to a sum of squares, for the rows' common variance.
        freedom: of each row's variance, the prior's included.
    """
    mask = known.astype(float)
    rows, counts = mask.swapaxes(-1, -2), mask.sum(-1)[..., None, :]
    own = (centered**2).sum(-1)[..., None, :]
    precision, shift = np.ones_like(prior), np.zeros_like(prior)
    for _ in range(_STEPS):
        total = precision @ mask
        # A seed that no row has does nothing.
        inverse = 1 / np.where(total > 0, total, 1.0)
        block = (precision @ centered - (precision * shift) @ mask) * inverse
        at_rows = block @ rows
        shift = -at_rows / counts
        squares = own - 2 * block @ centered.swapaxes(-1, -2) + block**2 @ rows + at_rows * shift
        squares = np.maximum(squares, 0.0) + (counts - 1) / counts * (inverse @ rows)
        precision = freedom / (prior + squares)
    seeds = known.shape[-1]
    return squares, 0.5 * (1 - 1 / seeds) * np.log(inverse).sum(-1)


def two_sided_p(
    spread: Spread,
    differences: Float[np.ndarray, "... pairs"],
    seeds: Float[np.ndarray, "... pairs"],
) -> Float[np.ndarray, "... pairs"]:
    """Probability of a mean difference at least so far from 0, were there none.

    Args:
        spread: of the differences.
        differences: the mean over the seeds, in the unit of the spread's square root.
        seeds: of each difference.
    """
    from scipy import special

    t = np.abs(differences)[..., None, :] / np.sqrt(spread.variance / seeds[..., None, :])
    tails = 2 * special.stdtr(spread.freedom, -t)
    return (spread.weights[..., None] * tails).sum(-2)


def half_width(spread: Spread, seeds: int, level: float) -> float:
    """How far from one mean difference `two_sided_p` falls to the level.

    Args:
        spread: of one difference, without leading axes.
        seeds: of the difference.
        level: in (0, 1).
    """
    from scipy import optimize

    def surplus(log_width: float) -> float:
        width = np.array([np.exp(log_width)])
        return float(two_sided_p(spread, width, np.array([seeds]))[0]) - level

    middle = 0.5 * float(np.log((spread.weights @ spread.variance[:, 0]) / seeds))
    return float(np.exp(optimize.brentq(surplus, middle - 20, middle + 40, xtol=1e-10)))
