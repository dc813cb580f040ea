"""What a network is worth on images with several labels: numbers, tables and a page."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.text import Text

from cnn_jax.analysis.evaluate import calibration
from cnn_jax.analysis.evaluate import labels as label_scores
from cnn_jax.analysis.evaluate.calibration import LabelCalibration
from cnn_jax.analysis.evaluate.labels import LabelEvaluation

from .measured import Measured, Subject, table
from .saved_run import SavedRun, Scores, scored


def of_labels(
    saved: SavedRun, subject: Subject, logits: Float[np.ndarray, "n l"], held_out: Scores | None
) -> Measured:
    """Scores and calibration of each label, at a threshold and with a temperature of its own.

    Args:
        saved: the run.
        subject: what it was tried on.
        logits: what it says of that.
        held_out: what it says of its validation split, which thresholds and temperatures are fitted
            to.
    """
    labels, names = subject.examples.labels, saved.dataset.class_names
    probabilities, _ = scored(saved, Scores(logits, labels))
    others = None if held_out is None else scored(saved, held_out)
    result = label_scores.evaluate_labels(probabilities, labels, names, others)
    calibrations = calibration.calibrate_labels(logits, labels, names, held_out)
    low, high = result.interval
    return Measured(
        {
            "examples": len(labels),
            "accuracy": result.accuracy,
            "accuracy_interval_95": [low, high],
            **label_scores.as_json(result),
            "calibration": calibration.as_json(calibrations),
        },
        f"[bold]{result.accuracy:.2%}[/] of the labels right on {subject.name} (95% interval "
        f"{low:.2%} to {high:.2%}, {len(labels):,} images); every label right: {result.exact:.2%}",
        partial(_print, result, calibrations),
        lambda facts: calibration.render_label_evaluation(
            result,
            calibrations,
            labels,
            title=(f"{saved.config.architecture.model} of {saved.name}", subject.name),
            notes=subject.notes,
            facts=facts,
        ),
    )


def _print(
    result: LabelEvaluation, calibrations: Sequence[LabelCalibration], console: Console
) -> None:
    scores = table("label", "threshold", "accuracy", "precision", "recall", "F1", "AP")
    for row in result.rows:
        scores.add_row(Text(row.name), *(f"{score:.4f}" for score in row[1:7]))
    console.print(scores)
    counts = table("label", "found", "missed", "false alarms", "rightly denied")
    for row in result.rows:
        counts.add_row(Text(row.name), *(f"{number:,}" for number in row[7:]))
    console.print(counts)
    fitted = calibrations[0].after is not None
    headings = ["ECE", "NLL"] + ["temperature", "ECE with it", "NLL with it"] * fitted
    calibration = table("calibration", *headings)
    for each in calibrations:
        cells = [f"{each.before.ece:.2%}", f"{each.before.nll:.4f}"]
        if each.after is not None:
            cells += [f"{each.temperature:.3f}", f"{each.after.ece:.2%}", f"{each.after.nll:.4f}"]
        calibration.add_row(Text(each.name), *cells)
    console.print(calibration)
    if not fitted:
        console.print(
            "no thresholds and temperatures: the run held out no validation split to fit them to; "
            f"every threshold is {label_scores.EVEN:.0%}"
        )
