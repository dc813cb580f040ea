"""What has to be said beside the numbers of an ablation sweep, as plain sentences."""

import statistics
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from string import ascii_lowercase
from typing import NamedTuple

from cnn_jax.analysis.ablation.breakdown.blocks import Blocks
from cnn_jax.analysis.ablation.breakdown.effects import effects, interactions
from cnn_jax.analysis.ablation.failures import AT_CHANCE, IMPROVING, MEMORIZED, STUCK
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
from cnn_jax.analysis.ablation.summaries import NO_RESULT, VariantSummary, summarize_tuning
from cnn_jax.analysis.pages import duration
from cnn_jax.analysis.statistics import (
    BETTER,
    EQUIVALENT,
    FEWEST_SEEDS,
    LEVEL,
    REPLICATES,
    UNDECIDED,
    WORSE,
    seeds_to_detect,
    smallest_exact_p,
    wilson_interval,
)
from cnn_jax.display import count

_LISTED = 8


class Remark(NamedTuple):
    """What is to be said beside the numbers.

    Attributes:
        text: a sentence or two.
        variants: the rows it is about; none if it is about the whole table.
    """

    text: str
    variants: tuple[int, ...] = ()


def warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[Remark]:
    """What a reader has to know before believing a number of the table, rows first.

    Args:
        record: the sweep.
        summaries: of `summarize(record)`.
    """
    return [
        *_failure_warnings(record, summaries),
        *_verdict_warnings(record, summaries),
        *_edge_warnings(record),
        *_seeds_warnings(len(record.seeds)),
        *_baseline_warnings(record, summaries),
        *_learning_rate_warnings(record),
        *_detection(record, summaries),
    ]


def marks(remarks: Sequence[Remark]) -> dict[int, str]:
    """By row the letters of the remarks about it, the first remark about rows being a."""
    letters: dict[int, str] = {}
    for letter, remark in zip(
        ascii_lowercase, filter(attrgetter("variants"), remarks), strict=False
    ):
        for variant in remark.variants:
            letters[variant] = letters.get(variant, "") + letter
    return letters


def marked(remarks: Sequence[Remark]) -> list[tuple[str, str]]:
    """Every remark with its letter, or with "" where it is about the whole table."""
    letters = iter(ascii_lowercase)
    return [(next(letters) if remark.variants else "", remark.text) for remark in remarks]


_FAILURES = {
    DIVERGED: "Diverged, and left out of the means and the pairs: {}. A mean of the trials that "
    "survived flatters its row.",
    AT_CHANCE: "At chance: {}. The test accuracy is not shown to be above {:.2%}, that of always "
    "answering the most frequent class.",
    STUCK: "Stuck at the first loss: {}. The train loss has not fallen since the first epoch.",
    IMPROVING: "Still improving at the last epoch: {}. With more epochs the order may be another.",
    MEMORIZED: "Memorized: {}. All but a few training images are known, and the test images less.",
}


def _failure_warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[Remark]:
    found = []
    for symptom, words in _FAILURES.items():
        rows = [s for s in summaries if symptom in s.symptoms]
        if rows:
            names = [f"{s.label} ({s.symptoms[symptom]} of {s.trials})" for s in rows]
            found.append(_about(rows, words.format(_listed(names), record.chance)))
    return found


def _about(rows: Sequence[VariantSummary], text: str) -> Remark:
    return Remark(text, tuple(row.variant for row in rows))


def _seeds_warnings(seeds: int) -> list[Remark]:
    if seeds == 1:
        words = (
            "One seed per variant: there is no interval and no test, because nothing says how much "
            "another seed would change. The differences may be chance; train with more seeds."
        )
        return [Remark(words)]
    if seeds < FEWEST_SEEDS:
        words = (
            f"{seeds} seeds say too little for a verdict: that they agree may be chance; train "
            f"with {FEWEST_SEEDS} or more."
        )
        return [Remark(words)]
    return []


