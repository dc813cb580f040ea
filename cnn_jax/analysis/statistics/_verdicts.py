"""Which rows of a sweep differ: verdicts with the intervals they come from.

All rows are compared in one model with the seed as block: differences are paired by seed, their
spread is learned from all rows together (`_spread`), and intervals are simultaneous (`_family`):
Dunnett's against a baseline, Tukey's for all pairs.
"""

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.statistics._family import all_pairs, dunnett_level, sidak, step_down
from cnn_jax.analysis.statistics._means import LEVEL, SAME, all_same
from cnn_jax.analysis.statistics._seeds import FEWEST_SEEDS, seeds_to_decide
from cnn_jax.analysis.statistics._sign_flips import sign_flip_p, smallest_exact_p
from cnn_jax.analysis.statistics._spread import Spread, half_width, moderate, two_sided_p

Key = TypeVar("Key", bound=Hashable)

BETTER = "better"
WORSE = "worse"
EQUIVALENT = "equivalent"
UNDECIDED = "undecided"


class Comparison(NamedTuple):
    """One row against another, paired by the seeds that both finished.

    Attributes:
        n: how many common seeds.
        difference: mean of row - other; None without a common seed.
        low: lower end of its simultaneous 95% interval; None where there is no spread to judge by.
        high: its upper end.
        std: standard deviation of the differences; None with fewer than two common seeds.
        p: two-sided, of this comparison alone; None where there is no spread to judge by.
        p_corrected: over all comparisons. Below `LEVEL` exactly where the interval excludes 0.
        p_sign_flip: of the exact test that flips the signs of the differences; None with fewer
            than two common seeds, or if not asked for. It assumes no distribution, and is not
            corrected.
        verdict: BETTER, WORSE, EQUIVALENT or UNDECIDED.
        seeds_to_decide: of an undecided comparison: the seeds with which it would be decided in
            four cases of five, were the difference and the spread those seen here; None where it is
            decided, where nothing is known, and beyond `MOST_SEEDS`.
        identical: whether the values are the same in every seed. Such rows are not tested.
    """

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    p_sign_flip: float | None = None
    verdict: str = UNDECIDED
    seeds_to_decide: int | None = None
    identical: bool = False

    @property
    def assumes_normality(self) -> bool:
        """Whether it is decided by seeds so few that no test without a distribution could."""
        return self.verdict in (BETTER, WORSE) and smallest_exact_p(self.n) > LEVEL

    @property
    def reversed(self) -> "Comparison":
        """The other row against this one."""
        low, high, difference = (None if x is None else -x for x in (self.high, self.low, self[1]))
        verdict = {BETTER: WORSE, WORSE: BETTER}.get(self.verdict, self.verdict)
        return self._replace(low=low, high=high, difference=difference, verdict=verdict)


class _Pair(NamedTuple):
    """The values of two rows at their common seeds."""

    first: Float[np.ndarray, "seeds"]
    second: Float[np.ndarray, "seeds"]

    @property
    def differences(self) -> Float[np.ndarray, "seeds"]:
        return self.first - self.second

    @property
    def identical(self) -> bool:
        """Whether both rows are the same; one or two seeds may be so by chance."""
        enough = len(self.first) >= FEWEST_SEEDS
        return enough and bool(np.abs(self.differences).max() <= SAME)

    @property
    def shifted(self) -> bool:
        """Whether the difference does not vary."""
        return len(self.first) >= FEWEST_SEEDS and all_same(self.differences)

    @property
    def testable(self) -> bool:
        """Whether there are seeds enough for a verdict, and a difference to judge."""
        return len(self.first) >= FEWEST_SEEDS and not self.identical

    @property
    def variance(self) -> float:
        return 0.0 if all_same(self.differences) else float(self.differences.var(ddof=1))


