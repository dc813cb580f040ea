"""How many seeds would decide a comparison, or show a difference."""

import bisect
import math
from collections.abc import Callable

from cnn_jax.analysis.statistics._means import reach
from cnn_jax.analysis.statistics._spread import Spread

POWER = 0.8
# Two seeds that happen to agree show nothing.
FEWEST_SEEDS = 3
# Beyond so many seeds nobody will go.
MOST_SEEDS = 1000


def seeds_to_decide(
    seeds: int, difference: float, spread: Spread, level: float, within: float
) -> int | None:
    """The fewest seeds with which a comparison is decided in four cases of five; None for too many.

    Whether as better or worse, or as equivalent.

    Args:
        seeds: that there are, which do not decide it.
        difference: that they show.
        spread: of one difference.
        level: of its interval.
        within: the margin of equivalence.
    """
    from scipy import special

    variance = float(spread.mean[0])
    difference = abs(difference)

    def enough(n: int) -> bool:
        error = math.sqrt(variance / n)
        room = within / error - reach(level, n)
        inside = special.ndtr(room - difference / error) - special.ndtr(-room - difference / error)
        return max(_power(variance, difference, n, level), inside if room > 0 else 0.0) >= POWER

    return _fewest(enough, seeds + 1)


def seeds_to_show(spread: Spread, difference: float, level: float) -> int | None:
    """The fewest seeds with which a difference is shown in four cases of five; None for too many.

    Args:
        spread: of one difference.
        difference: that there is.
        level: of its test.
    """
    variance = float(spread.mean[0])
    return _fewest(lambda n: _power(variance, difference, n, level) >= POWER, FEWEST_SEEDS)


def _power(variance: float, difference: float, n: int, level: float) -> float:
    """How often a difference is shown by n seeds."""
    from scipy import special

    return float(special.ndtr(difference / math.sqrt(variance / n) - reach(level, n)))


def _fewest(enough: Callable[[int], bool], first: int) -> int | None:
    if not enough(MOST_SEEDS):
        return None
    return bisect.bisect_left(range(MOST_SEEDS), True, first, key=enough)
