"""Two rows compared image by image: which test images one of them alone has right."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis import answers
from cnn_jax.analysis.ablation.records import DATASET, SweepRecord, label, shown_trials
from cnn_jax.analysis.compare import Paired, compare_answers
from cnn_jax.analysis.figures import image_to_png

# The pictures that are shown of a row.
_SHOWN = 12


class Flip(NamedTuple):
    """A test image that one row has right more often than the baseline, or less.

    Attributes:
        number: of the image in the test split.
        share: of the row's seeds that have it right.
        baseline_share: likewise of the baseline's.
        picture: as an address; "" where the sweep holds no images.
        truth: its class; likewise.
    """

    number: int
    share: float
    baseline_share: float
    picture: str
    truth: str


class ByImage(NamedTuple):
    """A row against the baseline, image by image.

    Attributes:
        label: of the row.
        paired: what most seeds of the baseline and most seeds of the row answer, by McNemar.
        difference: of the shares of images that are right, means over the seeds; of several labels
            an image is right if all of them are.
        low: of its 95% interval over other seeds and other test images.
        high: likewise.
        seeds_share: of the variance of the difference that is the seeds'; the rest is the images'.
        flips: the images that change most, those that the row wins first.
    """

    label: str
    paired: Paired
    difference: float
    low: float
    high: float
    seeds_share: float
    flips: list[Flip]


def by_image(record: SweepRecord) -> list[ByImage]:
    """Every row against the baseline; none where the answers are not known, or not to one split.

    Seeds and images are crossed: the variance of a difference is that over the seeds of its means
    over the images, and that over the images of its means over the seeds, each of a mean; what
    both share is counted twice, which errs on the wide side.
    """
    if record.baseline is None or DATASET in record.axes:
        return []
    rows = [_right(record, variant) for variant in range(len(record.variants))]
    base = rows[record.baseline]
    return [
        _compare(record, variant, base, right)
        for variant, right in enumerate(rows)
        if variant != record.baseline and base and right and base.keys() & right.keys()
    ]


def _right(record: SweepRecord, variant: int) -> dict[int, Float[np.ndarray, " n"]]:
    """Of each seed of a row which test images are right."""
    return {
        trial.seed: answers.unpack(trial.right, record.test_examples).astype(float)
        for trial in shown_trials(record, variant)
        if trial.right is not None
    }


def _compare(
    record: SweepRecord, variant: int, base: dict[int, np.ndarray], right: dict[int, np.ndarray]
) -> ByImage:
    seeds = sorted(base.keys() & right.keys())
    before = np.stack([base[seed] for seed in seeds])
    after = np.stack([right[seed] for seed in seeds])
    change = after - before
    of_images, of_seeds = _variance(change.mean(0)), _variance(change.mean(1))
    difference, total = float(change.mean()), of_images + of_seeds
    half = _quantile(len(seeds), of_seeds / total if total else 0.0) * math.sqrt(total)
    return ByImage(
        label(record, variant),
        compare_answers(before.mean(0) > 0.5, after.mean(0) > 0.5),
        difference,
        difference - half,
        difference + half,
        of_seeds / total if total else 0.0,
        _flips(record, before.mean(0), after.mean(0)),
    )


def _variance(values: Float[np.ndarray, " n"]) -> float:
    """Of the mean of these."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _quantile(seeds: int, share: float) -> float:
    """Student's t at the degrees of freedom of a sum of two variances, by Satterthwaite.

    The images are so many that only the seeds' share counts.
    """
    from scipy.stats import t

    freedom = (seeds - 1) / share**2 if share else math.inf
    return float(t.ppf(0.975, freedom))


def _flips(
    record: SweepRecord, before: Float[np.ndarray, " n"], after: Float[np.ndarray, " n"]
) -> list[Flip]:
    """As many that are won as that are lost, those that change most first."""
    change = after - before
    won = [int(i) for i in np.argsort(-change, kind="stable")[: _SHOWN // 2] if change[i] > 0]
    lost = [int(i) for i in np.argsort(change, kind="stable")[: _SHOWN // 2] if change[i] < 0]
    return [
        Flip(
            index,
            float(after[index]),
            float(before[index]),
            "" if record.test_images is None else image_to_png(record.test_images[index]),
            "" if record.test_truth is None else record.test_truth[index],
        )
        for index in won + lost
    ]
