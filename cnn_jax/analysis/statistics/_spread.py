"""How much rows vary from seed to seed, learned from all rows together.

The accuracy of a row at a seed is taken for the row's mean, what the seed does to all rows (the
block), and an error whose variance is the row's own. A row of three seeds knows its variance badly.
Smyth ("Linear models and empirical Bayes methods", 2004) takes each row's variance for a draw from
a distribution that all rows share, so that a row borrows from the others as much as they are alike.
He estimates that distribution; from few rows the estimate is poor, so here it is summed over: every
hypothesis of a grid (`_hypotheses`) counts by how well it explains the rows.

What the seeds do is not known either. It is a mean over all rows, the quiet ones counting more, and
found together with the variances by mean-field variational Bayes (Bishop, "Pattern Recognition and
Machine Learning", 2006, section 10.1), which gives the evidence for each hypothesis too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cnn_jax.analysis.statistics._hypotheses import grid

_GRID = grid()
# So much of the weight goes to the hypotheses by which rows have least in common, whatever the rows
# say: where most are alike, a few may still not be.
_OWN = 0.01
# Mean-field variational Bayes is surer of variances than it may be (Bishop 2006, section 10.1.2):
# p is taken larger by so much of it, times the root of the share that the model has in the variance
# (`python -m benchmarks.statistics`).
_TOO_SURE = 0.076
# Accuracies nearer to 0 or 1 than this have no smaller scale.
_NEAREST = 1e-3
# The degrees of freedom that the model of independent rows counts for, beside those of the paired
# differences: a third of the square of the number of rows beyond two, up to so many.
_MOST_OF_MODEL = 2.75
# By then nine variances of ten change by less than a hundredth from one step to the next, of five
# rows or more.
_STEPS = 15


class Rows(NamedTuple):
    """What the rows together say of the variance of each, by hypothesis and kind of row.

    Attributes:
        values: that it was learned from.
        weights: of the hypotheses; they add up to 1.
        shares: the probability of each state for a row, given the hypothesis.
        freedom: degrees of freedom of each row's variance in each state.
        variance: the row's variance in it, in the unit of the values squared.
    """

    values: Float[np.ndarray, "... rows seeds"]
    weights: Float[np.ndarray, "... hypotheses"]
    shares: Float[np.ndarray, "... states rows"]
    freedom: Float[np.ndarray, "... states rows"]
    variance: Float[np.ndarray, "... states rows"]

    def of_differences(self, first: list[int], second: list[int]) -> "Spread":
        """That of the differences between rows, by their indices.

        Their degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946). The more seeds
        there are, the more the variance is that of the differences themselves, which does not need
        rows to be independent given the seed. Of two rows it is nothing else: the paired t-test.
        """

        def of(states: Int[np.ndarray, "state_pairs"], rows: list[int]) -> list[np.ndarray]:
            each = (self.shares, self.freedom, self.variance)
            return [values[..., states, :][..., rows] for values in each]

        share, freedom, one = of(_GRID.state_pairs[0], first)
        other_share, other_freedom, other = of(_GRID.state_pairs[1], second)
        weights = self.weights[..., _GRID.hypothesis[_GRID.state_pairs[0]], None]
        variance, uncertainty = one + other, one**2 / freedom + other**2 / other_freedom
        seen, count = (
            each[..., None, :]
            for each in _variances(self.values[..., first, :] - self.values[..., second, :])
        )
        # Never fewer than the differences alone have.
        freedom = np.maximum(variance**2 / uncertainty, count)
        rows = self.values.shape[-2]
        paired = count / (count + min((rows - 2) ** 2 / 3, _MOST_OF_MODEL))
        noise = np.maximum(1 / count - 1 / freedom, 0.0)
        return Spread(
            weights * share * other_share,
            1 / (1 / freedom + paired**2 * noise),
            (1 - paired) * variance + paired * seen,
            1 + _TOO_SURE * np.sqrt(1 - paired[..., 0, :]),
        )


class Spread(NamedTuple):
    """The variance of differences between rows, by hypothesis and kind of either row.

    Attributes:
        weights: of the pairs of states; those of a difference add up to 1.
        freedom: the variance's degrees of freedom.
        variance: of one seed's difference.
        caution: what p is multiplied by.
    """

    weights: Float[np.ndarray, "... state_pairs pairs"]
    freedom: Float[np.ndarray, "... state_pairs pairs"]
    variance: Float[np.ndarray, "... state_pairs pairs"]
    caution: Float[np.ndarray, "... pairs"]

    @property
    def mean(self) -> Float[np.ndarray, "... pairs"]:
        """The mean variance of each difference."""
        return (self.weights * self.variance).sum(-2)

    def pair(self, index: int) -> "Spread":
        """That of one of them."""
        one = slice(index, index + 1)
        return Spread(*(values[..., one] for values in self))


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
    known = ~np.isnan(values)
    counts = known.sum(-1)
    means = np.where(known, values, 0.0).sum(-1) / counts
    centered = np.where(known, values - means[..., None], 0.0)
    unit = _mean_variance(centered, known)[..., None, None]
    shape = scale(means)[..., None, :] ** (2 * _GRID.trend[:, None])
    shape = shape / np.exp(np.log(shape).mean(-1, keepdims=True))
    worth, freedom = _GRID.worth[_GRID.hypothesis, None], (counts - 1)[..., None, :]
    prior = worth * _GRID.common[:, None] * shape[..., _GRID.hypothesis, :]
    fit = _fit(centered / np.sqrt(unit), known, worth, prior)
    rows = values.shape[-2]
    # What the seeds do is learned from the same values: so much is left of the variances' freedom,
    # for rows that vary alike by Grubbs' estimates (JASA 43, 1948).
    left = max(0.5, (rows - 1) / (rows + 1))
    return Rows(
        values,
        _weights(fit.evidence + _GRID.log_prior),
        fit.shares,
        worth + left * freedom,
        fit.variance * unit,
    )


def _weights(evidence: Float[np.ndarray, "... hypotheses"]) -> Float[np.ndarray, "... hypotheses"]:
    from scipy import special

    own = np.where(_GRID.worth == _GRID.worth.min(), evidence, -np.inf)
    return (1 - _OWN) * special.softmax(evidence, axis=-1) + _OWN * special.softmax(own, axis=-1)


def _mean_variance(
    centered: Float[np.ndarray, "... rows seeds"], known: Bool[np.ndarray, "... rows seeds"]
) -> Float[np.ndarray, "..."]:
    """The variance of rows, were it the same in all, with what seeds do to all taken away."""
    block = centered.sum(-2, keepdims=True) / np.maximum(known.sum(-2, keepdims=True), 1)
    squares = (np.where(known, centered - block, 0.0) ** 2).sum((-1, -2))
    return squares / ((known.shape[-2] - 1) * np.maximum(known.sum(-1).mean(-1) - 1, 1))


class _Fit(NamedTuple):
    """What rows say of the grid.

    Attributes:
        evidence: for each hypothesis, a logarithm.
        shares: of each row's states.
        variance: of each row in each state.
    """

    evidence: Float[np.ndarray, "... hypotheses"]
    shares: Float[np.ndarray, "... states rows"]
    variance: Float[np.ndarray, "... states rows"]


def _fit(
    centered: Float[np.ndarray, "... rows seeds"],
    known: Bool[np.ndarray, "... rows seeds"],
    worth: Float[np.ndarray, "states 1"],
    prior: Float[np.ndarray, "... states rows"],
) -> _Fit:
    """The rows' variances and what the seeds do, found by turns.

    Args:
        centered: the values of each row about its mean, 0 where there is none.
        known: where there is one.
        worth: degrees of freedom that the common variance is worth.
        prior: what is added to a sum of squares, for the rows' common variance.
    """
    from scipy import special

    mask = known.astype(float)
    rows, counts = mask.swapaxes(-1, -2), mask.sum(-1)[..., None, :]
    own_squares, freedom = (centered**2).sum(-1)[..., None, :], worth + counts - 1
    constant = (
        worth / 2 * np.log(prior / 2) - special.gammaln(worth / 2)
        + special.gammaln(freedom / 2) + _GRID.log_share[:, None]
    )  # fmt: skip
    shares, variance, shift = np.exp(_GRID.log_share)[:, None], np.ones_like(prior), 0.0
    for _ in range(_STEPS):
        precision = np.add.reduceat(shares / variance, _GRID.first_state, axis=-2)
        total = precision @ mask
        # A seed that no row has does nothing.
        inverse = 1 / np.where(total > 0, total, 1.0)
        block = (precision @ centered - (precision * shift) @ mask) * inverse
        at_rows = block @ rows
        shift = -at_rows / counts
        squares = own_squares - 2 * block @ centered.swapaxes(-1, -2)
        squares += block**2 @ rows + at_rows * shift
        squares = np.maximum(squares, 0.0) + (counts - 1) / counts * (inverse @ rows)
        sums = prior + squares[..., _GRID.hypothesis, :]
        variance = sums / freedom
        of_states = constant - freedom / 2 * np.log(sums / 2)
        of_rows = np.logaddexp.reduceat(of_states, _GRID.first_state, axis=-2)
        shares = np.exp(of_states - of_rows[..., _GRID.hypothesis, :])
    seeds = known.shape[-1]
    of_block = 0.5 * (1 - 1 / seeds) * np.log(inverse).sum(-1)
    return _Fit(of_rows.sum(-1) + of_block, shares, variance)


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
    return np.minimum(spread.caution * (spread.weights * tails).sum(-2), 1.0)


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

    middle = 0.5 * float(np.log(spread.mean[0] / seeds))
    return float(np.exp(optimize.brentq(surplus, middle - 20, middle + 40, xtol=1e-10)))
