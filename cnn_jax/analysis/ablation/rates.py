"""Loss against learning rate: which rates train, and between which to look for the best."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis.figures import PALETTE, legend, logarithmic, panel, to_svg
from cnn_jax.analysis.pages import page_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The grid that is proposed reaches so far to both sides of the best rate.
_AROUND = 10.0
# A loss this many times that of the best rate, or one that is not finite, has left the valley.
_LEFT = 2.0


class TriedRate(NamedTuple):
    """One learning rate.

    Attributes:
        rate: positive.
        train_loss: at the end of training; NaN if it diverged.
        validation_loss: likewise; None without a validation split.
        accuracy: on validation, or else on train, in [0, 1].
    """

    rate: float
    train_loss: float
    validation_loss: float | None
    accuracy: float

    @property
    def loss(self) -> float:
        """What the rates are judged by: on validation, where there is any."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


class Advice(NamedTuple):
    """What a scan of learning rates says.

    Attributes:
        best: the rate of the lowest loss.
        edge: "smallest" or "largest" if the best is an end of the scan, else "".
        too_large: the first rate above the best that diverges or has twice its loss; None without.
        grid: values of --vary=learning_rate around the best, none of them too large.
    """

    best: float
    edge: str
    too_large: float | None
    grid: str


def advise(tried: Sequence[TriedRate]) -> Advice | None:
    """What the rates say, in rising order; None where none of them trains."""
    finite = [item for item in tried if math.isfinite(item.loss)]
    if not finite:
        return None
    best = min(finite, key=lambda item: item.loss)
    above = [
        item.rate
        for item in tried
        if item.rate > best.rate and not item.loss <= _LEFT * abs(best.loss)
    ]
    edges = {tried[0].rate: "smallest", tried[-1].rate: "largest"}
    high = _AROUND * best.rate
    if above:
        high = min(high, math.sqrt(best.rate * above[0]))
    return Advice(
        best.rate,
        edges.get(best.rate, ""),
        above[0] if above else None,
        f"log:{best.rate / _AROUND:.2g}:{high:.2g}:6",
    )


def loss_against_rate(tried: Sequence[TriedRate]) -> "Figure":
    """The losses at the end of training against the learning rate; what diverged is marked."""
    figure, axes = panel(6.2, 3.2, x="learning rate", y="loss at the end")
    logarithmic(axes, "x")
    rates = [item.rate for item in tried]
    lines = {"train": ([item.train_loss for item in tried], PALETTE["blue"], "o-")}
    if tried[0].validation_loss is not None:
        losses = [math.nan if i.validation_loss is None else i.validation_loss for i in tried]
        lines["validation"] = losses, PALETTE["vermilion"], "s--"
    for name, (losses, color, look) in lines.items():
        axes.plot(rates, losses, look, color=color, label=name, markersize=4, linewidth=1.6)
    finite = [loss for losses, *_ in lines.values() for loss in losses if math.isfinite(loss)]
    if finite and min(finite) > 0 and max(finite) > 10 * min(finite):
        logarithmic(axes, "y")
    lost = [item.rate for item in tried if not math.isfinite(item.loss)]
    if lost:
        axes.plot(
            lost, [0.05] * len(lost), "x", color=PALETTE["black"], label="diverged",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if (advice := advise(tried)) is not None:
        axes.axvline(advice.best, color=PALETTE["green"], linewidth=1, linestyle=":", label="best")
    legend(axes)
    return figure


def render_rates(title: str, tried: Sequence[TriedRate], command: str) -> str:
    """The page, self-contained.

    Args:
        title: what was trained on what.
        tried: in rising order.
        command: that repeats it.
    """
    return page_template("ablation/rates.html").render(
        title=title,
        tried=tried,
        advice=advise(tried),
        command=command,
        curve=to_svg(loss_against_rate(tried), "rates"),
    )
