"""The report of an ablation sweep: tables for a paper, as CSV, and one self-contained page."""
# fmt: off

from cnn_jax.analysis.ablation.charts import dot_plot, heat_map
from cnn_jax.analysis.ablation.files import results_csv, results_rows, summary_csv
from cnn_jax.analysis.ablation.lines import accuracy_against, accuracy_by_epoch, numeric_names
from cnn_jax.analysis.ablation.notes import effect_words, minutes_text
from cnn_jax.analysis.ablation.page import render_ablation_report
from cnn_jax.analysis.ablation.records import (
    DIVERGED, FINISHED, NOT_READ, PRUNED, SweepRecord, TrialRecord,
)
from cnn_jax.analysis.ablation.summaries import VariantSummary, summarize
from cnn_jax.analysis.ablation.tables import (
    PAIR_HEADINGS, PAIRS, Row, caption, latex_table, markdown_table, pair_rows, remarks, table_rows,
)

__all__ = [
    "DIVERGED", "FINISHED", "NOT_READ", "PAIRS", "PAIR_HEADINGS", "PRUNED", "Row", "SweepRecord",
    "TrialRecord", "VariantSummary", "accuracy_against", "accuracy_by_epoch", "caption", "dot_plot",
    "effect_words", "heat_map", "latex_table", "markdown_table", "minutes_text", "numeric_names",
    "pair_rows", "remarks", "render_ablation_report", "results_csv", "results_rows", "summarize",
    "summary_csv", "table_rows",
]
