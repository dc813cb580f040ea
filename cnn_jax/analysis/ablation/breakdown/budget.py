"""The variance budget of the baseline: how much each source moves its accuracy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnn_jax.analysis import answers
from cnn_jax.analysis.ablation.records import DATASET, SOURCES, SweepRecord, shown_trials
from cnn_jax.analysis.figures import PALETTE, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all of them together"


class Share(NamedTuple):
    """What one source does to the accuracy of one run.

    Attributes:
        source: in words.
        std: of the test accuracy when it alone varies, in [0, 1].
        runs: that it was measured with; 0 where it follows from the answers of one.
    """

    source: str
    std: float
    runs: int


def variance_budget(record: SweepRecord) -> list[Share]:
    """The standard deviation from each source, and from all; none unless several were varied.

    The runs of a source are those that differ from the first seed in it alone, and that one. What
    other test images do follows from the answers of the first seed: they are drawn independently.
    """
    if record.baseline is None or not record.budget:
        return []
    main = {t.seed: t for t in shown_trials(record, record.baseline) if t.test_accuracy is not None}
    first = main.get(record.seeds[0])
    if first is None or first.test_accuracy is None:
        return []
    found = [
        Share(SOURCES[name], _std([first.test_accuracy, *values]), 1 + len(values))
        for name, values in record.budget.items()
        if values
    ]
    together = [t.test_accuracy for t in main.values() if t.test_accuracy is not None]
    if len(together) > 1:
        found.append(Share(ALL, _std(together), len(together)))
    if first.right is not None and DATASET not in record.axes:
        right = answers.unpack(first.right, record.test_examples)
        found.append(Share(SOURCES["test"], float(right.std()) / len(right) ** 0.5, 0))
    return found


def _std(values: list[float]) -> float:
    return float(np.std(values, ddof=1))


def budget_chart(shares: list[Share]) -> "Figure":
    """A bar for each source, in points."""
    figure, axes = panel(6.2, 0.34 * len(shares) + 0.9, x="standard deviation (points)")
    colors: Mapping[str, str] = {ALL: PALETTE["black"], SOURCES["test"]: PALETTE["orange"]}
    for place, share in enumerate(shares):
        axes.barh(place, 100 * share.std, 0.6, color=colors.get(share.source, PALETTE["blue"]))
    axes.set_yticks(range(len(shares)), [share.source for share in shares], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    return figure
