"""What the trials of a sweep say per row: means, comparisons, failures, tuned values."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_jax.analysis.ablation.failures import failed, symptoms
from cnn_jax.analysis.ablation.records import (
    DATASET,
    DIVERGED,
    FINISHED,
    SweepRecord,
    TrialRecord,
    label,
    place_of,
    shown_trials,
)
from cnn_jax.analysis.statistics import (
    BETTER,
    WORSE,
    Comparison,
    SeedMean,
    compare_all,
    compare_each,
    compare_sequentially,
    compare_to_baseline,
    look_level,
    mean_over_seeds,
    replication,
)

NO_RESULT = "no result"
# An interval near 0 or 100% reaches further to one side; from this share on both ends are given.
_LOPSIDED = 0.2


class VariantSummary(NamedTuple):
    """What the chosen trials of one variant say.

    Attributes:
        variant: its index in the record.
        label: its values on the compared axes, in one line.
        tuned: the chosen values; empty if nothing is tuned, or nothing could be chosen.
        accuracies: test accuracy by seed, of the finished trials.
        mean: of them; None where no trial finished.
        trials: how many trials were chosen; without a choice, all that the variant has.
        diverged: how many of those diverged.
        comparison: with the baseline; None at the baseline itself, and without one.
        symptoms: how many trials have what of `failures.symptoms`.
        failed: how many trials did not learn.
        best: whether it has a mean that was not shown to be worse than the highest, nor than the
            baseline.
        replicates: in what share of random halves of the seeds it has the same verdict; None where
            there are too few seeds.
    """

    variant: int
    label: str
    tuned: Mapping[str, float]
    accuracies: Mapping[int, float]
    mean: SeedMean | None
    trials: int
    diverged: int
    comparison: Comparison | None
    symptoms: Mapping[str, int]
    failed: int
    best: bool
    replicates: float | None = None

    @property
    def verdict(self) -> str:
        """That of the comparison; for a row without a number, why it has none."""
        if self.mean is None:
            lost = self.diverged and self.diverged == self.trials
            return DIVERGED if lost else NO_RESULT
        return self.comparison.verdict if self.comparison else ""


def mean_text(mean: SeedMean) -> str:
    """A mean accuracy in percent with its 95% interval: half of it, or the ends if they differ."""
    text = f"{100 * mean.mean:.2f}"
    if mean.low is None or mean.high is None:
        return text
    below, above = 100 * (mean.mean - mean.low), 100 * (mean.high - mean.mean)
    if abs(above - below) < _LOPSIDED * max(above, below):
        return f"{text} ± {(above + below) / 2:.2f}"
    return f"{text} [{100 * mean.low:.2f}, {100 * mean.high:.2f}]"


def summarize(record: SweepRecord) -> list[VariantSummary]:
    """One summary per variant, the highest mean test accuracy first, those without one last."""
    return list(_summaries(record))


# Every table and chart of a report asks for those of one record, which does not change.
@functools.lru_cache(maxsize=1)
def _summaries(record: SweepRecord) -> tuple[VariantSummary, ...]:
    shown = [shown_trials(record, variant) for variant in range(len(record.variants))]
    accuracies = accuracies_by_row(record)
    comparisons = _comparisons(record, accuracies)
    halves = _halves(record, accuracies, comparisons)
    best = {row for block in _blocks(record) for row in _not_worse(record, accuracies, block)}
    # What is worse than the baseline is not the best of them, whoever that is.
    best -= {row for row, pair in enumerate(comparisons) if pair and pair.verdict == WORSE}
    summaries = [
        VariantSummary(
            variant,
            label(record, variant),
            dict(trials[0].tuned) if trials and trials[0].chosen else {},
            accuracies[variant],
            mean_over_seeds(list(accuracies[variant].values())) if accuracies[variant] else None,
            len(trials),
            sum(trial.status == DIVERGED for trial in trials),
            comparisons[variant],
            symptoms(record, trials),
            failed(record, trials),
            variant in best,
            halves[variant],
        )
        for variant, trials in enumerate(shown)
    ]
    place = {variant: place for place, block in enumerate(_blocks(record)) for variant in block}
    return tuple(
        sorted(summaries, key=lambda s: (place[s.variant], -s.mean.mean if s.mean else math.inf))
    )


def _blocks(record: SweepRecord) -> list[list[int]]:
    """The rows that can be compared with each other: those of one data set."""
    found: dict[str | None, list[int]] = {}
    for row, variant in enumerate(record.variants):
        found.setdefault(variant.get(DATASET), []).append(row)
    return list(found.values())


def _comparisons(
    record: SweepRecord, accuracies: Sequence[Mapping[int, float]]
) -> list[Comparison | None]:
    """Each row with the baseline; of several data sets, with its namesake on the row's own."""
    if record.baseline is None:
        return [None] * len(record.variants)
    base, within = record.baseline, record.equivalent_within
    if record.looks:
        return compare_sequentially(
            accuracies, base, record.looks, within, replicated=record.replicated
        ).pairs
    if DATASET not in record.axes:
        return compare_to_baseline(accuracies, base, within)
    wanted = _rest(record.variants[record.baseline])
    sides: dict[int, tuple[Mapping[int, float], Mapping[int, float]]] = {}
    for block in _blocks(record):
        own = next((row for row in block if _rest(record.variants[row]) == wanted), None)
        others = () if own is None else (row for row in block if row != own)
        sides |= {row: (accuracies[row], accuracies[own or 0]) for row in others}
    found = compare_each(sides, record.equivalent_within)
    return [found.get(row) for row in range(len(record.variants))]


