"""The table of an ablation sweep for a paper: in Markdown and LaTeX, and as cells for a terminal.

All have the same rows, verdicts and remarks; a row's remarks stand under the table, by letter.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cnn_jax.analysis.ablation.method import (
    baseline_words,
    choice_words,
    coverage,
    family_words,
    looks_words,
    tested_comparisons,
)
from cnn_jax.analysis.ablation.notes import marked, marks, warnings
from cnn_jax.analysis.ablation.records import DATASET, NOT_READ, SweepRecord
from cnn_jax.analysis.ablation.summaries import VariantSummary, compare_pairs, mean_text, summarize
from cnn_jax.analysis.statistics import MOST_SEEDS, UNDECIDED, Comparison
from cnn_jax.display import count, p_value, shown

_BASELINE = "baseline"
PAIRS = "Every pair of rows, with intervals that hold for all of them at once (Tukey)."


class Row(NamedTuple):
    """A row as plain text.

    Attributes:
        names: its values on the compared axes.
        tuned: its tuned values.
        seeds: how many finished, and how many failed.
        accuracy: the mean test accuracy in percent, with its interval.
        difference: to the baseline in points; "" without a baseline.
        interval: of the difference; "" without one.
        p: corrected.
        p_sign_flip: exact.
        verdict: with the number of seeds that would decide an undecided row.
        replicates: in what share of random halves of the seeds it is the same.
        parameters: how many the model has.
        marks: letters of its remarks.
        best: whether it is not shown to be worse than the highest mean.
    """

    names: list[str]
    tuned: list[str]
    seeds: str
    accuracy: str
    difference: str
    interval: str
    p: str
    p_sign_flip: str
    verdict: str
    replicates: str
    parameters: str
    marks: str
    best: bool

    @property
    def both(self) -> str:
        """The difference with its interval."""
        return f"{self.difference} {self.interval}".strip()


def table_rows(record: SweepRecord) -> list[Row]:
    """The rows as text, the highest mean first."""
    summaries = summarize(record)
    letters = marks(warnings(record, summaries))
    return [_row(record, summary, letters.get(summary.variant, "")) for summary in summaries]


PAIR_HEADINGS = ("row", "against", "points", "p (corrected)", "p (sign flips)", "verdict")


def pair_rows(record: SweepRecord) -> list[list[str]]:
    """A row of text for every pair, under `PAIR_HEADINGS`; none if they are not asked for."""
    if not record.all_pairs:
        return []
    return [
        [
            first.label,
            second.label,
            difference_text(pair),
            p_text(pair.p_corrected),
            p_text(pair.p_sign_flip),
            _verdict(pair, pair.verdict),
        ]
        for first, second, pair in compare_pairs(record)
    ]


def difference_text(pair: Comparison) -> str:
    """A difference in points with its interval; a dash where there is none."""
    text = NOT_READ if pair.difference is None else points(pair.difference)
    if pair.low is None or pair.high is None:
        return text
    return f"{text} [{points(pair.low)}, {points(pair.high)}]"


def _row(record: SweepRecord, summary: VariantSummary, letters: str) -> Row:
    pair, compared = summary.comparison, record.baseline is not None
    difference, _, interval = (difference_text(pair) if pair else "").partition(" ")
    if compared and pair is None:
        difference = _BASELINE
    return Row(
        names=[record.variants[summary.variant][axis] for axis in record.axes],
        tuned=[tuned_text(summary.tuned, name) for name in record.tuned],
        seeds=seeds_text(summary),
        accuracy=mean_text(summary.mean) if summary.mean else NOT_READ,
        difference=difference,
        interval=interval,
        p=p_text(pair.p_corrected if pair else None),
        p_sign_flip=p_text(pair.p_sign_flip if pair else None),
        verdict=verdict_text(summary) or NOT_READ,
        replicates=replicates_text(summary),
        parameters=f"{record.parameters[summary.variant]:,}",
        marks=letters,
        best=summary.best,
    )


def verdict_text(summary: VariantSummary) -> str:
    """The verdict, with the number of seeds that would decide an undecided row."""
    return _verdict(summary.comparison, summary.verdict)


def _verdict(pair: Comparison | None, verdict: str) -> str:
    if pair is None or verdict != UNDECIDED or pair.p is None:
        return verdict
    needed = pair.seeds_to_decide
    return f"{UNDECIDED} ({f'> {MOST_SEEDS:,}' if needed is None else f'{needed:,}'} seeds)"


def replicates_text(summary: VariantSummary) -> str:
    """In what share of random halves of its seeds a row has the same verdict, or a dash."""
    return NOT_READ if summary.replicates is None else f"{summary.replicates:.0%}"


def replicates_known(record: SweepRecord) -> bool:
    """Whether any row has seeds enough to say whether its verdict would replicate."""
    return any(summary.replicates is not None for summary in summarize(record))


def tuned_text(tuned: Mapping[str, float], name: str) -> str:
    """The value of a tuned hyperparameter; a dash where there is none."""
    return f"{tuned[name]:g}" if name in tuned else NOT_READ


def seeds_text(summary: VariantSummary) -> str:
    """How many seeds finished, and how many of all trials failed."""
    n = str(len(summary.accuracies))
    return f"{n} ({summary.failed} of {summary.trials} failed)" if summary.failed else n


def points(difference: float) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def p_text(p: float | None) -> str:
    """A p-value; a dash where there is none."""
    return NOT_READ if p is None else p_value(p)


def sizes_differ(record: SweepRecord) -> bool:
    """Whether the rows' networks have different numbers of parameters."""
    return len(set(record.parameters)) > 1


