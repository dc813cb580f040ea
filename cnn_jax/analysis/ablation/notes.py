"""What has to be said beside the numbers of an ablation sweep, as plain sentences."""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from string import ascii_lowercase
from typing import NamedTuple

from cnn_jax.analysis.ablation.breakdown.blocks import Blocks
from cnn_jax.analysis.ablation.breakdown.effects import effects, interactions
from cnn_jax.analysis.ablation.failures import AT_CHANCE, IMPROVING, MEMORIZED, STUCK
from cnn_jax.analysis.ablation.records import DIVERGED, SweepRecord, label
from cnn_jax.analysis.ablation.summaries import NO_RESULT, VariantSummary, summarize_tuning
from cnn_jax.analysis.pages import duration
from cnn_jax.analysis.statistics import (
    BETTER,
    EQUIVALENT,
    FEWEST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    seeds_to_detect,
    smallest_exact_p,
)
from cnn_jax.display import count, listed, p_value


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
            found.append(_about(rows, words.format(listed(names), record.chance)))
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
                "Decided by taking the seeds' differences for normally distributed"
                f"{', with what the other rows say of their spread' if len(compared) > 1 else ''}: "
                f"{_names(few)}. With {count(least, 'seed')} a "
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
    return listed([row.label for row in rows])


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
            f"{listed([text for text, _ in rows])}: {_limit_words(record, name)}, the best may "
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


def effect_words(record: SweepRecord) -> list[str]:
    """What every value of every axis does under the others, and which axes interact."""
    return [effect.words for effect in effects(record)] + [
        f"{' × '.join(item.axes)}: F({item.between}, {item.within}) = {item.f:.2f}, "
        f"p {p_value(item.p)}: what one does "
        f"{'depends' if item.p < LEVEL else 'is not shown to depend'} on the other"
        for item in interactions(record)
    ]


def block_words(found: Blocks) -> str:
    """What the ranks say."""
    if found.friedman_p is None or found.critical is None:
        return "Friedman’s test needs three rows and two data sets."
    shown = "are not all alike" if found.friedman_p < LEVEL else "are not shown to differ"
    return (
        f"By Friedman’s test (p {p_value(found.friedman_p)}) the {len(found.rows)} rows {shown} "
        f"over {len(found.datasets)} data sets; two mean ranks are shown to differ from "
        f"{found.critical:.2f} on (Nemenyi)."
    )