def _verdict_warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[Remark]:
    compared = [(s, s.comparison) for s in summaries if s.comparison]
    few = [s for s, pair in compared if pair.assumes_normality]
    same = [s for s, pair in compared if pair.identical]
    small = [
        s
        for s, pair in compared
        if pair.verdict in (BETTER, WORSE)
        and max(abs(pair.low or 0.0), abs(pair.high or 0.0)) <= record.equivalent_within
    ]
    found = []
    if few:
        least = min(pair.n for s, pair in compared if pair.assumes_normality)
        found.append(
            _about(
                few,
                f"Decided by taking the seeds' differences for normally distributed, with what "
                f"the other rows say of their spread: {_names(few)}. With {count(least, 'seed')} a "
                f"test without that assumption cannot get p below {smallest_exact_p(least):g}, "
                "whatever the data.",
            )
        )
    if small:
        margin = f"{100 * record.equivalent_within:g} points"
        found.append(
            _about(small, f"A difference is shown, but one below {margin}: {_names(small)}.")
        )
    if same:
        found.append(
            _about(
                same,
                f"The same accuracy as the baseline in every seed, so not tested: {_names(same)}.",
            )
        )
    return found


def _names(rows: Sequence[VariantSummary]) -> str:
    return _listed([row.label for row in rows])


