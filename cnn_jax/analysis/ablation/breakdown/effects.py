"""Several axes: what each does on average, under each value of the others, and together."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.ablation.records import NOT_READ, SweepRecord
from cnn_jax.analysis.ablation.summaries import accuracies_by_row
from cnn_jax.analysis.statistics import BETTER, WORSE, Comparison, compare_each

Slice = tuple[tuple[str, str], ...]


class Effect(NamedTuple):
    """What one value of an axis does, against the baseline's value of that axis.

    Attributes:
        axis: its name.
        value: compared.
        against: the baseline's.
        main: the mean over all slices in which both were trained to the end.
        slices: each of them, by the values of the other axes.
    """

    axis: str
    value: str
    against: str
    main: Comparison
    slices: Mapping[str, Comparison]

    @property
    def words(self) -> str:
        """Whether the value helps under every one of the others, in a sentence."""
        found = [pair.verdict for pair in self.slices.values()]
        counts = {verdict: found.count(verdict) for verdict in (BETTER, WORSE) if verdict in found}
        start = f"{self.axis}={self.value} against {self.against}"
        if not counts:
            return f"{start}: no difference shown under any of {len(found)}"
        texts = []
        for verdict, count in counts.items():
            names = [name for name, pair in self.slices.items() if pair.verdict == verdict]
            under = f"all {count}" if count == len(found) else ", ".join(names)
            texts.append(f"{verdict} under {under}")
        return f"{start}: {'; '.join(texts)} ({count_of(found, counts)} of {len(found)} decided)"


def count_of(found: Sequence[str], counts: Mapping[str, int]) -> int:
    """How many of the verdicts are among those counted."""
    return sum(verdict in counts for verdict in found)


class Interaction(NamedTuple):
    """Whether what one axis does depends on the other.

    Attributes:
        axes: two of them; others are averaged over.
        f: of the analysis of variance with the seed as block.
        between: its degrees of freedom.
        within: those of the residual.
        p: of no interaction.
    """

    axes: tuple[str, str]
    f: float
    between: int
    within: int
    p: float


def effects(record: SweepRecord) -> list[Effect]:
    """Of every value of every axis that is not the baseline's; none with one axis or no baseline.

    The intervals of an axis hold for all its values at once, and those of its slices for all
    slices of all its values (Šidák).
    """
    if record.baseline is None or len(record.axes) < 2:
        return []
    found = accuracies_by_row(record)
    return [effect for axis in record.axes for effect in _of_axis(record, axis, found)]


def _of_axis(record: SweepRecord, axis: str, found: Sequence[Mapping[int, float]]) -> list[Effect]:
    assert record.baseline is not None
    against = record.variants[record.baseline][axis]
    if axis == "dataset" or against == NOT_READ:
        return []
    rows = {_key(variant, axis): found[i] for i, variant in enumerate(record.variants)}
    sides: dict[tuple[str, Slice], tuple[Mapping[int, float], Mapping[int, float]]] = {}
    for variant, ours in zip(record.variants, found, strict=True):
        value, rest = _key(variant, axis)
        theirs = rows.get((against, rest), {})
        if value not in (against, NOT_READ) and ours.keys() & theirs.keys():
            sides[value, rest] = ours, theirs
    values = dict.fromkeys(value for value, _ in sides)
    pairs = compare_each(sides, record.equivalent_within)
    means = compare_each(
        {value: _mean([both for (v, _), both in sides.items() if v == value]) for value in values},
        record.equivalent_within,
    )
    return [
        Effect(
            axis,
            value,
            against,
            means[value],
            {_words(rest): pair for (v, rest), pair in pairs.items() if v == value},
        )
        for value in values
        if sum(v == value for v, _ in sides) > 1
    ]


def _key(variant: Mapping[str, str], axis: str) -> tuple[str, Slice]:
    return variant[axis], tuple((n, v) for n, v in variant.items() if n != axis)


def _words(rest: Slice) -> str:
    return " · ".join(value for _, value in rest if value != NOT_READ)


def _mean(
    sides: Sequence[tuple[Mapping[int, float], Mapping[int, float]]],
) -> tuple[dict[int, float], dict[int, float]]:
    """Both sides averaged over the slices, of the seeds that all of them have."""
    seeds = set.intersection(*({*ours} & {*theirs} for ours, theirs in sides))
    first, second = (
        {seed: float(np.mean([both[place][seed] for both in sides])) for seed in sorted(seeds)}
        for place in (0, 1)
    )
    return first, second


def interactions(record: SweepRecord) -> list[Interaction]:
    """Of every two axes whose product was trained to its end by two seeds or more."""
    found = accuracies_by_row(record)
    axes = [axis for axis in record.axes if axis != "dataset"]
    tested = (_interaction(record, pair, found) for pair in itertools.combinations(axes, 2))
    return [item for item in tested if item is not None]


def _interaction(
    record: SweepRecord, axes: tuple[str, str], found: Sequence[Mapping[int, float]]
) -> Interaction | None:
    values = [list(dict.fromkeys(v[axis] for v in record.variants)) for axis in axes]
    seeds = sorted(set.intersection(*({*seen} for seen in found)))
    cells: dict[tuple[str, ...], list[list[float]]] = {}
    for variant, seen in zip(record.variants, found, strict=True):
        place = tuple(variant[axis] for axis in axes)
        cells.setdefault(place, []).append([seen[seed] for seed in seeds])
    product = list(itertools.product(*values))
    sizes = {len(cells.get(place, ())) for place in product}
    if len(seeds) < 2 or min(map(len, values)) < 2 or len(sizes) > 1 or 0 in sizes:
        return None
    table = np.array([np.mean(cells[place], axis=0) for place in product])
    f, between, within, p = interaction_test(table.reshape(*map(len, values), len(seeds)))
    return Interaction(axes, f, between, within, p)


def interaction_test(table: Float[np.ndarray, "a b seeds"]) -> tuple[float, int, int, float]:
    """The F test of no interaction of two crossed factors, with the seed as a random block.

    Args:
        table: a number for each cell and seed.

    Returns:
        F, its two degrees of freedom, and p; p is 1 where nothing varies.
    """
    from scipy.stats import f as f_distribution

    a, b, n = table.shape
    cells = table.mean(2)
    additive = cells.mean(1, keepdims=True) + cells.mean(0, keepdims=True) - cells.mean()
    blocks = table.mean((0, 1)) - table.mean()
    between, within = (a - 1) * (b - 1), (a * b - 1) * (n - 1)
    explained = n * float(((cells - additive) ** 2).sum()) / between
    residual = float(((table - cells[..., None] - blocks) ** 2).sum()) / within
    if explained <= np.finfo(float).eps:
        return 0.0, between, within, 1.0
    ratio = explained / residual if residual else np.inf
    return ratio, between, within, float(f_distribution.sf(ratio, between, within))
