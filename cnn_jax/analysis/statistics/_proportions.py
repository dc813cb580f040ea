"""95% intervals of accuracies over the examples they were measured on."""

import math

import numpy as np
from jaxtyping import Float

# The quantile of the normal distribution that 95% intervals reach to.
_Z = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95% interval of a proportion: Wilson, JASA 22, 1927.

    Args:
        successes: in 0 .. trials.
        trials: at least 1.

    Returns:
        Lower and upper end, in [0, 1].
    """
    share, square = successes / trials, _Z**2
    # In SciPy's order (binomtest), to the last bit; its own takes a hundred times as long.
    scale = 2 * (trials + square)
    center = (2 * trials * share + square) / scale
    half = _Z / scale * math.sqrt(4 * trials * share * (1 - share) + square)
    return (0.0 if successes == 0 else center - half, 1.0 if successes == trials else center + half)


def mean_interval(shares: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """The 95% interval of the mean of each example's share of right answers.

    Wilson's interval, with as many independent answers as would give a mean of this variance: the
    labels of one image are right and wrong together, so there are fewer than were given. Where all
    examples have the same share, each counts as one answer.
    Dean and Pagano, "Evaluating Confidence Interval Methods for Binomial Proportions in Clustered
    Surveys", 2015, on the modified Wilson interval.

    Args:
        shares: one for each example, in [0, 1]; at least one.

    Returns:
        Lower and upper end, in [0, 1].
    """
    mean, count = float(shares.mean()), len(shares)
    variance = float(shares.var(ddof=1)) / count if count > 1 else 0.0
    answers = mean * (1 - mean) / variance if variance else count
    center = (mean + _Z**2 / (2 * answers)) / (1 + _Z**2 / answers)
    spread = math.sqrt(mean * (1 - mean) / answers + _Z**2 / (4 * answers**2))
    half = spread * _Z / (1 + _Z**2 / answers)
    return max(0.0, center - half), min(1.0, center + half)
