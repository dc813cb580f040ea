"""Would a verdict replicate, and how many seeds would show a difference?"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from cnn_jax.analysis.statistics._seeds import FEWEST_SEEDS, seeds_to_show
from cnn_jax.analysis.statistics._verdicts import compare_to_baseline, spread_to_baseline

# So many random halves of the seeds.
_HALVES = 100


def replication(
    groups: Sequence[Mapping[int, float]],
    baseline: int,
    verdicts: Sequence[str | None],
    equivalent_within: float = 0.002,
    counts: Sequence[int] = (),
) -> list[float | None]:
    """In what share of random halves of its seeds a row has the verdict that it has of all.

    What half of the seeds says is what a study of half the size would have said: a verdict that is
    found in few halves was lucky, or is near the limit of what so many seeds can show.

    Args:
        groups: per row its finished accuracies by seed.
        baseline: index of the row that the others are compared with.
        verdicts: of the rows, by all seeds; None for the baseline.
        equivalent_within: differences smaller than this do not matter.
        counts: of seeds at each look, if rows got more from look to look: the halves are those of
            the table as it was at a row's last look.

    Returns:
        A share per row; None for the baseline, and where half of the seeds are too few for any
        verdict.
    """
    first = min((seed for group in groups for seed in group), default=0)
    shares: list[float | None] = []
    for row, (group, verdict) in enumerate(zip(groups, verdicts, strict=True)):
        seeds = max(group, default=first) - first + 1
        end = first + next((count for count in counts if count >= seeds), math.inf)
        table = tuple(
            tuple(sorted((seed, value) for seed, value in g.items() if seed < end)) for g in groups
        )
        said = _halves(table, baseline, equivalent_within)[row]
        known = [half for half in said if half is not None]
        shares.append(sum(half == verdict for half in known) / len(known) if known else None)
    return shares


@functools.lru_cache(maxsize=16)
def _halves(
    groups: tuple[tuple[tuple[int, float], ...], ...], baseline: int, within: float
) -> list[list[str | None]]:
    """The verdict of each row in each half; None where the half has too few of its seeds."""
    rng = np.random.default_rng(0)
    enough = [len(group) >= 2 * FEWEST_SEEDS for group in groups]
    found: list[list[str | None]] = [[] for _ in groups]
    if not enough[baseline] or sum(enough) < 2:
        return found
    seeds = sorted({seed for group in groups for seed, _ in group})
    for _ in range(_HALVES):
        half = set(rng.choice(seeds, len(seeds) // 2, replace=False).tolist())
        part = [{seed: value for seed, value in group if seed in half} for group in groups]
        pairs = compare_to_baseline(part, baseline, within, sign_flips=False)
        for row, pair in enumerate(pairs):
            tested = pair is not None and enough[row] and pair.n >= FEWEST_SEEDS
            found[row].append(pair.verdict if pair and tested else None)
    return found


def seeds_to_detect(
    groups: Sequence[Mapping[int, float]], baseline: int, difference: float
) -> list[int | None]:
    """With how many seeds a difference from the baseline would be shown in four cases of five.

    Corrected for all rows, with the spread that is seen in a pilot.

    Args:
        groups: per row the pilot's accuracies by seed.
        baseline: index of the row that the others are compared with.
        difference: that is to be shown, as a fraction.

    Returns:
        Per row; None for the baseline, where the pilot does not say, and beyond `MOST_SEEDS`.
    """
    spread, rows, level = spread_to_baseline(groups, baseline)
    found: list[int | None] = [None] * len(groups)
    for place, row in enumerate(rows):
        found[row] = seeds_to_show(spread.pair(place), difference, level)
    return found
