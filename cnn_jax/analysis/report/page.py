"""The report of one training run: plain data in, one self-contained HTML page out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cnn_jax.analysis.evaluate import (
    BINS,
    LARGE_SHARE,
    MAX_CLASSES_FULLY_COUNTED,
    NARROW_CLASSES,
    Evaluation,
    confusion_matrix,
    precision_recall_svg,
    reliability_diagram,
)
from cnn_jax.analysis.explain import filter_grid
from cnn_jax.analysis.figures import to_svg
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.report._cards import galleries
from cnn_jax.analysis.report.charts import history_panels, learning_curves
from cnn_jax.analysis.report.record import RunRecord
from cnn_jax.ops import metrics

_CONFUSED_PAIRS = 10
# Names of more characters stand above their bars, not beside them: of classes, and of labels.
_LONG_CLASS, _LONG_LABEL = 9, 12


def render_report(record: RunRecord, evaluation: Evaluation) -> str:
    """The page of one run, self-contained: it opens offline and asks for nothing from outside.

    The same arguments give the same text.

    Args:
        record: of the run.
        evaluation: of what it says of the test examples.
    """
    names, confusion = record.class_names, evaluation.confusion
    answers, truth = _answers(record)
    error = metrics.expected_calibration_error(jnp.asarray(answers), jnp.asarray(truth), BINS)
    undefined = int(np.sum(~np.isfinite(record.test_probabilities).all(axis=1)))
    return page_template("report/page.html").render(
        record=record,
        evaluation=evaluation,
        headline={
            "guessed": len(record.test_labels) - undefined,
            "calibration_error": float(error),
            "parameters": _counted_parameters(record),
        },
        warnings=_warnings(record, undefined),
        curves=_curves(record.history),
        confusion_svg=""
        if confusion is None
        else to_svg(confusion_matrix(confusion, names), "confusion"),
        confused_pairs=[] if confusion is None else _confused_pairs(confusion, names),
        classes=sorted(enumerate(evaluation.rows), key=lambda numbered: numbered[1].f1),
        precision_recall_svg=precision_recall_svg(evaluation, list(record.test_probabilities.T))
        if evaluation.several
        else "",
        reliability_svg=to_svg(reliability_diagram(answers, truth, BINS), "reliability"),
        galleries=galleries(record, evaluation.thresholds),
        filters_svg=""
        if record.insight is None
        else to_svg(filter_grid(record.insight.filters), "filters"),
        layout=_layout(names, evaluation.several),
    )


def _layout(names: Sequence[str], several: bool) -> dict[str, Any]:
    """What of the page's form depends on the names, and the constants it shares with plots."""
    longest = max(map(len, names))
    return {
        "bins": BINS,
        "wide": len(names) > NARROW_CLASSES,
        "fully_counted": len(names) <= MAX_CLASSES_FULLY_COUNTED,
        "large_share": LARGE_SHARE,
        "long_names": longest > (_LONG_LABEL if several else _LONG_CLASS),
        "name_characters": longest + 3,  # room for the mark of what is truly there
    }


def _answers(record: RunRecord) -> tuple[Float[np.ndarray, "a c"], Int[np.ndarray, "a"]]:
    """The probabilities of each answer and which one is right: of each example, or of each label.

    Every label of every example is a question of its own, with the answers no and yes.
    """
    if record.test_labels.ndim == 1:
        return record.test_probabilities, record.test_labels
    yes = record.test_probabilities.ravel()
    return np.stack([1 - yes, yes], axis=1), record.test_labels.ravel().astype(np.int32)


def _counted_parameters(record: RunRecord) -> int:
    """How many parameters the model of a run has."""
    return sum(
        int(row["counted"] if isinstance(row, Mapping) else row.counted)
        for row in record.parameters
    )


def _curves(history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    """Learning curves, a figure for each panel, so that a narrow page can stack them."""
    return [
        (panel, to_svg(learning_curves(history, [panel]), panel.replace(" ", "-")))
        for panel in history_panels(history)
    ]


def _warnings(record: RunRecord, undefined: int) -> list[str]:
    """What a reader has to know before believing a number of the page."""
    several = record.test_labels.ndim == 2
    lost = [row["epoch"] for row in record.history if not math.isfinite(row["train_loss"])]
    warnings = []
    if lost:
        warnings.append(f"The run diverged: its training loss is not finite at epoch {lost[0]:g}.")
    if undefined:
        they = (
            "They count as wrong in the accuracies, and as saying no in precision and recall; the "
            "curves and the reliability diagram leave them out."
            if several
            else "They count as mistakes in the accuracy; the confusion matrix, the scores per "
            "class and the reliability diagram leave them out."
        )
        warnings.append(
            f"The outputs of {undefined:,} of {len(record.test_labels):,} test examples are not "
            f"finite. {they}"
        )
    if not record.calibrated:
        warnings.append(
            "The loss of this run does not make the outputs probabilities: they rank the "
            f"{'examples' if several else 'guesses'}, but their size, and so the length of a bar, "
            "is not calibrated."
        )
    return warnings


class _ConfusedPair(NamedTuple):
    truth: str
    guess: str
    examples: int
    share: float


def _confused_pairs(
    confusion: Int[np.ndarray, "c c"], class_names: Sequence[str]
) -> list[_ConfusedPair]:
    """The largest counts off the diagonal, the largest first."""
    support = confusion.sum(axis=1)
    mistakes = confusion - np.diag(np.diagonal(confusion))
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:_CONFUSED_PAIRS]
    pairs = zip(*np.unravel_index(largest, mistakes.shape), strict=True)
    return [
        _ConfusedPair(
            class_names[row],
            class_names[column],
            int(mistakes[row, column]),
            mistakes[row, column] / support[row],
        )
        for row, column in pairs
        if mistakes[row, column]
    ]
