"""How a sweep was done, and what its numbers mean, as plain sentences."""

import statistics
from collections.abc import Sequence

from cnn_jax.analysis.ablation.records import (
    DATASET,
    DIVERGED,
    FINISHED,
    NOT_READ,
    PRUNED,
    SOURCES,
    SweepRecord,
    label,
)
from cnn_jax.analysis.ablation.summaries import VariantSummary, summarize_tuning
from cnn_jax.analysis.pages import duration
from cnn_jax.analysis.statistics import (
    BETTER,
    EQUIVALENT,
    LEVEL,
    REPLICATES,
    UNDECIDED,
    WORSE,
    wilson_interval,
)
from cnn_jax.display import count, listed


def method(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[tuple[str, str]]:
    """How the sweep was done and what its numbers mean: a heading and its sentences each.

    Args:
        record: the sweep.
        summaries: of `summarize(record)`.
    """
    found = [
        ("Sweep", _sweep_words(record)),
        ("Seeds", _seed_words(record, summaries)),
        ("Choice", choice_words(record)),
        ("Test split", _test_words(record, summaries)),
        ("Intervals", _interval_words(record, summaries)),
        ("Comparison", _comparison_words(record, summaries)),
        ("What it can find", _power_words(summaries)),
    ]
    return [(heading, words) for heading, words in found if words]


def _sweep_words(record: SweepRecord) -> str:
    statuses = [trial.status for trial in record.trials]
    epochs = max((len(trial.history) for trial in record.trials), default=0)
    words = (
        f"{count(len(record.variants), 'variant')} of {' and '.join(record.axes)}, "
        f"{count(len(statuses), 'trial')} of {count(epochs, 'epoch')} in "
        f"{count(record.programs, 'compiled program')}; {duration(record.total_seconds)} wall time."
    )
    if DIVERGED in statuses:
        words += (
            f" {count(statuses.count(DIVERGED), 'trial')} diverged: the loss was no longer finite, "
            "and the trial was stopped there."
        )
    return words


def _seed_words(record: SweepRecord, summaries: Sequence[VariantSummary]) -> str:
    decided = listed([words for name, words in SOURCES.items() if name in record.sources])
    fewest, all_seeds = min(summary.trials for summary in summaries), len(record.seeds)
    added = record.looks and fewest < all_seeds
    return (
        f"{f'{fewest} to ' if added else ''}{count(all_seeds, 'seed')} for each variant"
        f"{', the first of' if added else ':'} {listed(map(str, record.seeds))}. "
        f"A seed decides {decided}, the same for all variants. "
        f"{looks_words(record)}Kernels before an activation began by {record.initialization}."
    )


def looks_words(record: SweepRecord) -> str:
    """How seeds were added, if they were."""
    if not record.looks:
        return ""
    wanted = "that were undecided"
    if record.replicated:
        share = f"{100 * REPLICATES:.0f}%"
        wanted += f", or had a verdict that fewer than {share} of random halves of the seeds shared"
    return (
        f"Seeds were added to rows {wanted}: looked at after "
        f"{listed(map(str, record.looks))} seeds, each time so strictly that all looks together "
        f"err in {100 * LEVEL:g}% (Pocock 1977); p and intervals allow for it, and are of the look "
        "that decided. "
    )


def choice_words(record: SweepRecord) -> str:
    """How the tuned values were chosen."""
    if not record.tuned:
        return "Nothing was tuned: every trial counts."
    names = " and ".join(record.tuned)
    tried = "; ".join(
        f"{name} in {listed([f'{value:g}' for value in values])}"
        for name, values in record.tuned.items()
    )
    words = (
        f"{names} was tuned for each variant by the mean validation accuracy at the last epoch, on "
        f"{record.validation_examples:,} examples held out of the training split ({tried})."
    )
    if record.searched:
        words += (
            f" Every row had {count(_tries(record), 'try').replace('trys', 'tries')}; "
            f"{' and '.join(record.searched)} was searched for, beyond the first values until the "
            "best lay between others."
        )
    words += (
        f" It was chosen on {count(len(record.tune_seeds), 'seed')} of which nothing is reported."
        if record.tune_seeds
        else " It was chosen on the seeds that are reported, not on others (--tune_seeds)."
    )
    pruned = sum(trial.status == PRUNED for trial in record.trials)
    if pruned:
        words += (
            f" {count(pruned, 'trial')} of {len(record.trials):,} were pruned before the last "
            "epoch (successive halving), for a validation accuracy behind that of other values."
        )
    return words


def coverage(record: SweepRecord) -> str:
    """What the intervals say, and what they do not, in one sentence."""
    covered = listed([words for name, words in SOURCES.items() if name in record.sources])
    rest = listed([words for name, words in SOURCES.items() if name not in record.sources])
    return f"Intervals cover other {covered}, not other {rest}."


def _tries(record: SweepRecord) -> int:
    """How many values the rows had that tuned anything."""
    return max(len(summarize_tuning(record, row)) for row in range(len(record.variants)))


def _test_words(record: SweepRecord, summaries: Sequence[VariantSummary]) -> str:
    tested = sum(trial.chosen and trial.status == FINISHED for trial in record.trials)
    words = (
        f"The test split ({record.test_examples:,} examples) was read once, at the end, by the "
        f"{count(tested, 'finished trial')}{' with chosen values' if record.tuned else ''}."
    )
    if sum(summary.mean is not None for summary in summaries) > 1:
        words += (
            " Whoever picks the highest mean of the table chooses on the test split: the highest "
            "of many means is a little too high."
        )
    return words


def _interval_words(record: SweepRecord, summaries: Sequence[VariantSummary]) -> str:
    if summaries[0].mean is None:
        return ""
    mean = summaries[0].mean.mean
    low, high = wilson_interval(round(mean * record.test_examples), record.test_examples)
    words = (
        "Those of the means are 95% Student t intervals over the seeds, drawn in log odds, so that "
        "they stay between 0 and 100%. "
    )
    if not any(summary.mean and summary.mean.n > 1 for summary in summaries):
        words = "There are none, for want of a second seed. "
    return words + (
        "Other test images would move the accuracies too, all of them mostly in the same "
        f"direction: by about ±{50 * (high - low):.2f} points at {mean:.2%} (95% interval of "
        "Wilson), which is not in the table."
    )


def _comparison_words(record: SweepRecord, summaries: Sequence[VariantSummary]) -> str:
    if record.baseline is None:
        return "No baseline was named, so nothing was tested."
    tested = tested_comparisons(summaries)
    if not tested:
        return "Differences are paired seed by seed; there are too few seeds for a test."
    margin = f"{100 * record.equivalent_within:g}"
    model = (
        "in one model: how much a difference varies is learned from all rows together, as far as "
        "they are alike, or of two kinds, quiet and noisy (after Smyth 2004)"
        if tested > 1
        else "and tested by a paired t-test"
    )
    test = "Šidák 1967" if DATASET in record.axes else "Dunnett 1955, step down"
    return (
        f"Differences to {baseline_words(record)} are paired, seed by seed, {model}. Their "
        "intervals hold for all "
        f"{count(tested, 'comparison')} at once with 95% ({test}). “{BETTER}” and “{WORSE}” "
        f"mean an interval that excludes 0, and so a corrected p below {LEVEL:g}; "
        f"“{EQUIVALENT}” one within ±{margin} points; “{UNDECIDED}” neither: it does not mean that "
        "there is no difference. The number of seeds beside it would decide in four cases of five, "
        "were difference and spread those seen here. "
        "p of sign flips is of a test that assumes no distribution, and not corrected."
    )


def baseline_words(record: SweepRecord) -> str:
    """What rows are compared with."""
    if record.baseline is None:
        return ""
    if DATASET not in record.axes:
        return label(record, record.baseline)
    values = record.variants[record.baseline].items()
    rest = [value for name, value in values if name != DATASET and value != NOT_READ]
    return f"{' · '.join(rest)} on the same data set"


def family_words(record: SweepRecord, comparisons: int) -> str:
    """By which test intervals hold for all comparisons with the baseline at once."""
    if comparisons == 1:
        return "a paired t-test"
    test = "Šidák" if DATASET in record.axes else "Dunnett, step down"
    return f"{test}; the spread is moderated over the rows"


def tested_comparisons(summaries: Sequence[VariantSummary]) -> int:
    """How many rows were compared with the baseline by a test."""
    return sum(bool(s.comparison and s.comparison.p is not None) for s in summaries)


def _power_words(summaries: Sequence[VariantSummary]) -> str:
    widths = [
        (s.comparison.high - s.comparison.low) / 2
        for s in summaries
        if s.comparison and s.comparison.p is not None
        and s.comparison.high is not None and s.comparison.low is not None
    ]  # fmt: skip
    widths = [width for width in widths if width]
    if not widths:
        return ""
    return (
        f"A difference has to exceed {100 * statistics.median(widths):.2f} points to be shown here "
        "(the median half of an interval, correction included)."
    )