class _Style(NamedTuple):
    """How a format writes text, what is bold, and a mark."""

    escape: Callable[[str], str]
    bold: str
    mark: str


def _table(record: SweepRecord, style: _Style) -> tuple[list[bool], list[list[str]]]:
    """Which columns are of numbers, and the rows as escaped text: the names, then the variants."""
    compared = record.baseline is not None
    names = [*record.axes, *record.tuned, "seeds", "test accuracy (%)"]
    numeric = [*[False] * len(record.axes), *[True] * len(record.tuned), True, True]
    if compared:
        names += ["difference (points)", "p (corrected)", "p (sign flips)", "verdict"]
        numeric += [True, True, True, False]
    halves = replicates_known(record)
    if halves:
        names.append("in half the seeds")
        numeric.append(True)
    if sizes_differ(record):
        names.append("parameters")
        numeric.append(True)
    lines = [list(map(style.escape, names))]
    for row in table_rows(record):
        cells = [*row.names, *row.tuned, row.seeds, row.accuracy]
        accuracy = len(cells) - 1
        cells += [row.both, row.p, row.p_sign_flip, row.verdict] if compared else []
        cells += [row.replicates] if halves else []
        cells += [row.parameters] if sizes_differ(record) else []
        written = list(map(style.escape, cells))
        if row.best:
            written[accuracy] = style.bold.format(written[accuracy])
        if row.marks:
            written[0] += style.mark.format(row.marks)
        lines.append(written)
    return numeric, lines


