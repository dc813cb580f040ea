"""The report of an ablation sweep: a table for a paper, and one self-contained HTML page."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis import figures
from cnn_jax.analysis.ablation import charts as ablation_charts
from cnn_jax.analysis.ablation import lines as ablation_lines
from cnn_jax.analysis.ablation.notes import choice_words, count, method, outcome, warnings
from cnn_jax.analysis.ablation.records import (
    DIVERGED,
    FINISHED,
    NOT_READ,
    PRUNED,
    SweepRecord,
    VariantSummary,
    label,
    summarize,
    summarize_tuning,
)
from cnn_jax.analysis.pages import page_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BASELINE = "baseline"


class _Table(NamedTuple):
    """A table as plain text; the numbers stand right."""

    names: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    best: list[int]
    best_column: int


def _table(record: SweepRecord, summaries: Sequence[VariantSummary]) -> _Table:
    names = [*record.axes, *record.tuned, "seeds", "test accuracy (%)"]
    numeric = [*[False] * len(record.axes), *[True] * len(record.tuned), True, True]
    best_column = len(names) - 1
    if record.baseline is not None:
        names += ["difference (points)", "p (Holm)", "verdict"]
        numeric += [True, True, False]
    sizes = _sizes_differ(record)
    if sizes:
        names.append("parameters")
        numeric.append(True)
    rows = []
    for summary in summaries:
        row = [record.variants[summary.variant][axis] for axis in record.axes]
        row += [_tuned_text(summary, name) for name in record.tuned]
        row += [_seeds_text(summary), _mean_text(summary)]
        if record.baseline is not None:
            row += _comparison_texts(summary)
        rows.append(row + [f"{record.parameters[summary.variant]:,}"] * sizes)
    top = summaries[0].mean
    best = [i for i, s in enumerate(summaries) if top and s.mean and s.mean.mean == top.mean]
    return _Table(names, numeric, rows, best, best_column)


def _sizes_differ(record: SweepRecord) -> bool:
    return len(set(record.parameters)) > 1


def _tuned_text(summary: VariantSummary, name: str) -> str:
    """The chosen value of a tuned hyperparameter; a dash where there is none."""
    return f"{summary.tuned[name]:g}" if name in summary.tuned else NOT_READ


def _seeds_text(summary: VariantSummary) -> str:
    n = str(len(summary.accuracies))
    return f"{n} ({summary.diverged} diverged)" if summary.diverged else n


def _mean_text(summary: VariantSummary) -> str:
    if summary.mean is None:
        return NOT_READ
    text = f"{100 * summary.mean.mean:.2f}"
    if summary.mean.low is not None:
        text += f" ± {100 * (summary.mean.mean - summary.mean.low):.2f}"
    return text


def _comparison_texts(summary: VariantSummary) -> list[str]:
    pair = summary.comparison
    if pair is None:
        return [_BASELINE, NOT_READ, NOT_READ]
    difference = NOT_READ
    if pair.difference is not None:
        difference = points(pair.difference)
    if pair.low is not None and pair.high is not None:
        difference += f" [{points(pair.low)}, {points(pair.high)}]"
    return [difference, _p_text(pair.p_holm), pair.verdict]


def points(difference: float) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def _p_text(p: float | None) -> str:
    """A p-value to three digits; a dash where there is none."""
    if p is None:
        return NOT_READ
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _caption(record: SweepRecord, summaries: Sequence[VariantSummary]) -> str:
    """What the numbers of the table are, in plain words."""
    intervals = any(summary.mean and summary.mean.n > 1 for summary in summaries)
    words = [
        f"Test accuracy (%) of {record.model} on {record.dataset}, "
        f"{record.test_examples:,} test examples, read once:",
        f"mean ± half of the 95% Student t interval over {count(len(record.seeds), 'seed')}."
        if intervals
        else "one seed per variant, so there is no interval."
        if len(record.seeds) == 1
        else "of one finished seed, so there is no interval.",
        choice_words(record),
    ]
    tested = sum(bool(s.comparison and s.comparison.p is not None) for s in summaries)
    if tested and record.baseline is not None:
        words.append(
            f"Differences to {label(record, record.baseline)} are paired by seed, in percentage "
            "points with their 95% interval (not corrected); p of the paired t-test, "
            f"Holm-corrected over {count(tested, 'comparison')}."
        )
    if any(summary.diverged for summary in summaries):
        words.append("Diverged trials are counted, and left out of the means.")
    return " ".join(words)


def markdown_table(record: SweepRecord) -> str:
    """The table in GitHub's Markdown, the highest mean first and in bold, with its caption."""
    summaries = summarize(record)
    table = _table(record, summaries)
    marks = ["---:" if numeric else "---" for numeric in table.numeric]
    rows = _written(table, _markdown_text, "**{}**".format)
    lines = [[_markdown_text(name) for name in table.names], marks, *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{_markdown_text(_caption(record, summaries))}\n"


def _written(
    table: _Table, escape: Callable[[str], str], bold: Callable[[str], str]
) -> list[list[str]]:
    rows = [[escape(cell) for cell in row] for row in table.rows]
    for row in table.best:
        rows[row][table.best_column] = bold(rows[row][table.best_column])
    return rows


def _markdown_text(text: str) -> str:
    text = re.sub(r"([\\`*\[\]<>|&#~$])", r"\\\1", " ".join(text.split()))
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
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def latex_table(record: SweepRecord) -> str:
    """The table in LaTeX with booktabs, the highest mean first and in bold, with its caption."""
    summaries = summarize(record)
    table = _table(record, summaries)
    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    rows = [[_latex_text(name) for name in table.names]]
    rows += _written(table, _latex_text, r"\textbf{{{}}}".format)
    # The empty group keeps a bracket or star that begins a row from belonging to the row's end.
    heading, *body = (
        "{}" * row[0].startswith(("[", "*")) + " & ".join(row) + r" \\" for row in rows
    )
    name = re.sub(r"[^a-z0-9]+", "-", f"{record.dataset}-{'-'.join(record.axes)}".lower())
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text(_caption(record, summaries))}}}",
            rf"\label{{tab:{name}}}",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            heading,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


