"""Simulated sweeps of which the truth is known, and what two tests find in them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from cnn_jax.analysis.statistics import LEVEL, moderate, step_down, two_sided_p

# The true difference by the number of seeds, in standard deviations of the paired differences. That
# of three seeds is the one of mish and relu in the twelve.
EFFECTS = {3: 1.75, 5: 1.2, 10: 0.8}
# So many tables at once: every one has hundreds of hypotheses a row.
_BATCH = 250
# What an accuracy usually varies by, as a share of 1: a tenth of a point.
_DEVIATION = 0.001


class Spreads(NamedTuple):
    """How much the rows of simulated sweeps vary from seed to seed.

    Attributes:
        accuracies: of each row, the baseline first.
        deviations: `(generator, tables) -> standard deviations` of each table's rows.
        shared: how much the rows of either half have in common at a seed, beside what all have.
    """

    accuracies: Float[np.ndarray, "rows"]
    deviations: Callable[[np.random.Generator, int], Float[np.ndarray, "tables rows"]]
    shared: float = 0.0


def spreads(rows: int) -> dict[str, Spreads]:
    """The simulated kinds of sweeps, of so many rows."""
    falling = np.linspace(0.98, 0.9, rows)

    def scattered(rng: np.random.Generator, tables: int) -> np.ndarray:
        return _DEVIATION * np.exp(rng.normal(0.0, 0.6, (tables, rows)))

    even = _fixed(np.ones(rows))
    return {
        "equal": even,
        "one row twice": _fixed(_times(rows, 1, 2)),
        "one row three times": _fixed(_times(rows, 1, 3)),
        "half of the rows three times": _fixed(_times(rows, slice(rows // 2, None), 3)),
        "the baseline twice": _fixed(_times(rows, 0, 2)),
        "scattered (log-normal, 0.6)": even._replace(deviations=scattered),
        "growing as accuracy falls": _fixed(40 * falling * (1 - falling), falling),
        "two rows five times": _fixed(_times(rows, slice(1, 3), 5)),
        "halves of rows alike": even._replace(shared=_DEVIATION),
    }


def harsher(rows: int) -> dict[str, Spreads]:
    """Kinds in which one row varies several times as much as all others, or no two rows alike."""
    return {
        "the baseline five times": _fixed(_times(rows, 0, 5)),
        "one row ten times": _fixed(_times(rows, 1, 10)),
        "each row three times the one before": _fixed(3.0 ** np.arange(rows)),
    }


def _times(rows: int, which: int | slice, factor: float) -> np.ndarray:
    factors = np.ones(rows)
    factors[which] = factor
    return factors


def _fixed(factors: np.ndarray, accuracies: np.ndarray | None = None) -> Spreads:
    """Rows that vary by these multiples of the usual."""
    return Spreads(
        np.full(len(factors), 0.97) if accuracies is None else accuracies,
        lambda rng, tables: np.broadcast_to(_DEVIATION * factors, (tables, len(factors))),
    )


def draw(
    kind: Spreads, rng: np.random.Generator, tables: int, seeds: int, effect: float = 0.0
) -> tuple[Float[np.ndarray, "tables rows seeds"], Float[np.ndarray, "tables rows"]]:
    """Accuracies of simulated sweeps, and the true means of their rows.

    Args:
        kind: of the rows.
        rng: draws.
        tables: how many sweeps.
        seeds: of each.
        effect: how much better than the baseline every row is, in standard deviations of the
            paired differences, in addition to the kind's own differences.
    """
    deviations = kind.deviations(rng, tables)
    truth = np.broadcast_to(kind.accuracies, deviations.shape).copy()
    paired = np.hypot(deviations[:, 1:], deviations[:, :1])
    truth[:, 1:] += effect * paired
    blocks = rng.normal(0.0, _DEVIATION, (tables, 1, seeds))
    errors = rng.normal(size=(tables, len(kind.accuracies), seeds)) * deviations[..., None]
    halves = kind.shared * rng.normal(size=(tables, 2, seeds))
    blocks = blocks + halves[:, np.arange(len(kind.accuracies)) * 2 // len(kind.accuracies)]
    return truth[..., None] + blocks + errors, truth


class Tested(NamedTuple):
    """What a test says of simulated sweeps, against their truth.

    Attributes:
        decided: which comparisons it finds, of what differs or not.
        wrong: which it finds if the truth is no difference.
        covered: which intervals hold the true difference.
    """

    decided: Bool[np.ndarray, "tables rows"]
    wrong: Bool[np.ndarray, "tables rows"]
    covered: Bool[np.ndarray, "tables rows"] | None


def error(found: Tested) -> float:
    """In how many sweeps a difference is found where there is none."""
    return float(found.wrong.any(-1).mean())


def power(found: Tested) -> float:
    """How many of the differences are found."""
    return float(found.decided.mean())


def by_model(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    """The model of the project: that of `compare_to_baseline`, of many tables at once."""
    return Tested(*_in_batches(_by_model, accuracies, truth))


def _in_batches(
    function: Callable[..., tuple[np.ndarray | None, ...]], *of_tables: np.ndarray
) -> Iterator[np.ndarray]:
    """What a function of tables returns, called with so many of them at a time."""
    parts = [
        function(*(each[first : first + _BATCH] for each in of_tables))
        for first in range(0, len(of_tables[0]), _BATCH)
    ]
    return map(np.concatenate, zip(*parts, strict=True))


def _by_model(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    differences = accuracies[:, 1:] - accuracies[:, :1]
    seeds = np.full(differences.shape[1], differences.shape[2])
    means = differences.mean(-1)
    others = list(range(1, accuracies.shape[1]))
    spread = moderate(accuracies).of_differences(others, [0] * len(others))
    errors = means - (truth[:, 1:] - truth[:, :1])

    p = two_sided_p(spread, means, seeds)
    of_errors = p if np.array_equal(errors, means) else two_sided_p(spread, errors, seeds)
    found, levels = step_down(p, LEVEL)
    wrong, _ = step_down(of_errors, LEVEL)
    return Tested(found < LEVEL, wrong < LEVEL, of_errors >= levels)


def by_paired_tests(accuracies: np.ndarray, truth: np.ndarray) -> Tested:
    """What came before: paired t-tests, each of its own variance, corrected by Holm."""
    differences = accuracies[:, 1:] - accuracies[:, :1]
    seeds = np.full(differences.shape[1], differences.shape[2])
    means, variances = differences.mean(-1), differences.var(-1, ddof=1)
    errors = means - (truth[:, 1:] - truth[:, :1])
    found, wrong = (holm(student_p(variances, of, seeds)) < LEVEL for of in (means, errors))
    return Tested(found, wrong, None)


def student_p(variances: np.ndarray, means: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Two-sided p of paired t-tests, from the moments of the differences."""
    return 2 * special.stdtr(seeds - 1, -np.abs(means) / np.sqrt(variances / seeds))