def compare_to_baseline(
    groups: Sequence[Mapping[int, float]],
    baseline: int,
    equivalent_within: float = 0.002,
    level: float = LEVEL,
    settled: Mapping[int, str] | None = None,
    *,
    sign_flips: bool = True,
) -> list[Comparison | None]:
    """Each row's accuracies against the baseline's, by Dunnett's test, step down.

    A row is better or worse where its simultaneous interval excludes 0; equivalent where the
    interval lies within the margin, which is two one-sided tests, corrected too.

    Rows that are identical to the baseline in every seed are not tested; rows that are identical
    to each other count once.

    Args:
        groups: per row its finished accuracies by seed, in [0, 1]; may be empty.
        baseline: index of the row that the others are compared with.
        equivalent_within: differences smaller than this do not matter.
        level: of all comparisons together; p is given as if it were `LEVEL`.
        settled: verdicts of rows that an earlier look decided: those shown to differ have left the
            family, equivalent ones stay in it.
        sign_flips: whether `p_sign_flip` is wanted, which takes the most time of many seeds.

    Returns:
        One comparison per row, None at the baseline itself.
    """
    pairs = {
        (index, baseline): _pair(group, groups[baseline])
        for index, group in enumerate(groups)
        if index != baseline
    }
    tested = _without_twins(pairs)
    members = sorted(set(tested.values()))
    before = {key: settled[key[0]] for key in members if settled and key[0] in settled}
    places = {members.index(key): float(verdict == EQUIVALENT) for key, verdict in before.items()}

    def correct(p: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        p = p.copy()
        p[list(places)] = list(places.values())
        return step_down(p, level)

    found = _compare(
        groups, pairs, members, correct, equivalent_within, level, sign_flips=sign_flips
    )
    keys = [(index, baseline) for index in range(len(groups))]
    return [found.get(tested.get(key, key)) for key in keys]


def compare_all(
    groups: Sequence[Mapping[int, float]], equivalent_within: float = 0.002, level: float = LEVEL
) -> dict[tuple[int, int], Comparison]:
    """Every pair of rows, by Tukey's test; otherwise as `compare_to_baseline`.

    Returns:
        By the indices of two rows, the lower one first, the first against the second.
    """
    pairs = {
        (first, second): _pair(groups[first], groups[second])
        for first, second in itertools.combinations(range(len(groups)), 2)
    }
    members = [key for key, pair in pairs.items() if pair.testable]
    # Of rows that are identical, one stands for all.
    copies: dict[int, int] = {}
    for (first, second), pair in pairs.items():
        if pair.identical:
            copies.setdefault(second, first)
    rows = max(2, len({row for key in members for row in key} - copies.keys()))
    correct = functools.partial(all_pairs, rows=rows)
    return _compare(groups, pairs, members, correct, equivalent_within, level, copies)


def compare_each(
    sides: Mapping[Key, tuple[Mapping[int, float], Mapping[int, float]]],
    equivalent_within: float = 0.002,
) -> dict[Key, Comparison]:
    """Pairs of rows that need have no row in common, all together at the level (Šidák).

    Args:
        sides: by any key the accuracies of two rows by seed, in [0, 1].
        equivalent_within: differences smaller than this do not matter.

    Returns:
        By key the first against the second; otherwise as `compare_to_baseline`.
    """
    rows = {id(row): row for both in sides.values() for row in both}
    places = {key: place for place, key in enumerate(rows)}
    keys = {key: (places[id(first)], places[id(second)]) for key, (first, second) in sides.items()}
    pairs = {keys[key]: _pair(*both) for key, both in sides.items()}
    members = [key for key, pair in pairs.items() if pair.testable]
    found = _compare(list(rows.values()), pairs, members, sidak, equivalent_within, LEVEL)
    return {key: found[place] for key, place in keys.items()}


def _pair(values: Mapping[int, float], others: Mapping[int, float]) -> _Pair:
    seeds = sorted(values.keys() & others.keys())
    return _Pair(*(np.array([side[seed] for seed in seeds], float) for side in (values, others)))


_Key = tuple[int, int]


def _without_twins(pairs: Mapping[_Key, _Pair]) -> dict[_Key, _Key]:
    """Rows that can be tested, with the first row of the same values."""
    found: dict[_Key, _Key] = {}
    for key, pair in pairs.items():
        if pair.testable:
            twin = (
                other
                for other in found
                if np.array_equal(pair.second, pairs[other].second)
                and np.abs(pair.first - pairs[other].first).max() <= SAME
            )
            found[key] = next(twin, key)
    return found


def _compare(
    groups: Sequence[Mapping[int, float]],
    pairs: Mapping[_Key, _Pair],
    tested: Sequence[_Key],
    correct: Callable,
    within: float,
    level: float,
    copies: Mapping[int, int] | None = None,
    *,
    sign_flips: bool = True,
) -> dict[_Key, Comparison]:
    """The comparison of every pair.

    Args:
        groups: the accuracies of each row by seed.
        pairs: by the indices of their rows.
        tested: those of them that can be tested.
        correct: `(p, level) -> (corrected p, level of each interval)`.
        within: the margin of equivalence.
        level: of all comparisons together.
        copies: rows that are identical to another one, by index.
        sign_flips: whether `p_sign_flip` is wanted.
    """
    found = {key: _untested(pair, sign_flips) for key, pair in pairs.items()}
    if not any(pairs[key].variance > 0 for key in tested):
        return found
    seeds = np.array([len(pairs[key].first) for key in tested])
    means = np.array([pairs[key].differences.mean() for key in tested])
    spread = _spread(groups, tested, copies or {})
    p = two_sided_p(spread, means, seeds)
    corrected, levels = correct(p, level)
    for place, key in enumerate(tested):
        own, used = spread.pair(place), float(levels[place])
        width = half_width(own, int(seeds[place]), used)
        mean, decided = float(means[place]), bool(corrected[place] < level)
        verdict = _verdict(mean, width, decided, within)
        found[key] = found[key]._replace(
            low=max(-1.0, mean - width),
            high=min(1.0, mean + width),
            p=float(p[place]),
            p_corrected=min(1.0, float(corrected[place]) * (LEVEL / level)),
            verdict=verdict,
            seeds_to_decide=seeds_to_decide(int(seeds[place]), mean, own, used, within)
            if verdict == UNDECIDED
            else None,
        )
    return found


def _spread(
    groups: Sequence[Mapping[int, float]], pairs: Sequence[_Key], copies: Mapping[int, int]
) -> Spread:
    """That of the differences of each pair, from all rows that are in one.

    Of rows whose difference does not vary, which is no chance but too few digits, the first stands
    for all.
    """
    members = sorted({row for key in pairs for row in key})
    places: dict[int, int] = {}
    rows: list[int] = []
    for row in members:
        same = (other for other in rows if _pair(groups[row], groups[other]).shifted)
        other = copies.get(row, next(same, row))
        if other == row:
            rows.append(row)
        places[row] = places.get(other, len(rows) - 1)
    seeds = sorted({seed for row in rows for seed in groups[row]})
    values = np.array([[groups[row].get(seed, np.nan) for seed in seeds] for row in rows])
    first, second = ([places[key[side]] for key in pairs] for side in (0, 1))
    return moderate(values).of_differences(first, second)


def _untested(pair: _Pair, sign_flips: bool) -> Comparison:
    """What is known of a pair before any test."""
    n = len(pair.first)
    if not n:
        return Comparison(0)
    mean = float(pair.differences.mean())
    if n == 1:
        return Comparison(1, mean)
    if pair.identical:
        return Comparison(n, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, verdict=EQUIVALENT, identical=True)
    std = math.sqrt(pair.variance)
    p = sign_flip_p(pair.differences) if sign_flips else None
    return Comparison(n, mean, std=std, p_sign_flip=p)


def _verdict(difference: float, width: float, decided: bool, within: float) -> str:
    if decided:
        return BETTER if difference > 0 else WORSE
    return EQUIVALENT if abs(difference) + width <= within else UNDECIDED


def spread_to_baseline(
    groups: Sequence[Mapping[int, float]], baseline: int
) -> tuple[Spread, list[int], float]:
    """The spread of the differences from a baseline, the rows that they are of, and their level.

    Args:
        groups: per row its accuracies by seed.
        baseline: index of the row that the others are compared with.

    Returns:
        Rows that cannot be tested are not among them.
    """
    pairs = {
        (row, baseline): _pair(group, groups[baseline])
        for row, group in enumerate(groups)
        if row != baseline
    }
    tested = sorted(key for key, pair in pairs.items() if pair.testable)
    if not any(pairs[key].variance > 0 for key in tested):
        none = np.zeros((1, 0))
        return Spread(none, none, none, none[0]), [], LEVEL
    level = dunnett_level(LEVEL, len(tested))
    return _spread(groups, tested, {}), [row for row, _ in tested], level
