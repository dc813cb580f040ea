"""What has to be said beside the numbers of an ablation sweep, as plain sentences."""

import statistics
from collections import Counter
from collections.abc import Sequence

from cnn_jax.analysis.ablation.records import (
    DIVERGED,
    FINISHED,
    PRUNED,
    SweepRecord,
    VariantSummary,
    label,
    summarize_tuning,
)
from cnn_jax.analysis.pages import duration
from cnn_jax.analysis.statistics import (
    BETTER,
    LEVEL,
    NO_DIFFERENCE,
    TOO_FEW,
    WORSE,
    detectable_difference,
    interval_half_width,
    smallest_exact_p,
    wilson_interval,
)

# Up to so many seeds the page says how little they say.
_FEW_SEEDS = 3
_LISTED = 8


def warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[str]:
    """What a reader has to know before believing a number of the table.

    Args:
        record: the sweep.
        summaries: of `summarize(record)`.
    """
    found = [
        _seeds_warning(len(record.seeds)),
        _diverged_warning(summaries),
        *_comparison_warnings(record, summaries),
        *_edge_warnings(record),
        _learning_rate_warning(record),
    ]
    return [warning for warning in found if warning]


def _seeds_warning(seeds: int) -> str:
    if seeds == 1:
        return (
            "One seed per variant: there is no interval and no test, because nothing says how much "
            "another seed would change. The differences may be chance; train with more seeds."
        )
    if seeds > _FEW_SEEDS:
        return ""
    return (
        f"{seeds} seeds say little: an interval reaches {interval_half_width(seeds):.1f} standard "
        "deviations to each side, and a test that assumes no distribution cannot get p below "
        f"{smallest_exact_p(seeds):g}, whatever the data. The t-test here goes lower only by "
        "taking the differences for normally distributed."
    )


def _diverged_warning(summaries: Sequence[VariantSummary]) -> str:
    lost = [f"{s.label} ({s.diverged} of {s.trials})" for s in summaries if s.diverged]
    if not lost:
        return ""
    return (
        f"Diverged, and left out of the means and the pairs: {_listed(lost)}. "
        "A mean of the trials that survived flatters its variant."
    )


def _comparison_warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[str]:
    if record.baseline is None:
        return []
    if any(s.variant == record.baseline and s.mean is None for s in summaries):
        name = label(record, record.baseline)
        return [f"The baseline {name} has no finished trial: nothing can be compared with it."]
    pairs = [(s.label, s.comparison) for s in summaries if s.comparison]
    same = [name for name, pair in pairs if pair.p is None and pair.n > 1]
    if not same:
        return []
    return [
        "The difference to the baseline is the same in every seed, which leaves no spread to judge "
        f"it by: {_listed(same)}."
    ]


def _edge_warnings(record: SweepRecord) -> list[str]:
    """Where the chosen value of a tuned hyperparameter is the first or last that was tried."""
    edges: dict[tuple[str, str], list[str]] = {}
    for variant in range(len(record.variants)):
        tried = summarize_tuning(record, variant)
        chosen = next((candidate.tuned for candidate in tried if candidate.chosen), {})
        for name, value in chosen.items():
            grid = {candidate.tuned[name] for candidate in tried}
            for end, edge in (("smallest", min(grid)), ("largest", max(grid))):
                if value == edge and len(grid) > 1:
                    edges.setdefault((name, end), []).append(
                        f"{label(record, variant)} ({value:g})"
                    )
    return [
        f"The chosen {name} is the {end} that was tried for {_listed(labels)}: widen the grid, the "
        "best may lie beyond."
        for (name, end), labels in sorted(edges.items())
    ]


def _learning_rate_warning(record: SweepRecord) -> str:
    if any("learning_rate" in name for name in (*record.tuned, *record.axes)):
        return ""
    rates = {
        max(row["learning_rate"] for row in trial.history)
        for trial in record.trials
        if trial.history and all("learning_rate" in row for row in trial.history)
    }
    compared = " and ".join(record.axes)
    if len(rates) == 1:
        return (
            f"All variants share one learning rate ({rates.pop():g}): comparing {compared} at one "
            "shared learning rate favors those it happens to suit. Tune it for each variant."
        )
    return (
        "The learning rate was not tuned: each variant ran at a rate set beforehand, which suits "
        "some better than others."
    )


