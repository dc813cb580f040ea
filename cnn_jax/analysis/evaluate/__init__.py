"""What a trained network is worth on examples: numbers, charts and a page.

One class an image and several labels an image are one `Evaluation`: accuracy with its interval, a
row for each class or label, and how sure the network may be.
"""
# fmt: off

from cnn_jax.analysis.evaluate.charts import (
    LARGE_SHARE, MAX_CLASSES_FULLY_COUNTED, PrecisionRecall, ReliabilityBins, confusion_matrix,
    precision_recall, precision_recall_curves, reliability_bins, reliability_diagram,
)
from cnn_jax.analysis.evaluate.evaluation import (
    BINS, EVEN, Calibration, Evaluation, Reliability, Row, as_json, calibrate, choose_thresholds,
    evaluate, evaluate_classes, evaluate_labels, labels_json, reliability,
)
from cnn_jax.analysis.evaluate.page import figures_of, render_evaluation

__all__ = [
    "BINS", "EVEN", "LARGE_SHARE", "MAX_CLASSES_FULLY_COUNTED", "Calibration",
    "Evaluation", "PrecisionRecall", "Reliability", "ReliabilityBins", "Row", "as_json",
    "calibrate", "choose_thresholds", "confusion_matrix", "evaluate", "evaluate_classes",
    "evaluate_labels", "figures_of", "labels_json", "precision_recall", "precision_recall_curves",
    "reliability", "reliability_bins", "reliability_diagram",
    "render_evaluation",
]