def _baseline_warnings(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[Remark]:
    if record.baseline is None:
        return []
    name = label(record, record.baseline)
    if any(s.variant == record.baseline and s.mean is None for s in summaries):
        words = f"The baseline {name} has no finished trial: nothing can be compared with it."
        return [Remark(words)]
    pairs = [s.comparison for s in summaries if s.comparison]
    pairs = [pair for pair in pairs if pair.n >= FEWEST_SEEDS and not pair.identical]
    if pairs and all(pair.p is None for pair in pairs):
        words = (
            "The differences to the baseline are the same in every seed, which leaves no spread to "
            "judge them by."
        )
        return [Remark(words)]
    return []


def _edge_warnings(record: SweepRecord) -> list[Remark]:
    """Where the chosen value of a tuned hyperparameter is the first or last that was tried."""
    edges: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for variant in range(len(record.variants)):
        tried = summarize_tuning(record, variant)
        chosen = next((candidate.tuned for candidate in tried if candidate.chosen), {})
        for name, value in chosen.items():
            grid = {candidate.tuned[name] for candidate in tried}
            for end, edge in (("smallest", min(grid)), ("largest", max(grid))):
                if value == edge and len(grid) > 1:
                    edges.setdefault((name, end), []).append(
                        (f"{label(record, variant)} ({value:g})", variant)
                    )
    return [
        Remark(
            f"The chosen {name} is the {end} that was tried for "
            f"{_listed([text for text, _ in rows])}: {_limit_words(record, name)}, the best may "
            "lie beyond.",
            tuple(variant for _, variant in rows),
        )
        for (name, end), rows in sorted(edges.items())
    ]


def _limit_words(record: SweepRecord, name: str) -> str:
    """What ended the values that were tried."""
    if name in record.searched:
        return (
            "a search ends at a thousandth and a thousand times the default, and at the end of the "
            "number's range"
        )
    return "the values that were given end there; widen the grid"


def _detection(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[Remark]:
    """With how many seeds the difference would be shown that the sweep is a pilot for."""
    if record.detect is None or record.baseline is None:
        return []
    groups = {summary.variant: summary.accuracies for summary in summaries}
    rows = [groups[variant] for variant in range(len(record.variants))]
    needed = seeds_to_detect(rows, record.baseline, record.detect)
    if not any(needed):
        words = "the pilot has too few seeds, or no spread, to say how many seeds it takes"
    else:
        words = ", ".join(
            f"{label(record, row)} {count(seeds, 'seed')}"
            + (f" ({more} more)" if (more := _minutes(record, row, seeds)) else "")
            for row, seeds in enumerate(needed)
            if seeds is not None
        )
    return [
        Remark(
            f"To show a difference of {100 * record.detect:g} points from "
            f"{label(record, record.baseline)} in four cases of five, corrected for all rows, with "
            f"the spread of this pilot: {words}."
        )
    ]


def _learning_rate_warnings(record: SweepRecord) -> list[Remark]:
    if any("learning_rate" in name for name in (*record.tuned, *record.axes)):
        return []
    rates = {
        max(row["learning_rate"] for row in trial.history)
        for trial in record.trials
        if trial.history and all("learning_rate" in row for row in trial.history)
    }
    compared = " and ".join(record.axes)
    words = (
        "The learning rate was not tuned: each variant ran at a rate set beforehand, which suits "
        "some better than others."
    )
    if len(rates) == 1:
        words = (
            f"All variants share one learning rate ({rates.pop():g}): comparing {compared} at one "
            "shared learning rate favors those it happens to suit. Tune it for each variant."
        )
    return [Remark(words)]


def outcome(summaries: Sequence[VariantSummary]) -> str:
    """How many variants have which verdict, in one sentence; "" without a baseline."""
    found = Counter(s.verdict for s in summaries if s.comparison)
    if not found:
        return ""
    if set(found) <= {UNDECIDED, NO_RESULT} and all(
        s.comparison.p is None for s in summaries if s.comparison
    ):
        return "Too few seeds finished to say which variants differ from the baseline."
    parts = [f"{found[verdict] or 'none'} {verdict}" for verdict in (BETTER, WORSE)]
    parts += [
        f"{found[verdict]} {verdict}"
        for verdict in (EQUIVALENT, UNDECIDED, DIVERGED, NO_RESULT)
        if found[verdict]
    ]
    return f"Of {count(found.total(), 'comparison')} with the baseline: {', '.join(parts)}."


def minutes_text(record: SweepRecord, summary: VariantSummary) -> str:
    """How long the seeds take that would decide a row, its own and the baseline's; "" if unknown.

    By the wall time that the seeds so far have taken.
    """
    pair = summary.comparison
    if pair is None or pair.seeds_to_decide is None or record.baseline is None:
        return ""
    return _minutes(record, summary.variant, pair.seeds_to_decide)


def _minutes(record: SweepRecord, variant: int, seeds: int) -> str:
    """How long it takes until a row and the baseline have so many seeds; "" if they have them."""
    rows = [row for row in (variant, record.baseline) if row is not None]
    seconds = sum(
        max(0, seeds - _reported(record, row)) * record.seconds[row] / max(1, _trials(record, row))
        for row in rows
    )
    return duration(seconds) if seconds else ""


def _reported(record: SweepRecord, variant: int) -> int:
    return sum(trial.variant == variant and trial.chosen for trial in record.trials)


def _trials(record: SweepRecord, variant: int) -> int:
    return sum(trial.variant == variant for trial in record.trials)


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
    decided = _listed([words for name, words in SOURCES.items() if name in record.sources])
    return (
        f"{count(len(record.seeds), 'seed')} for each variant: {_listed(map(str, record.seeds))}. "
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
        f"{_listed(map(str, record.looks))} seeds, each time so strictly that all looks together "
        f"err in {100 * LEVEL:g}% (Pocock 1977); p and intervals allow for it, and are of the look "
        "that decided. "
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
    covered = _listed([words for name, words in SOURCES.items() if name in record.sources])
    rest = _listed([words for name, words in SOURCES.items() if name not in record.sources])
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
    test = "Šidák 1967" if DATASET in record.axes else "Dunnett 1955, step down"
    return (
        f"Differences to {baseline_words(record)} are paired, seed by seed, in one model: "
        "how much a difference varies is learned from all rows together, as far as they are alike "
        f"(Smyth 2004). Their intervals hold for all {count(tested, 'comparison')} at once with "
        f"95% ({test}). “{BETTER}” and “{WORSE}” mean an interval that excludes "
        f"0, and so a corrected p below {LEVEL:g}; “{EQUIVALENT}” one within ±{margin} points; "
        f"“{UNDECIDED}” neither: it does not mean that there is no difference. The number of seeds "
        "beside it would decide in four cases of five, were difference and spread those seen here. "
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


def correction(record: SweepRecord) -> str:
    """By which test intervals hold for all comparisons with the baseline at once."""
    return "Šidák" if DATASET in record.axes else "Dunnett, step down"


def effect_words(record: SweepRecord) -> list[str]:
    """What every value of every axis does under the others, and which axes interact."""
    return [effect.words for effect in effects(record)] + [
        f"{' × '.join(item.axes)}: F({item.between}, {item.within}) = {item.f:.2f}, "
        f"p = {item.p:.3g}: what one does "
        f"{'depends' if item.p < LEVEL else 'is not shown to depend'} on the other"
        for item in interactions(record)
    ]


def block_words(found: Blocks) -> str:
    """What the ranks say."""
    if found.friedman_p is None or found.critical is None:
        return "Friedman’s test needs three rows and two data sets."
    shown = "are not all alike" if found.friedman_p < LEVEL else "are not shown to differ"
    return (
        f"By Friedman’s test (p = {found.friedman_p:.3g}) the {len(found.rows)} rows {shown} over "
        f"{len(found.datasets)} data sets; two mean ranks are shown to differ from "
        f"{found.critical:.2f} on (Nemenyi)."
    )


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


def _listed(names: Sequence[str] | map) -> str:
    names = list(names)
    if len(names) > _LISTED + 1:
        names = [*names[:_LISTED], f"{len(names) - _LISTED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
