"""The variance budget: what each source does to the baseline's accuracy."""

from dataclasses import replace

import numpy as np
import pytest
import sweeps

from cnn_jax.analysis import answers
from cnn_jax.analysis.ablation import render_ablation_report
from cnn_jax.analysis.ablation.breakdown.budget import ALL, budget_chart, variance_budget

BUDGET = {"init": [0.985, 0.99], "order": [0.984, 0.986]}


@pytest.fixture
def record():
    return replace(sweeps.few(seeds=(0, 1, 2)), budget=BUDGET, sources=("init", "order"))


def test_each_source_with_the_first_seed(record):
    main = [t.test_accuracy for t in record.trials if t.variant == 0]
    shares = {share.source: share for share in variance_budget(record)}
    assert list(shares) == [
        "initializations", "draws in training (order, dropout, augmentation)", ALL,
    ]  # fmt: skip
    assert shares["initializations"].std == pytest.approx(np.std([main[0], 0.985, 0.99], ddof=1))
    assert shares["initializations"].runs == 3
    assert shares[ALL].std == pytest.approx(np.std(main, ddof=1))


def test_test_images_by_the_answers_of_one_run(record):
    right = np.arange(10_000) < 9_850
    trials = [replace(t, right=answers.pack(right)) for t in record.trials]
    share = variance_budget(replace(record, trials=trials))[-1]
    assert share.source == "test images"
    assert share.std == pytest.approx(np.sqrt(0.985 * 0.015 / 10_000), rel=1e-6)


def test_the_page_has_the_chart_where_there_is_a_budget(record):
    assert "Where the spread comes from" in render_ablation_report(record)
    assert len(budget_chart(variance_budget(record)).axes[0].patches) == 3
    assert "Where the spread comes from" not in render_ablation_report(sweeps.few())
