"""Trained runs side by side: what differs, their curves, and whether they answer differently."""
# fmt: off

from cnn_jax.analysis.compare.page import ComparedRun, Pair, render_comparison
from cnn_jax.analysis.compare.paired import Paired, compare_answers

__all__ = ["ComparedRun", "Pair", "Paired", "compare_answers", "render_comparison"]
