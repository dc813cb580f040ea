"""Several data sets: each is a block, within which rows are ranked; accuracies are never mixed.

Ranks by Friedman's test with Nemenyi's post-hoc (Demšar, JMLR 7, 2006); how probable it is that a
row is better than the baseline, over seeds and data sets (Agarwal et al., NeurIPS 2021); and
performance profiles (Dolan and Moré 2002) of errors against the best row of each data set.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.ablation.records import DATASET, NOT_READ, SweepRecord
from cnn_jax.analysis.ablation.summaries import accuracies_by_row
from cnn_jax.analysis.figures import PALETTE, legend, panel, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESAMPLES = 2000
# An error below this counts as this in a ratio: of 10,000 images none is wrong.
_LEAST_ERROR = 1e-4
_PROFILE_TO = 3.0


class Ranked(NamedTuple):
    """One row over all data sets.

    Attributes:
        label: its values on the other axes.
        ranks: on each data set, 1 for the highest mean accuracy; ties share theirs.
        mean_rank: of these.
        p: Nemenyi's, against the baseline; None at the baseline, and without a test.
        improvement: the probability that it is better than the baseline with another seed, the mean
            over the data sets; None at the baseline, and without one.
        low: of its 95% interval over the seeds, by stratified bootstrap.
        high: likewise.
    """

    label: str
    ranks: list[float]
    mean_rank: float
    p: float | None
    improvement: float | None
    low: float | None
    high: float | None


class Blocks(NamedTuple):
    """What several data sets say together.

    Attributes:
        datasets: the blocks.
        rows: of those with a result on every data set, the lowest mean rank first.
        friedman_p: that all rows are alike; None with fewer than three rows or two data sets.
        critical: mean ranks that differ by more are shown to differ (Nemenyi); likewise.
        baseline: the label of the baseline, if it is among the rows.
    """

    datasets: list[str]
    rows: list[Ranked]
    friedman_p: float | None
    critical: float | None
    baseline: str | None


def by_data_set(record: SweepRecord) -> dict[str, dict[str, list[float]]]:
    """Accuracies over the seeds by row and data set, of the rows that have some on every one."""
    found: dict[str, dict[str, list[float]]] = {}
    for variant, seen in zip(record.variants, accuracies_by_row(record), strict=True):
        if seen:
            found.setdefault(_rest(variant), {})[variant[DATASET]] = list(seen.values())
    count = len({variant[DATASET] for variant in record.variants})
    return {row: of_sets for row, of_sets in found.items() if len(of_sets) == count}


def _rest(variant: Mapping[str, str]) -> str:
    values = (value for name, value in variant.items() if name != DATASET and value != NOT_READ)
    return " · ".join(values) or NOT_READ


def blocks(record: SweepRecord) -> Blocks | None:
    """What the data sets say together; None without an axis of them, or with one row."""
    if DATASET not in record.axes or len(record.axes) < 2:
        return None
    found = by_data_set(record)
    if len(found) < 2:
        return None
    datasets = list(dict.fromkeys(variant[DATASET] for variant in record.variants))
    means = np.array([[np.mean(seen[name]) for name in datasets] for seen in found.values()])
    ranks, test, critical = rank_test(means)
    base = None if record.baseline is None else _rest(record.variants[record.baseline])
    base = base if base in found else None
    rows = []
    for place, (row, seen) in enumerate(found.items()):
        p = improvement = low = high = None
        if base is not None and row != base:
            if test is not None:
                other = ranks[list(found).index(base)].mean()
                p = nemenyi_p(ranks[place].mean() - other, *means.shape)
            pairs = [(seen[name], found[base][name]) for name in datasets]
            improvement, low, high = probability_of_improvement(pairs)
        rows.append(
            Ranked(
                row, ranks[place].tolist(), float(ranks[place].mean()), p, improvement, low, high
            )
        )
    return Blocks(datasets, sorted(rows, key=lambda row: row.mean_rank), test, critical, base)


def rank_test(
    means: Float[np.ndarray, "rows datasets"],
) -> tuple[Float[np.ndarray, "rows datasets"], float | None, float | None]:
    """Ranks within each data set, Friedman's p, and the difference of mean ranks that is shown."""
    from scipy import stats

    ranks = stats.rankdata(-means, axis=0)
    rows, datasets = means.shape
    if rows < 3 or datasets < 2:
        return ranks, None, None
    p = float(stats.friedmanchisquare(*means).pvalue)
    reach = float(stats.studentized_range.isf(0.05, rows, np.inf)) / math.sqrt(2)
    error = math.sqrt(rows * (rows + 1) / (6 * datasets))
    return ranks, 1.0 if math.isnan(p) else p, reach * error


def nemenyi_p(difference: float, rows: int, datasets: int) -> float:
    """Of two mean ranks that differ by this, corrected for all pairs of rows."""
    from scipy import stats

    span = abs(difference) / math.sqrt(rows * (rows + 1) / (6 * datasets)) * math.sqrt(2)
    return float(stats.studentized_range.sf(span, rows, np.inf))


def probability_of_improvement(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[float, float, float]:
    """That a run of the first is better than one of the second, with its 95% interval.

    Args:
        pairs: of each data set the accuracies of both over their seeds; ties count one half.
    """
    rng = np.random.default_rng(0)

    def share(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        gap = first[..., :, None] - second[..., None, :]
        return ((gap > 0) + (gap == 0) / 2).mean((-2, -1))

    found, drawn = [], []
    for first, second in pairs:
        sides = np.asarray(first, float), np.asarray(second, float)
        found.append(share(*sides))
        drawn.append(share(*(rng.choice(side, (_RESAMPLES, len(side))) for side in sides)))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(np.mean(found)), float(low), float(high)


def performance_profile(record: SweepRecord) -> "Figure":
    """The share of a row's runs whose error is at most so many times that of the best row."""
    found = by_data_set(record)
    names = next(iter(found.values()))
    best = {name: min(1 - float(np.mean(seen[name])) for seen in found.values()) for name in names}
    figure, axes = panel(6.2, 3.2, x="error against the best row's, times", y="share of runs")
    colors, styles = list(PALETTE.values()), ("-", "--", "-.", ":")
    grid = np.geomspace(0.5, _PROFILE_TO, 400)
    for place, (row, seen) in enumerate(found.items()):
        ratios = [
            max(1 - value, _LEAST_ERROR) / max(best[name], _LEAST_ERROR)
            for name, values in seen.items()
            for value in values
        ]
        share = (np.array(ratios)[:, None] <= grid).mean(0)
        axes.step(
            grid, share, styles[place // len(colors) % len(styles)], where="post",
            color=colors[place % len(colors)], label=short(row, 28), linewidth=1.6,
        )  # fmt: skip
    axes.set_xlim(grid[0], grid[-1])
    axes.set_ylim(0, 1.02)
    legend(figure, loc="outside right upper")
    return figure