class _Picture(NamedTuple):
    """A figure of the page: its section, what it shows, and whether it needs the full width."""

    section: str
    title: str
    svg: str
    wide: bool


def render_ablation_report(record: SweepRecord) -> str:
    """The page of a sweep, self-contained: it opens offline and asks for nothing from outside.

    The same record gives the same text.
    """
    summaries = summarize(record)
    template = page_template("ablation/page.html")
    return template.render(
        record=record,
        summaries=summaries,
        best=summaries[0] if summaries[0].mean else None,
        baseline=None if record.baseline is None else label(record, record.baseline),
        outcome=outcome(summaries),
        warnings=warnings(record, summaries),
        pictures=_pictures(record),
        tuning=_tuning_rows(record, summaries),
        method=method(record, summaries),
        sizes=_sizes_differ(record),
        markdown=markdown_table(record),
        latex=latex_table(record),
        curves_of=ablation_lines.accuracy_key(record).replace("_", " "),
        apart=len(record.variants) > ablation_lines.MAX_LINES,
        tuned_text=_tuned_text,
        points=points,
        p_text=_p_text,
        dash=NOT_READ,
    )


def _pictures(record: SweepRecord) -> dict[str, list[_Picture]]:
    found = [_picture("means", "means", ablation_charts.dot_plot(record))]
    if len(record.axes) == 2:
        found.append(_picture("grid", " × ".join(record.axes), ablation_charts.heat_map(record)))
    found += [
        _picture("numbers", name, ablation_lines.accuracy_against(record, name))
        for name in ablation_lines.numeric_names(record)
    ]
    if any(trial.history for trial in record.trials):
        found.append(_picture("learning", "epoch", ablation_lines.accuracy_by_epoch(record)))
    sections = ("means", "grid", "numbers", "learning")
    return {section: [p for p in found if p.section == section] for section in sections}


def _picture(section: str, title: str, figure: "Figure") -> _Picture:
    name = re.sub(r"[^a-z0-9]+", "-", f"{section}-{title}".lower())
    wide = figure.get_size_inches()[0] > 7
    return _Picture(section, title, figures.to_svg(figure, name), bool(wide))


class _TuningRow(NamedTuple):
    label: str
    values: list[str]
    validation: float | None
    finished: int
    diverged: int
    pruned: int
    chosen: bool


def _tuning_rows(record: SweepRecord, summaries: Sequence[VariantSummary]) -> list[_TuningRow]:
    """What every tuned value of every variant came to; empty if nothing was tuned."""
    if not record.tuned:
        return []
    return [
        _TuningRow(
            summary.label,
            [f"{candidate.tuned[n]:g}" if n in candidate.tuned else NOT_READ for n in record.tuned],
            sum(candidate.finished) / len(candidate.finished) if candidate.finished else None,
            candidate.number(FINISHED),
            candidate.number(DIVERGED),
            candidate.number(PRUNED),
            candidate.chosen,
        )
        for summary in summaries
        for candidate in summarize_tuning(record, summary.variant)
    ]
