"""The report of an ablation sweep as one self-contained HTML page."""

import re
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis import figures
from cnn_jax.analysis.ablation import charts as ablation_charts
from cnn_jax.analysis.ablation import lines as ablation_lines
from cnn_jax.analysis.ablation import tables, tries
from cnn_jax.analysis.ablation.breakdown.blocks import blocks, performance_profile
from cnn_jax.analysis.ablation.breakdown.budget import budget_chart, variance_budget
from cnn_jax.analysis.ablation.breakdown.effects import effects
from cnn_jax.analysis.ablation.breakdown.images import by_image
from cnn_jax.analysis.ablation.explore import explored
from cnn_jax.analysis.ablation.method import baseline_words, coverage, method
from cnn_jax.analysis.ablation.notes import (
    block_words,
    effect_words,
    marks,
    minutes_text,
    outcome,
    warnings,
)
from cnn_jax.analysis.ablation.records import NOT_READ, SweepRecord
from cnn_jax.analysis.ablation.summaries import summarize, summarize_tuning
from cnn_jax.analysis.pages import page_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    remarks = warnings(record, summaries)
    template = page_template("ablation/page.html")
    together = blocks(record)
    return template.render(
        record=record,
        summaries=summaries,
        best=summaries[0] if summaries[0].mean else None,
        baseline=None if record.baseline is None else baseline_words(record),
        outcome=outcome(summaries),
        remarks=tables.remarks(record),
        marks=marks(remarks),
        pictures=_pictures(record),
        tuning=[
            (summary.label, candidate)
            for summary in summaries
            for candidate in summarize_tuning(record, summary.variant)
        ]
        if record.tuned
        else [],
        method=method(record, summaries),
        sizes=tables.sizes_differ(record),
        halves=tables.replicates_known(record),
        markdown=tables.markdown_table(record),
        latex=tables.latex_table(record),
        curves_of=ablation_lines.accuracy_key(record).replace("_", " "),
        apart=len(record.variants) > ablation_lines.MAX_LINES,
        tables=tables,
        coverage=coverage(record),
        budget=variance_budget(record),
        effects=effects(record),
        effect_words=effect_words(record),
        blocks=together,
        block_words=block_words(together) if together else "",
        by_image=by_image(record),
        minutes={s.variant: minutes_text(record, s) for s in summaries},
        dash=NOT_READ,
        explored=explored(record, summaries),
    )


def _pictures(record: SweepRecord) -> dict[str, list[_Picture]]:
    """The figures by section."""
    sections = ("means", "blocks", "budget", "grid", "numbers", "learning", "tries")
    found: dict[str, list[_Picture]] = {section: [] for section in sections}

    def add(section: str, title: str, figure: "Figure") -> None:
        svg = figures.to_svg(figure, _slug(f"{section}-{title}"))
        found[section].append(_Picture(title, svg, bool(figure.get_size_inches()[0] > 7)))

    add("means", "means", ablation_charts.dot_plot(record))
    if blocks(record):
        add("blocks", "profiles", performance_profile(record))
    if shares := variance_budget(record):
        add("budget", "variance", budget_chart(shares))
    if len(record.axes) == 2:
        add("grid", " × ".join(record.axes), ablation_charts.heat_map(record))
    for name in ablation_lines.numeric_names(record):
        add("numbers", name, ablation_lines.accuracy_against(record, name))
    for name in record.searched:
        if any(summary.tuned.get(name) for summary in summarize(record)):
            add("tries", f"{name} around the best", tries.sensitivity(record, name))
    if record.searched:
        add("tries", "what more tries bring", tries.expected_best(record))
    if any(trial.history for trial in record.trials):
        add("learning", "epoch", ablation_lines.accuracy_by_epoch(record))
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())