def outcome(summaries: Sequence[VariantSummary]) -> str:
    """How many variants are better and worse than the baseline, in one sentence; "" without one."""
    verdicts = [summary.comparison.verdict for summary in summaries if summary.comparison]
    if not verdicts:
        return ""
    found = Counter(verdicts)
    if found[TOO_FEW] == len(verdicts):
        return "Too few seeds finished to say which variants differ from the baseline."
    parts = [f"{found[verdict] or 'none'} {verdict}" for verdict in (BETTER, WORSE)]
    if found[NO_DIFFERENCE]:
        parts.append(f"for {found[NO_DIFFERENCE]} no difference was shown")
    if found[TOO_FEW]:
        parts.append(f"for {found[TOO_FEW]} there are too few seeds to say")
    return f"Of {count(len(verdicts), 'comparison')} with the baseline: {', '.join(parts)}."


def method(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[tuple[str, str]]:
    """How the sweep was done and what its numbers mean: a heading and its sentences each.

    Args:
        record: the sweep.
        summaries: of `summarize(record)`.
    """
    found = [
        ("Sweep", _sweep_words(record)),
        ("Seeds", _seed_words(record)),
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


def _seed_words(record: SweepRecord) -> str:
    return (
        f"{count(len(record.seeds), 'seed')} for each variant: {_listed(map(str, record.seeds))}. "
        "A seed fixes the initialization and the order of the data, the same for all variants."
    )


def choice_words(record: SweepRecord) -> str:
    """How the tuned values were chosen."""
    if not record.tuned:
        return "Nothing was tuned: every trial counts."
    names = " and ".join(record.tuned)
    tried = "; ".join(
        f"{name} in {_listed([f'{value:g}' for value in values])}"
        for name, values in record.tuned.items()
    )
    words = (
        f"{names} was tuned for each variant by the mean validation accuracy at the last epoch, on "
        f"{record.validation_examples:,} examples held out of the training split ({tried})."
    )
    pruned = sum(trial.status == PRUNED for trial in record.trials)
    if pruned:
        words += (
            f" {count(pruned, 'trial')} of {len(record.trials):,} were pruned before the last "
            "epoch (successive halving), for a validation accuracy behind that of other values."
        )
    return words


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
    words = "Those of the means are 95% Student t intervals over the seeds. "
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
    tested = sum(bool(s.comparison and s.comparison.p is not None) for s in summaries)
    if not tested:
        return "Differences are paired seed by seed; there are too few seeds for a test."
    return (
        f"Differences to {label(record, record.baseline)} are paired, seed by seed; p is that of "
        f"the paired t-test, corrected by Holm over {count(tested, 'comparison')}. "
        f"“{BETTER}” and “{WORSE}” mean a corrected p below {LEVEL:g}; “{NO_DIFFERENCE}” does not "
        "mean that there is none. The intervals of the differences are not corrected."
    )


def _power_words(summaries: Sequence[VariantSummary]) -> str:
    tested = [s.comparison for s in summaries if s.comparison and s.comparison.std]
    if not tested:
        return ""
    n = max(pair.n for pair in tested)
    spread = statistics.median(pair.std for pair in tested if pair.std)
    effect = detectable_difference(n)
    words = (
        f"With {count(n, 'pair')} a t-test finds a true difference of {effect:.1f} standard "
        f"deviations of the differences in four cases of five; here that is about "
        f"{100 * effect * spread:.2f} points, at their median deviation."
    )
    return words + (" The correction asks for more." if len(tested) > 1 else "")


def count(number: int, what: str) -> str:
    """The number with its noun: "1 seed", "3 seeds"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str] | map) -> str:
    names = list(names)
    if len(names) > _LISTED + 1:
        names = [*names[:_LISTED], f"{len(names) - _LISTED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