def holm(p: Float[np.ndarray, "... rows"]) -> Float[np.ndarray, "... rows"]:
    """P corrected for their number, step down: Holm, Scand. J. Statist. 6, 1979."""
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.arange(p.shape[-1], 0, -1) * np.take_along_axis(p, order, -1)
    corrected = np.minimum(np.maximum.accumulate(steps, -1), 1.0)
    return np.take_along_axis(corrected, np.argsort(order, axis=-1), -1)


class Looked(NamedTuple):
    """What comes of adding seeds until rows are decided.

    Attributes:
        decided: which rows are, as different from the baseline.
        seeds: of each row at the end.
    """

    decided: Bool[np.ndarray, "tables rows"]
    seeds: Float[np.ndarray, "tables rows"]


def until_decided(accuracies: np.ndarray, counts: Sequence[int], level: float) -> Looked:
    """Rows are looked at after so many seeds; those that are decided get no more."""
    return Looked(*_in_batches(lambda some: _until_decided(some, counts, level), accuracies))


def _until_decided(accuracies: np.ndarray, counts: Sequence[int], level: float) -> Looked:
    others = list(range(1, accuracies.shape[1]))
    decided = np.zeros((len(accuracies), len(others)), bool)
    seeds = np.full(decided.shape, float(counts[0]))
    for count in counts:
        seeds = np.where(decided, seeds, count)
        seen = accuracies[..., :count].copy()
        seen[:, 1:][np.arange(count) >= seeds[..., None]] = np.nan
        means = np.nanmean(seen[:, 1:] - seen[:, :1], -1)
        spread = moderate(seen).of_differences(others, [0] * len(others))
        p = np.where(decided, 0.0, two_sided_p(spread, means, seeds))
        decided = decided | (step_down(p, level)[0] < level)
    return Looked(decided, seeds)
