"""Means over seeds with their 95% intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
# Accuracies arrive as float32, whose spacing is 6e-8 near 1: closer values are the same.
SAME = 1e-6


class SeedMean(NamedTuple):
    """A mean over seeds; with one seed there is neither an interval nor a deviation.

    Attributes:
        n: how many seeds, at least 1.
        mean: in [0, 1], as are low and high.
        low: lower end of the 95% interval; None with one seed.
        high: its upper end.
        std: standard deviation over the seeds (divisor n - 1); None with one seed.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    std: float | None


def mean_over_seeds(values: Sequence[float]) -> SeedMean:
    """The mean accuracy of several seeds with its 95% Student t interval.

    The interval is drawn in log odds, around the mean's, so that it stays within [0, 1]; where it
    is narrow it is the usual one. Equal values give an interval without width.

    Args:
        values: one accuracy in [0, 1] per seed, at least one.

    Raises:
        ValueError: there is no value, or one is not in [0, 1].
    """
    from scipy import special

    array = np.asarray(values, float)
    n = len(array)
    if not n or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"values must be one or more numbers in [0, 1], got {list(values)}")
    mean = float(array.mean())
    if n == 1:
        return SeedMean(n, mean, None, None, None)
    if all_same(array):
        return SeedMean(n, mean, mean, mean, 0.0)
    std = float(array.std(ddof=1))
    width = reach(LEVEL, n) * std / math.sqrt(n) / (mean * (1 - mean))
    low, high = special.expit(special.logit(mean) + np.array([-width, width]))
    return SeedMean(n, mean, float(low), float(high), std)


def reach(level: float, n: int) -> float:
    """Half of a Student t interval of a mean of n seeds, in standard errors."""
    from scipy import special

    return float(special.stdtrit(n - 1, 1 - level / 2))


def all_same(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= SAME)
