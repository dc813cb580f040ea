"""The report of an ablation sweep: tables for a paper, as CSV, and one self-contained page."""
# fmt: off

from cnn_jax.analysis.ablation.charts import dot_plot, heat_map
from cnn_jax.analysis.ablation.lines import accuracy_against, accuracy_by_epoch, numeric_names
from cnn_jax.analysis.ablation.page import latex_table, markdown_table, render_ablation_report
from cnn_jax.analysis.ablation.records import (
    DIVERGED, FINISHED, NOT_READ, PRUNED, SweepRecord, TrialRecord, VariantSummary, results_csv,
    results_rows, summarize, summary_csv,
)

__all__ = [
    "DIVERGED", "FINISHED", "NOT_READ", "PRUNED", "SweepRecord", "TrialRecord", "VariantSummary",
    "accuracy_against", "accuracy_by_epoch", "dot_plot", "heat_map", "latex_table",
    "markdown_table", "numeric_names", "render_ablation_report", "results_csv", "results_rows",
    "summarize", "summary_csv",
]
