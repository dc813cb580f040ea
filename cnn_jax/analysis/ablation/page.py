"""The report of an ablation sweep: a table for a paper, and one self-contained HTML page."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis import figures
from cnn_jax.analysis.ablation import charts as ablation_charts
from cnn_jax.analysis.ablation import lines as ablation_lines
from cnn_jax.analysis.ablation.notes import choice_words, count, method, outcome, warnings
from cnn_jax.analysis.ablation.records import (
    NOT_READ,
    SweepRecord,
    VariantSummary,
    label,
    mean_text,
    summarize,
    summarize_tuning,
)
from cnn_jax.analysis.pages import page_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BASELINE = "baseline"


def _table(
    record: SweepRecord, escape: Callable[[str], str], bold: Callable[[str], str]
) -> tuple[list[bool], list[list[str]]]:
    """Which columns are of numbers, and the rows as escaped text: the names, then the variants."""
    summaries = summarize(record)
    names = [*record.axes, *record.tuned, "seeds", "test accuracy (%)"]
    numeric = [*[False] * len(record.axes), *[True] * len(record.tuned), True, True]
    best_column = len(names) - 1
    if record.baseline is not None:
        names += ["difference (points)", "p (Holm)", "verdict"]
        numeric += [True, True, False]
    if _sizes_differ(record):
        names.append("parameters")
        numeric.append(True)
    rows, top = [list(map(escape, names))], summaries[0].mean
    for summary in summaries:
        row = [record.variants[summary.variant][axis] for axis in record.axes]
        row += [_tuned_text(summary.tuned, name) for name in record.tuned]
        row += [_seeds_text(summary), mean_text(summary.mean) if summary.mean else NOT_READ]
        if record.baseline is not None:
            row += _comparison_texts(summary)
        row += [f"{record.parameters[summary.variant]:,}"] * _sizes_differ(record)
        rows.append(list(map(escape, row)))
        if summary.mean and top and summary.mean.mean == top.mean:
            rows[-1][best_column] = bold(rows[-1][best_column])
    return numeric, rows


def _sizes_differ(record: SweepRecord) -> bool:
    return len(set(record.parameters)) > 1


def _tuned_text(tuned: Mapping[str, float], name: str) -> str:
    """The value of a tuned hyperparameter; a dash where there is none."""
    return f"{tuned[name]:g}" if name in tuned else NOT_READ


def _seeds_text(summary: VariantSummary) -> str:
    n = str(len(summary.accuracies))
    return f"{n} ({summary.diverged} diverged)" if summary.diverged else n


def _comparison_texts(summary: VariantSummary) -> list[str]:
    pair = summary.comparison
    if pair is None:
        return [_BASELINE, NOT_READ, NOT_READ]
    difference = NOT_READ if pair.difference is None else points(pair.difference)
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


def _caption(record: SweepRecord) -> str:
    """What the numbers of the table are, in plain words."""
    summaries = summarize(record)
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
    numeric, (heading, *rows) = _table(record, _markdown_text, "**{}**".format)
    marks = ["---:" if number else "---" for number in numeric]
    text = "\n".join(f"| {' | '.join(line)} |" for line in (heading, marks, *rows))
    return f"{text}\n\n{_markdown_text(_caption(record))}\n"


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
    numeric, rows = _table(record, _latex_text, r"\textbf{{{}}}".format)
    columns = "".join("r" if number else "l" for number in numeric)
    # The empty group keeps a bracket or star that begins a row from belonging to the row's end.
    heading, *body = (
        "{}" * row[0].startswith(("[", "*")) + " & ".join(row) + r" \\" for row in rows
    )
    name = _slug("-".join((record.dataset, *record.axes)))
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_text(_caption(record))}}}",
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
    """A figure of the page: what it shows, and whether it needs the full width."""

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
        tuning=[
            (summary.label, candidate)
            for summary in summaries
            for candidate in summarize_tuning(record, summary.variant)
        ]
        if record.tuned
        else [],
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
    """The figures by section."""
    found: dict[str, list[_Picture]] = {"means": [], "grid": [], "numbers": [], "learning": []}

    def add(section: str, title: str, figure: "Figure") -> None:
        svg = figures.to_svg(figure, _slug(f"{section}-{title}"))
        found[section].append(_Picture(title, svg, bool(figure.get_size_inches()[0] > 7)))

    add("means", "means", ablation_charts.dot_plot(record))
    if len(record.axes) == 2:
        add("grid", " × ".join(record.axes), ablation_charts.heat_map(record))
    for name in ablation_lines.numeric_names(record):
        add("numbers", name, ablation_lines.accuracy_against(record, name))
    if any(trial.history for trial in record.trials):
        add("learning", "epoch", ablation_lines.accuracy_by_epoch(record))
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())
