"""Figures of a search: what more tries would bring, and how near the best a value has to be."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.ablation.lines import (
    Line,
    draw_lines,
    number_axis,
    place_of_baseline,
    tuned_line,
    without_far_outliers,
)
from cnn_jax.analysis.ablation.records import SweepRecord, label
from cnn_jax.analysis.ablation.summaries import summarize, summarize_tuning

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def expected_maximum(scores: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The highest of k scores, expected, for k from 1 to as many as there are.

    Each of k tries being any of these with equal probability: Dodge et al., "Show Your Work",
    EMNLP 2019, equation 1.
    """
    n = len(scores)
    tries = np.arange(1, n + 1)[:, None]
    at_most = (np.arange(n + 1) / n) ** tries
    return np.diff(at_most, axis=1) @ np.sort(scores)


def expected_best(record: SweepRecord) -> "Figure":
    """The best validation accuracy that so many tries of the tuned values lead to, expected.

    One line per variant, over the values that were tried; values whose seeds all diverged or were
    pruned count as 0.
    """
    order = [summary.variant for summary in summarize(record)]
    lines = []
    for variant in order:
        scores = [
            float(np.mean(candidate.finished)) if candidate.finished else 0.0
            for candidate in summarize_tuning(record, variant)
        ]
        best = expected_maximum(np.array(scores))
        lines.append(Line(label(record, variant), np.arange(1.0, len(best) + 1), best, best, best))
    figure, _ = draw_lines(
        without_far_outliers(lines),
        "tries",
        "expected best validation accuracy",
        place_of_baseline(record, order),
        record.validation_examples,
    )
    return figure


def sensitivity(record: SweepRecord, name: str) -> "Figure":
    """Validation accuracy against a tuned number as a multiple of the row's chosen value.

    Args:
        record: the sweep.
        name: of a tuned hyperparameter, whose values are positive.
    """
    order = [s.variant for s in summarize(record) if s.tuned.get(name, 0.0) > 0]
    lines = []
    for variant in order:
        line = tuned_line(record, variant, name)
        chosen = line.chosen or 1.0
        strip = {key: [at / chosen for at in places] for key, places in line.strip.items()}
        lines.append(line._replace(x=line.x / chosen, strip=strip, chosen=1.0))
    figure, panels = draw_lines(
        without_far_outliers(lines),
        f"{name}, as a multiple of each row's best",
        "validation accuracy",
        place_of_baseline(record, order),
        record.validation_examples,
    )
    places = sorted({at for line in lines for at in line.x.tolist()})
    for axes in panels:
        number_axis(axes, places or [1.0])
    return figure
