"""The rows of a sweep as the script of its page takes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_jax.analysis.ablation.lines import accuracy_key
from cnn_jax.analysis.ablation.records import FINISHED, SweepRecord, TrialRecord, shown_trials
from cnn_jax.analysis.ablation.summaries import VariantSummary


def explored(record: SweepRecord, summaries: Sequence[VariantSummary]) -> dict[str, Any]:
    """All that is filtered, compared and set against each other, as JSON can hold it.

    Returns:
        rows: by variant: label, mean and accuracies by seed, a curve of means by epoch,
            parameters, seconds, calibration error (confidence beside accuracy, 0 is calibrated)
            and test loss.
        along: what the accuracy is set against, with its words.
        curve: what the curves are of.
    """
    key = accuracy_key(record)
    rows: dict[str, Any] = {}
    for summary in summaries:
        trials = [
            trial for trial in shown_trials(record, summary.variant) if trial.status == FINISHED
        ]
        rows[str(summary.variant)] = {
            "label": summary.label,
            "mean": summary.mean.mean if summary.mean else None,
            "accuracies": {str(seed): value for seed, value in summary.accuracies.items()},
            "curve": _curve(trials, key),
            "parameters": record.parameters[summary.variant],
            "seconds": record.seconds[summary.variant],
            "calibration": _mean([trial.calibration_error for trial in trials]),
            "loss": _mean([trial.test_loss for trial in trials]),
        }
    along = {
        "parameters": "parameters",
        "seconds": "seconds of training",
        "calibration": "calibration error",
        "loss": "test loss",
    }
    return {"rows": rows, "along": along, "curve": key.replace("_", " ")}


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is missing or not finite."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(found)) if found and len(found) == len(values) else None


def _curve(trials: Sequence[TrialRecord], key: str) -> list[tuple[float, float]]:
    """The mean over trials by epoch, as far as all of them go."""
    values = [[float(epoch[key]) for epoch in trial.history if key in epoch] for trial in trials]
    shortest = min(map(len, values), default=0)
    if not shortest:
        return []
    means = np.mean([each[:shortest] for each in values], axis=0)
    return [(epoch, round(value, 5)) for epoch, value in enumerate(means.tolist(), 1)]
