"""Rows compared image by image: by McNemar, over seeds and images, and in pictures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import sweeps
from scipy.stats import binomtest, t

from cnn_jax.analysis import answers
from cnn_jax.analysis.ablation import caption, latex_table, markdown_table, render_ablation_report
from cnn_jax.analysis.ablation.breakdown.images import by_image

COUNT, SEEDS = 500, 5


def answered(record, rates, seed=0):
    """The record, each row right so often, with a share of images that all find hard."""
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0, 0.1, COUNT)
    trials = [
        replace(trial, right=answers.pack(rng.uniform(size=COUNT) < rates[trial.variant] - hard))
        for trial in record.trials
    ]
    return replace(record, trials=trials, test_examples=COUNT)


@pytest.fixture
def record():
    rows = [{"activation": name} for name in ("relu", "mish", "gelu")]
    made = sweeps.sweep({"activation": ["relu", "mish", "gelu"]}, rows, [0.9, 0.95, 0.9],
                        seeds=tuple(range(SEEDS)))  # fmt: skip
    return answered(made, [0.9, 0.97, 0.9])


def right(record, variant):
    return np.stack(
        [answers.unpack(t.right, COUNT) for t in record.trials if t.variant == variant]
    ).astype(float)


def test_answers_are_what_was_packed():
    for count in (1, 8, 13):
        given = np.random.default_rng(count).uniform(size=count) < 0.5
        np.testing.assert_array_equal(answers.unpack(answers.pack(given), count), given)
    assert len(answers.pack(np.ones(10_000, bool))) < 1700


def test_the_majority_of_the_seeds_is_compared_by_mcnemar(record):
    found, _ = by_image(record)
    base, row = (right(record, variant).mean(0) > 0.5 for variant in (0, 1))
    lost, won = int(np.sum(base & ~row)), int(np.sum(~base & row))
    assert found.label == "mish"
    assert found.paired.p == pytest.approx(binomtest(lost, lost + won).pvalue)
    assert (found.paired.first_only, found.paired.second_only) == (lost, won)


def test_the_interval_covers_seeds_and_images(record):
    found, _ = by_image(record)
    change = right(record, 1) - right(record, 0)
    of_seeds = change.mean(1).var(ddof=1) / SEEDS
    of_images = change.mean(0).var(ddof=1) / COUNT
    share = of_seeds / (of_seeds + of_images)
    half = t.ppf(0.975, (SEEDS - 1) / share**2) * math.sqrt(of_seeds + of_images)
    assert found.seeds_share == pytest.approx(share)
    assert (found.low, found.high) == pytest.approx((change.mean() - half, change.mean() + half))


def test_one_seed_leaves_the_images():
    made = sweeps.sweep(
        {"loss": ["a", "b"]}, [{"loss": "a"}, {"loss": "b"}], [0.9, 0.9], seeds=(0,)
    )
    (found,) = by_image(answered(made, [0.9, 0.95]))
    assert found.seeds_share == 0 and found.low < found.difference < found.high


def test_coverage_of_the_interval():
    """Of 300 differences between rows that do not differ, about 95% are covered."""
    made = sweeps.sweep({"loss": ["a", "b"]}, [{"loss": "a"}, {"loss": "b"}], [0.9, 0.9],
                        seeds=tuple(range(SEEDS)))  # fmt: skip
    found = [by_image(answered(made, [0.9, 0.9], seed))[0] for seed in range(300)]
    covered = np.mean([each.low <= 0 <= each.high for each in found])
    assert covered >= 0.93


def test_pictures_that_flip_are_on_the_page(record):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 1), np.uint8)
    seen = replace(record, test_images=images, test_truth=[f"class {i}" for i in range(COUNT)])
    flips = by_image(seen)[0].flips
    changes = [flip.share - flip.baseline_share for flip in flips]
    assert changes[0] == max(changes) > 0 > min(changes)
    page = render_ablation_report(seen)
    assert f"<b>class {flips[0].number}</b>" in page
    assert "The pictures that" not in render_ablation_report(record)


def test_without_answers_there_is_nothing():
    record = sweeps.SWEEPS["tuned"]() if "tuned" in sweeps.SWEEPS else next(
        iter(sweeps.SWEEPS.values()))()  # fmt: skip
    assert by_image(record) == []
    assert "Image by image" not in render_ablation_report(record)


def test_what_intervals_cover_is_said_wherever_they_stand(record):
    words = (
        "Intervals cover other initializations and draws in training (order, dropout, "
        "augmentation), not other training examples and test images."
    )
    for text in (caption(record), markdown_table(record), latex_table(record),
                 render_ablation_report(record)):  # fmt: skip
        assert words in text
