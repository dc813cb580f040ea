"""How strict each of several comparisons must be, so that all together are right at a level."""

import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_TINY = 1e-300
# Of the errors of two differences to one baseline. It is a half where all rows vary alike, and less
# where the baseline varies less than the others: a tenth holds for both, at little cost.
_CORRELATION = 0.1


def dunnett_p(
    p: Float[np.ndarray, "..."] | float, comparisons: Int[np.ndarray, "..."] | int
) -> Float[np.ndarray, "..."]:
    """The probability that the smallest p of comparisons with one baseline is at most this one.

    What Dunnett's test (JASA 50, 1955) corrects for: differences to the same baseline share its
    errors, and so are correlated.

    Args:
        p: two-sided, of one comparison, in [0, 1].
        comparisons: in the family, at least 1.
    """
    from scipy import special

    p = np.asarray(p, float)
    # The share of each difference's error that is the baseline's is integrated over.
    shared = math.sqrt(_CORRELATION) * _NODES
    bound, own = -special.ndtri(np.clip(p, _TINY, 1.0) / 2)[..., None], math.sqrt(1 - _CORRELATION)
    outside = special.ndtr((shared - bound) / own) + special.ndtr((-bound - shared) / own)
    none_outside = np.log1p(-np.minimum(outside, 1 - 1e-16))
    several = -np.expm1(np.asarray(comparisons)[..., None] * none_outside) @ _WEIGHTS
    return np.clip(several, p, 1.0)


def tukey_p(p: Float[np.ndarray, "..."] | float, rows: int) -> Float[np.ndarray, "..."]:
    """The same for all pairs of rows: Tukey's studentized range.

    Args:
        p: two-sided, of one pair, in [0, 1].
        rows: in the family, at least 2.
    """
    from scipy import special, stats

    p = np.asarray(p, float)
    spans = -math.sqrt(2) * special.ndtri(np.clip(p, _TINY, 1.0) / 2)
    return np.clip(stats.studentized_range.sf(spans, rows, np.inf), p, 1.0)


@functools.cache
def dunnett_level(level: float, comparisons: int) -> float:
    """The level of each comparison with a baseline, so that all together are at `level`."""
    if comparisons == 1:
        return level
    return _solve(lambda p: float(dunnett_p(p, comparisons)), level)


@functools.cache
def tukey_level(level: float, rows: int) -> float:
    """The level of each pair of rows, so that all pairs together are at `level`."""
    from scipy import stats

    return 2 * float(stats.norm.sf(stats.studentized_range.isf(level, rows, np.inf) / 2**0.5))


def _solve(corrected: Callable[[float], float], level: float) -> float:
    from scipy import optimize

    def surplus(log_p: float) -> float:
        return corrected(math.exp(log_p)) - level

    return math.exp(optimize.brentq(surplus, math.log(level * 1e-7), math.log(level), xtol=1e-12))


def step_down(
    p: Float[np.ndarray, "... rows"], level: float
) -> tuple[Float[np.ndarray, "... rows"], Float[np.ndarray, "... rows"]]:
    """Dunnett's test, the surest comparison first: what is decided leaves the family.

    Args:
        p: of each comparison alone.
        level: of all together.

    Returns:
        The corrected p, and the level of each comparison's interval: the family's, or where the
        comparison was decided only after others had left it, that of the smaller family. So an
        interval excludes 0 exactly where the corrected p is below the level.
    """
    rows = p.shape[-1]
    levels = np.array([dunnett_level(level, count) for count in range(1, rows + 1)])
    order = np.argsort(p, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(p, order, -1)
    corrected, used = np.empty_like(sorted_p), np.full_like(sorted_p, levels[-1])
    remaining = np.full(p.shape[:-1], rows)
    for place in range(rows):
        ours = sorted_p[..., place]
        corrected[..., place] = dunnett_p(ours, remaining)
        decided = corrected[..., place] < level
        late = decided & (ours >= levels[-1])
        used[..., place] = np.where(late, levels[remaining - 1], levels[-1])
        remaining = remaining - decided
    back = np.argsort(order, axis=-1)
    return np.take_along_axis(corrected, back, -1), np.take_along_axis(used, back, -1)


def sidak(
    p: Float[np.ndarray, "... rows"], level: float
) -> tuple[Float[np.ndarray, "... rows"], Float[np.ndarray, "... rows"]]:
    """Comparisons that need have nothing in common (Šidák 1967); otherwise as `step_down`."""
    count = p.shape[-1]
    corrected = -np.expm1(count * np.log1p(-np.minimum(p, 1 - 1e-16)))
    return np.clip(corrected, p, 1.0), np.full_like(p, -np.expm1(np.log1p(-level) / count))


def all_pairs(
    p: Float[np.ndarray, "... pairs"], level: float, rows: int
) -> tuple[Float[np.ndarray, "... pairs"], Float[np.ndarray, "... pairs"]]:
    """Tukey's test of all pairs of some rows, in one step; otherwise as `step_down`."""
    return tukey_p(p, rows), np.full_like(p, tukey_level(level, rows))
