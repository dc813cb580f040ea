"""What the variances of rows may be draws from: a grid of hypotheses, each with its prior weight.

By one part of the grid rows are of one kind: their variances scatter about a common one, as draws
from a scaled inverse chi-squared distribution, and standard deviations may go with the accuracy.
By the other, rows are quiet or noisy, the noisy twice as likely, and scatter about their kind's
variance. It matters most with three seeds: a row that looks quiet beside a noisy one may be noisy
itself, its seeds alike by chance, and how likely that is follows from the ratio of the two
(`python -m benchmarks.statistics`).
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# How many degrees of freedom the common variance of rows of one kind is worth, and the prior for
# each, at every point of the rest of the grid.
_WORTHS = {worth: 1 / (1 + worth / 4) for worth in (0.25, 1.0, 4.0, 16.0)}
# The standard deviation goes with this power of accuracy * (1 - accuracy): 0 the same in all rows,
# 1/2 as guesses that are right by chance, 1 the same in log odds.
_TRENDS = (0.0, 0.5, 1.0)
# The ratio of the variances of noisy and quiet rows, what either is worth, the prior, and how
# likely a row is to be noisy: 94% of the weight are on two kinds, so that no more than 5% of tables
# err where two rows vary five times as much as the others.
_RATIOS = (6.0, 16.0, 50.0)
_WORTH_OF_KINDS = 4.0
_PRIOR_OF_KINDS = 40.0
_NOISY = 2 / 3
# The common variance, of two kinds their geometric mean, as the logarithm of its ratio to the rows'
# mean variance.
_LOG_COMMON = np.linspace(-4.0, 2.0, 9)


class Hypotheses(NamedTuple):
    """The grid. A state is a hypothesis with one of its kinds of rows: one, or quiet and noisy.

    Attributes:
        trend: the power of the accuracy that standard deviations go with.
        worth: degrees of freedom that a kind's common variance is worth.
        log_prior: of the hypothesis, up to a constant.
        first_state: of the hypothesis; its others follow.
        hypothesis: of each state.
        log_share: how likely it is that a row is in the state, under the hypothesis.
        common: the state's common variance, as a multiple of the rows' mean variance.
        state_pairs: for each hypothesis every combination of the states of two rows.
    """

    trend: Float[np.ndarray, "hypotheses"]
    worth: Float[np.ndarray, "hypotheses"]
    log_prior: Float[np.ndarray, "hypotheses"]
    first_state: Int[np.ndarray, "hypotheses"]
    hypothesis: Int[np.ndarray, "states"]
    log_share: Float[np.ndarray, "states"]
    common: Float[np.ndarray, "states"]
    state_pairs: Int[np.ndarray, "2 state_pairs"]


def grid() -> Hypotheses:
    """All hypotheses and their states."""
    one_kind = [
        (trend, worth, prior, ((common, 1.0),))
        for trend, (worth, prior), common in itertools.product(
            _TRENDS, _WORTHS.items(), np.exp(_LOG_COMMON)
        )
    ]
    two_kinds = [
        (
            0.0, _WORTH_OF_KINDS, _PRIOR_OF_KINDS,
            ((common / ratio**0.5, 1 - _NOISY), (common * ratio**0.5, _NOISY)),
        )
        for ratio, common in itertools.product(_RATIOS, np.exp(_LOG_COMMON))
    ]  # fmt: skip
    trend, worth, prior, states = zip(*one_kind, *two_kinds, strict=True)
    kinds = np.array([len(each) for each in states])
    common, share = np.concatenate(states).T
    first_state = np.cumsum(kinds) - kinds
    hypothesis = np.repeat(np.arange(len(kinds)), kinds)
    state_pairs = [
        (first + one, first + other)
        for first, count in zip(first_state, kinds, strict=True)
        for one, other in itertools.product(range(count), repeat=2)
    ]
    return Hypotheses(
        trend=np.array(trend),
        worth=np.array(worth),
        log_prior=np.log(prior),
        first_state=first_state,
        hypothesis=hypothesis,
        log_share=np.log(share),
        common=common,
        state_pairs=np.array(state_pairs).T,
    )
