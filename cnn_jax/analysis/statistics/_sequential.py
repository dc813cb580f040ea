"""Verdicts that may be looked at while seeds are added: a group-sequential test.

Whoever adds seeds until a row is decided, and tests as if the number had been set before, finds
differences where there are none more and more often. Here rows are looked at after set numbers of
seeds, each time at one level of p at which all looks together are at `LEVEL` (Pocock, Biometrika
64, 1977; Jennison and Turnbull, "Group Sequential Methods", 2000, section 4.4). The level is that
of t-tests, by simulation: Pocock's own, of a spread that is known, errs by a seventh where the
first looks have few seeds. What is decided at a look gets no more seeds, and its verdict and
interval are those of that look.

A row that has only just been decided would often not be by other seeds. So a study may ask for
more: that a row be decided, and halves of its seeds say the same. That finds no difference which
looking until rows are decided would not have found, so its error is no larger.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.statistics._family import dunnett_level, dunnett_p
from cnn_jax.analysis.statistics._means import LEVEL
from cnn_jax.analysis.statistics._replication import replication
from cnn_jax.analysis.statistics._sign_flips import sign_flip_p
from cnn_jax.analysis.statistics._verdicts import UNDECIDED, Comparison, _pair, compare_to_baseline

# From one look to the next the seeds are half as many again.
_GROWTH = 1.5
# A verdict replicates if so many random halves of the seeds have it.
REPLICATES = 0.8
# Of the level of all looks so much is spent: rows that vary more than the others err more often at
# the first looks, and those less often, but not at the later ones (`benchmarks.statistics`).
_SPENT = 0.92
# Simulated studies, by which a level is known to a fiftieth of itself or better.
_PATHS = 1_000_000


def looks(first: int, last: int) -> tuple[int, ...]:
    """After how many seeds rows are looked at.

    Args:
        first: seeds of the first look, at least 1.
        last: of the last one, at least as many.
    """
    found = [first]
    while found[-1] < last:
        found.append(min(last, math.ceil(_GROWTH * found[-1])))
    return tuple(found)


@functools.cache
def look_level(counts: tuple[int, ...], comparisons: int) -> float:
    """The level of a family at each look, so that all looks together are at `LEVEL`.

    Args:
        counts: of seeds at each look, rising, from 2 on.
        comparisons: in the family.
    """
    if len(counts) < 2:
        return LEVEL
    # Of one comparison over all looks; that of each look is Pocock's.
    alone = dunnett_level(LEVEL, comparisons)
    return float(dunnett_p(np.quantile(_smallest_p(counts), _SPENT * alone), comparisons))


def _smallest_p(counts: Sequence[int]) -> Float[np.ndarray, "paths"]:
    """The smallest two-sided p of t-tests at several looks, where there is no difference."""
    from scipy import special

    rng = np.random.default_rng(0)
    smallest, sums, squares = np.ones(_PATHS), np.zeros(_PATHS), np.zeros(_PATHS)
    for count, last in zip(counts, [0, *counts], strict=False):
        more = count - last
        added = rng.normal(0.0, math.sqrt(more), _PATHS)
        sums += added
        squares += added**2 / more + (rng.chisquare(more - 1, _PATHS) if more > 1 else 0.0)
        variance = (squares - sums**2 / count) / (count - 1)
        t = np.abs(sums) / np.sqrt(variance * count)
        smallest = np.minimum(smallest, 2 * special.stdtr(count - 1, -t))
    return smallest


class Sequential(NamedTuple):
    """What looking at rows while seeds are added has found.

    Attributes:
        pairs: each row against the baseline, as of the look that settled it, or else the last one;
            None at the baseline itself.
        open: the rows that need more seeds.
    """

    pairs: list[Comparison | None]
    open: list[int]


def compare_sequentially(
    groups: Sequence[Mapping[int, float]],
    baseline: int,
    counts: Sequence[int],
    equivalent_within: float = 0.002,
    *,
    replicated: bool = False,
) -> Sequential:
    """Each row against the baseline, as of the first look that settled it.

    Args:
        groups: per row its finished accuracies by seed; seeds count from the lowest of all.
        baseline: index of the row that the others are compared with.
        counts: of seeds at each look; those that were not reached yet are not looked at.
        equivalent_within: differences smaller than this do not matter.
        replicated: whether a row is settled only when its verdict is that of `REPLICATES` of the
            halves of its seeds too; otherwise as soon as it is decided.
    """
    seeds = sorted({seed for group in groups for seed in group})
    if not seeds:
        return Sequential(compare_to_baseline(groups, baseline, equivalent_within), [])
    found: list[Comparison | None] = [None] * len(groups)
    level = look_level(tuple(counts), max(1, len(groups) - 1))
    settled: dict[int, str] = {}
    last: dict[int, int] = {}
    before = 0
    for count in counts:
        if seeds[0] + before > seeds[-1]:
            break
        seen = [{s: value for s, value in g.items() if s < seeds[0] + count} for g in groups]
        now = compare_to_baseline(
            seen, baseline, equivalent_within, level, settled, sign_flips=False
        )
        verdicts = [pair.verdict if pair else None for pair in now]
        shares = replication(seen, baseline, verdicts, equivalent_within) if replicated else None
        for row, pair in enumerate(now):
            if pair is None or row in settled:
                continue
            found[row], last[row] = pair, seeds[0] + count
            lasting = shares is None or pair.identical or (shares[row] or 0.0) >= REPLICATES
            if pair.verdict != UNDECIDED and lasting:
                settled[row] = pair.verdict
        before = count
    for row, pair in enumerate(found):
        if pair and pair.n > 1:
            seen_last = {s: value for s, value in groups[row].items() if s < last[row]}
            differences = _pair(seen_last, groups[baseline]).differences
            found[row] = pair._replace(p_sign_flip=sign_flip_p(differences))
    rows = (row for row, pair in enumerate(found) if pair and groups[row])
    return Sequential(found, [row for row in rows if row not in settled])