def caption(record: SweepRecord) -> str:
    """What the numbers of the table are, in plain words."""
    summaries = summarize(record)
    intervals = any(summary.mean and summary.mean.n > 1 for summary in summaries)
    numbers = sorted({len(s.accuracies) for s in summaries if s.accuracies} or {0})
    seeds = f"{numbers[0]} to {numbers[-1]} seeds" if record.looks and len(numbers) > 1 else None
    words = [
        f"Test accuracy (%) of {record.model} on {record.dataset}, "
        f"{record.test_examples:,} test examples, read once:",
        f"mean and 95% Student t interval over {seeds or count(len(record.seeds), 'seed')}."
        if intervals
        else "one seed per variant, so there is no interval."
        if len(record.seeds) == 1
        else "of one finished seed, so there is no interval.",
        *([coverage(record)] if intervals else []),
        choice_words(record),
    ]
    tested = tested_comparisons(summaries)
    if tested and record.baseline is not None:
        words.append(
            f"Differences to {baseline_words(record)} are paired by seed, in percentage "
            f"points with simultaneous 95% intervals over {count(tested, 'comparison')} "
            f"({family_words(record, tested)}). Equivalent: within "
            f"±{100 * record.equivalent_within:g} points."
        )
    words.append(looks_words(record).strip())
    if replicates_known(record):
        words.append(
            "In half the seeds: the share of random halves of a row's seeds that give its verdict."
        )
    of_set = " of its data set" if DATASET in record.axes else ""
    words.append(f"Bold: not shown to be worse than the highest{of_set}.")
    return " ".join(filter(None, words))


def remarks(record: SweepRecord) -> list[tuple[str, str]]:
    """What stands under the table: every remark with its letter, "" if it is about the whole."""
    return marked(warnings(record, summarize(record)))


def markdown_table(record: SweepRecord) -> str:
    """The table in GitHub's Markdown, the highest mean first, with its caption and remarks."""
    style = _Style(_markdown_text, "**{}**", "<sup>{}</sup>")
    numeric, (heading, *rows) = _table(record, style)
    rule = ["---:" if number else "---" for number in numeric]
    text = "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *rows))
    notes = []
    for letter, words in remarks(record):
        before = style.mark.format(letter) + " " if letter else ""
        notes.append(before + _markdown_text(words))
    parts = [text, _markdown_text(caption(record)), *notes]
    if pairs := pair_rows(record):
        lines = [PAIR_HEADINGS, ["---"] * len(PAIR_HEADINGS)]
        lines += [list(map(_markdown_text, row)) for row in pairs]
        parts += ["\n".join(f"| {' | '.join(line)} |" for line in lines), PAIRS]
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    text = re.sub(r"([\\`*\[\]<>|&#~$])", r"\\\1", shown(" ".join(text.split())))
    # Within a word GitHub takes an underscore as it is.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "“": "``",
    "”": "''",
}


def _latex_text(text: str) -> str:
    plain = shown(" ".join(text.split()))
    return "".join(_LATEX.get(character, character) for character in plain)


def latex_table(record: SweepRecord) -> str:
    """The table in LaTeX with booktabs, the highest mean first, with its caption and remarks."""
    style = _Style(_latex_text, r"\textbf{{{}}}", r"\textsuperscript{{{}}}")
    numeric, rows = _table(record, style)
    columns = "".join("r" if number else "l" for number in numeric)
    # The empty group keeps a bracket or star that begins a row from belonging to the row's end.
    heading, *body = (
        "{}" * row[0].startswith(("[", "*")) + " & ".join(row) + r" \\" for row in rows
    )
    notes = []
    for letter, words in remarks(record):
        before = style.mark.format(letter) + " " if letter else ""
        notes.append(rf"\par\footnotesize {before}{_latex_text(words)}")
    name = re.sub(r"[^a-z0-9]+", "-", "-".join((record.dataset, *record.axes)).lower())
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text(caption(record))}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            heading,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            *_latex_pairs(record),
            r"\end{table}",
            "",
        ]
    )


def _latex_pairs(record: SweepRecord) -> list[str]:
    rows = [list(map(_latex_text, row)) for row in pair_rows(record)]
    if not rows:
        return []
    return [
        r"\par\medskip",
        r"\begin{tabular}{@{}llrrrl@{}}",
        r"\toprule",
        " & ".join(PAIR_HEADINGS) + r" \\",
        r"\midrule",
        *("{}" * row[0].startswith(("[", "*")) + " & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\footnotesize {_latex_text(PAIRS)}",
    ]
