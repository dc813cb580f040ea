"""What the variances of rows may be draws from: a grid of hypotheses, each with its prior weight.

One part of the grid says that rows scatter about a common variance: their variances are draws from
a scaled inverse chi-squared distribution. The other says that they are of two kinds, quiet and
noisy, and that a row is either with the same chance. The second is what three seeds can tell best:
a row that looks quiet beside a noisy one may still be noisy, and how likely that is follows from
the ratio of the two (`python -m benchmarks.statistics`).
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# How many degrees of freedom the rows' common variance is worth where they scatter, and the prior
# for each.
_WORTHS = {worth: 1 / (1 + worth / 4) for worth in (0.25, 1.0, 4.0, 16.0)}
# The standard deviation goes with this power of accuracy * (1 - accuracy): 0 the same in all rows,
# 1/2 as guesses that are right by chance, 1 the same in log odds.
_TRENDS = (0.0, 0.5, 1.0)
# The ratio of the variances of noisy rows and quiet ones, what each is worth, and the prior for it.
_RATIOS = (6.0, 16.0, 50.0)
_WORTH_OF_KINDS = 16.0
_PRIOR_OF_KINDS = 16.0
# The common variance, as the logarithm of its ratio to the rows' mean variance.
_LOG_COMMON = np.linspace(-4.0, 2.0, 9)


class Hypotheses(NamedTuple):
    """The grid. A state is a hypothesis and a kind of row that it knows.

    Attributes:
        trend: the power of the accuracy that standard deviations go with.
        worth: degrees of freedom that a kind's common variance is worth.
        log_prior: of the hypothesis.
        first: the hypothesis' first state; its others follow.
        of: the hypothesis of each state.
        log_share: how likely it is that a row is in the state, under the hypothesis.
        common: the state's common variance, in mean variances of rows.
        pairs: the states of either row of a pair, under every hypothesis.
    """

    trend: Float[np.ndarray, "hypotheses"]
    worth: Float[np.ndarray, "hypotheses"]
    log_prior: Float[np.ndarray, "hypotheses"]
    first: Int[np.ndarray, "hypotheses"]
    of: Int[np.ndarray, "states"]
    log_share: Float[np.ndarray, "states"]
    common: Float[np.ndarray, "states"]
    pairs: Int[np.ndarray, "2 pairs"]


def grid() -> Hypotheses:
    """All that are summed over."""
    one_kind = [
        (trend, worth, prior, (common,))
        for trend, (worth, prior), common in itertools.product(
            _TRENDS, _WORTHS.items(), np.exp(_LOG_COMMON)
        )
    ]
    two_kinds = [
        (0.0, _WORTH_OF_KINDS, _PRIOR_OF_KINDS, (common / ratio**0.5, common * ratio**0.5))
        for ratio, common in itertools.product(_RATIOS, np.exp(_LOG_COMMON))
    ]
    trend, worth, prior, commons = zip(*one_kind, *two_kinds, strict=True)
    kinds = np.array([len(each) for each in commons])
    first = np.cumsum(kinds) - kinds
    of = np.repeat(np.arange(len(kinds)), kinds)
    pairs = [
        (start + one, start + other)
        for start, count in zip(first, kinds, strict=True)
        for one, other in itertools.product(range(count), repeat=2)
    ]
    return Hypotheses(
        *(np.array(trend), np.array(worth), np.log(prior), first, of),
        *(-np.log(kinds[of]), np.concatenate(commons), np.array(pairs).T),
    )
