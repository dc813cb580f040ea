"""95% intervals of accuracies over the examples they were measured on."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_CONFIDENCE = 0.95
LEVEL = 0.05
_POWER = 0.8
# Accuracies arrive as float32, whose spacing is 6e-8 near 1: closer values are the same.
SAME = 1e-6

BETTER = "better"
WORSE = "worse"
NO_DIFFERENCE = "no difference shown"
TOO_FEW = "too few seeds"


class SeedMean(NamedTuple):
    """A mean over seeds; with one seed there is neither an interval nor a deviation.

    Attributes:
        n: how many seeds, at least 1.
        mean: in the unit of the values, as are low, high and std.
        low: lower end of the 95% Student t interval; None with one seed.
        high: its upper end.
        std: standard deviation over the seeds (divisor n - 1); None with one seed.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    std: float | None


class Comparison(NamedTuple):
    """One variant against the baseline, paired by the seeds that both finished.

    Attributes:
        n: how many common seeds.
        difference: mean of variant - baseline; None without a common seed.
        low: lower end of its 95% Student t interval; None with fewer than two common seeds.
        high: its upper end.
        std: standard deviation of the differences; None with fewer than two common seeds.
        p: two-sided, of the paired t-test; None where there is no spread to judge by.
        p_holm: p corrected over all comparisons that have one.
        verdict: BETTER, WORSE, NO_DIFFERENCE or TOO_FEW.
    """

    n: int
    difference: float | None
    low: float | None
    high: float | None
    std: float | None
    p: float | None
    p_holm: float | None
    verdict: str


def mean_over_seeds(values: Sequence[float]) -> SeedMean:
    """The mean of values of several seeds with its 95% Student t interval.

    Equal values give an interval without width.

    Args:
        values: one finite number per seed, at least one.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    from scipy import stats

    array = np.asarray(values, float)
    n = len(array)
    if not n or not np.isfinite(array).all():
        raise ValueError(f"values must be one or more finite numbers, got {list(values)}")
    mean = float(array.mean())
    if n == 1:
        return SeedMean(n, mean, None, None, None)
    if _all_same(array):
        return SeedMean(n, mean, mean, mean, 0.0)
    low, high = stats.t.interval(_CONFIDENCE, n - 1, loc=mean, scale=stats.sem(array))
    return SeedMean(n, mean, float(low), float(high), float(array.std(ddof=1)))


def _all_same(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= SAME)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> tuple[SeedMean | None, float | None]:
    """The mean of value - baseline over their common seeds, and p of the paired t-test.

    Where all differences are the same there is no spread to judge by: p is 1 if they are zero, and
    not defined if they are not (the formula would say 0, certainty from perhaps two seeds).

    Args:
        values: by seed.
        baseline: by seed.

    Returns:
        The difference (None without a common seed) and the two-sided p (None with fewer than two
        common seeds, or where it is not defined).
    """
    from scipy import stats

    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None, None
    first = np.array([values[seed] for seed in seeds], float)
    second = np.array([baseline[seed] for seed in seeds], float)
    difference = mean_over_seeds(first - second)
    if len(seeds) == 1:
        return difference, None
    if _all_same(first - second):
        return difference, 1.0 if abs(difference.mean) <= SAME else None
    return difference, float(stats.ttest_rel(first, second).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for their number, step down: Holm, Scand. J. Statist. 6, 1979.

    The chance of one or more false finds among all stays below the level that the corrected values
    are held against, whatever their dependence.

    Args:
        p_values: in [0, 1], of all comparisons of one family.

    Returns:
        The corrected values in the same order, in [0, 1].
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1) * p[order]
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def compare_to_baseline(
    groups: Sequence[Mapping[int, float]], baseline: int
) -> list[Comparison | None]:
    """Each group of values against the baseline's, p corrected over all of these comparisons.

    Args:
        groups: per variant its finished values by seed; may be empty.
        baseline: index of the group that the others are compared with.

    Returns:
        One comparison per group, None at the baseline itself.
    """
    pairs = {
        index: paired_difference(group, groups[baseline])
        for index, group in enumerate(groups)
        if index != baseline
    }
    tested = {index: p for index, (_, p) in pairs.items() if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        _comparison(*pairs[index], corrected.get(index)) if index in pairs else None
        for index in range(len(groups))
    ]


def _comparison(difference: SeedMean | None, p: float | None, p_holm: float | None) -> Comparison:
    if difference is None:
        return Comparison(0, None, None, None, None, None, None, TOO_FEW)
    verdict = NO_DIFFERENCE
    if p_holm is None:
        verdict = TOO_FEW
    elif p_holm < LEVEL:
        verdict = BETTER if difference.mean > 0 else WORSE
    return Comparison(*difference, p, p_holm, verdict)


def smallest_exact_p(n: int) -> float:
    """The smallest two-sided p that n pairs can reach in a test that assumes no distribution.

    Such a test flips the signs of the differences; of the 2^n ways two are the most extreme.
    Fisher, "The Design of Experiments", 1935, section 21.
    """
    return min(1.0, 2.0 / 2**n)


def interval_half_width(n: int) -> float:
    """Half the 95% Student t interval of a mean of n >= 2 seeds, in standard deviations."""
    from scipy import stats

    return float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)) / math.sqrt(n)


def detectable_difference(n: int) -> float:
    """The true difference that a paired t-test of n >= 2 pairs finds in four cases of five.

    Returns:
        In standard deviations of the paired differences, for one comparison at the level of 5%
        without correction: the power of the test, by the noncentral t distribution, is 80% there.
    """
    from scipy import optimize, stats

    critical = stats.t.ppf(1 - LEVEL / 2, n - 1)

    def surplus(effect: float) -> float:
        # The other tail, a find of the wrong sign, is below 1e-4 wherever the power is 80%.
        return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n))) - _POWER

    return float(optimize.brentq(surplus, 0.01, 30.0))


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
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


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
