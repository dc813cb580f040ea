"""The report of one training run: its record in, one self-contained page out."""
# fmt: off

from cnn_jax.analysis.report.charts import history_panels, learning_curves
from cnn_jax.analysis.report.page import render_report
from cnn_jax.analysis.report.record import Insight, RunRecord, look, noteworthy

__all__ = [
    "Insight", "RunRecord", "history_panels", "learning_curves", "look", "noteworthy",
    "render_report",
]