def _rest(variant: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variant.items() if name != DATASET}


def _halves(
    record: SweepRecord,
    accuracies: Sequence[Mapping[int, float]],
    comparisons: Sequence[Comparison | None],
) -> list[float | None]:
    """In which share of random halves of its seeds a row has the same verdict."""
    if record.baseline is None or DATASET in record.axes:
        return [None] * len(record.variants)
    verdicts = [pair.verdict if pair else None for pair in comparisons]
    return replication(
        accuracies, record.baseline, verdicts, record.equivalent_within, record.looks
    )


def accuracies_by_row(record: SweepRecord) -> list[dict[int, float]]:
    """Per variant the test accuracy by seed, of its finished chosen trials."""
    return [
        {
            trial.seed: trial.test_accuracy
            for trial in shown_trials(record, variant)
            if trial.status == FINISHED and trial.chosen and trial.test_accuracy is not None
        }
        for variant in range(len(record.variants))
    ]


def _not_worse(
    record: SweepRecord, accuracies: Sequence[Mapping[int, float]], block: Sequence[int]
) -> set[int]:
    """The rows of a data set not shown worse than the highest mean.

    By Tukey's test, because which row is the highest was seen in the same numbers.
    """
    found = [accuracies[row] for row in block]
    means = {row: sum(seen.values()) / len(seen) for row, seen in enumerate(found) if seen}
    if not means:
        return set()
    top = max(means, key=means.__getitem__)
    level = look_level(tuple(record.looks), max(1, len(means) - 1))
    pairs = compare_all(found, record.equivalent_within, level)
    shown = {
        first if second == top else second
        for (first, second), pair in pairs.items()
        if top in (first, second) and pair.verdict in (BETTER, WORSE)
    }
    return {block[row] for row in means.keys() - shown}


def compare_pairs(record: SweepRecord) -> list[tuple[VariantSummary, VariantSummary, Comparison]]:
    """Every pair of rows with a number, the higher mean against the lower, by Tukey's test.

    Of several data sets each is a family of its own.
    """
    found = [summary for summary in summarize(record) if summary.mean]
    compared = []
    for block in _blocks(record):
        rows = [summary for summary in found if summary.variant in block]
        by_variant = sorted(rows, key=lambda summary: summary.variant)
        places = {summary.variant: place for place, summary in enumerate(by_variant)}
        pairs = compare_all([s.accuracies for s in by_variant], record.equivalent_within)
        compared += [
            (first, second, pairs[key] if key in pairs else pairs[key[::-1]].reversed)
            for first, second in itertools.combinations(rows, 2)
            for key in [(places[first.variant], places[second.variant])]
        ]
    return compared


class Candidate(NamedTuple):
    """The trials of one variant at one choice of the tuned values.

    Attributes:
        tuned: the values.
        chosen: whether they were chosen.
        trials: one per seed.
        finished: last validation accuracies of the finished trials.
    """

    tuned: Mapping[str, float]
    chosen: bool
    trials: Sequence[TrialRecord]
    finished: Sequence[float]

    def number(self, status: str) -> int:
        """How many of the trials have this status."""
        return sum(trial.status == status for trial in self.trials)


def summarize_tuning(record: SweepRecord, variant: int) -> list[Candidate]:
    """The tuned values that a variant was trained with, in rising order."""
    groups: dict[tuple[float, ...], list[TrialRecord]] = {}
    for trial in sorted(record.trials, key=lambda trial: place_of(record, trial)):
        if trial.variant == variant:
            groups.setdefault(place_of(record, trial)[1], []).append(trial)
    return [
        Candidate(
            trials[0].tuned,
            any(trial.chosen for trial in trials),
            trials,
            [
                row["validation_accuracy"]
                for trial in trials
                for row in trial.history[-1:]
                if trial.status == FINISHED and "validation_accuracy" in row
            ],
        )
        for trials in groups.values()
    ]
