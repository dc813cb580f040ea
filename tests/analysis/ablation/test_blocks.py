"""Several data sets are blocks: ranks and their tests, and no difference across them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import sweeps
from scipy import stats

from cnn_jax.analysis.ablation import markdown_table, render_ablation_report, summarize, table_rows
from cnn_jax.analysis.ablation.breakdown.blocks import (
    blocks,
    nemenyi_p,
    performance_profile,
    probability_of_improvement,
    rank_test,
)
from cnn_jax.analysis.ablation.summaries import compare_pairs
from cnn_jax.analysis.statistics import BETTER

SETS, ROWS = ("mnist", "fashion_mnist", "cifar10"), ("relu", "mish", "step")
BASE = {"mnist": 0.99, "fashion_mnist": 0.9, "cifar10": 0.7}
GAIN = {"relu": 0.0, "mish": 0.005, "step": -0.05}


@pytest.fixture
def record():
    axes = {"dataset": SETS, "activation": ROWS}
    variants = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    best = [BASE[v["dataset"]] + GAIN[v["activation"]] for v in variants]
    return sweeps.sweep(axes, variants, best, seeds=range(5), all_pairs=True)


def test_rows_are_compared_on_their_own_data_set(record):
    means = {tuple(record.variants[s.variant].values()): s for s in summarize(record)}
    for name in SETS:
        assert means[name, "relu"].comparison is None
        mish, relu = means[name, "mish"], means[name, "relu"]
        assert mish.comparison.difference == pytest.approx(mish.mean.mean - relu.mean.mean)
        assert mish.comparison.verdict == BETTER
        assert mish.best and not means[name, "step"].best
    pairs = {(record.variants[a.variant]["dataset"], record.variants[b.variant]["dataset"])
             for a, b, _ in compare_pairs(record)}  # fmt: skip
    assert pairs == {(name, name) for name in SETS}


def test_the_table_goes_data_set_by_data_set(record):
    assert [row.names[0] for row in table_rows(record)] == [n for n in SETS for _ in ROWS]
    text = markdown_table(record)
    assert text.count("| baseline |") == 3
    assert "Differences to relu on the same data set" in text
    assert "not shown to be worse than the highest of its data set" in text


def test_ranks_and_friedman():
    means = np.array([[0.9, 0.8, 0.7, 0.6], [0.95, 0.85, 0.7, 0.65], [0.5, 0.5, 0.5, 0.5]])
    ranks, p, critical = rank_test(means)
    assert ranks.tolist() == [[2, 2, 1.5, 2], [1, 1, 1.5, 1], [3, 3, 3, 3]]
    assert p == pytest.approx(stats.friedmanchisquare(*means).pvalue)
    # Demšar's table 5: q of 3 rows is 2.343.
    assert critical == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 4)), abs=2e-3)
    assert nemenyi_p(critical, 3, 4) == pytest.approx(0.05)
    assert rank_test(means[:2])[1] is None


def test_probability_of_improvement_is_mann_whitneys_u():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=6), rng.normal(size=5)) for _ in range(3)]
    expected = np.mean([stats.mannwhitneyu(*pair).statistic / 30 for pair in pairs])
    found, low, high = probability_of_improvement(pairs)
    assert found == pytest.approx(expected)
    assert 0 <= low < found < high <= 1
    assert probability_of_improvement([([0.5], [0.5])]) == (0.5, 0.5, 0.5)


def test_what_the_data_sets_say_together(record):
    found = blocks(record)
    assert found is not None
    assert [row.label for row in found.rows] == ["mish", "relu", "step"]
    assert [row.mean_rank for row in found.rows] == [1, 2, 3]
    assert found.baseline == "relu" and found.rows[1].improvement is None
    assert found.rows[0].improvement > 0.9 and found.rows[2].improvement < 0.1
    same = [[3.0] * 3, [2.0] * 3, [1.0] * 3]
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*same).pvalue)


def test_the_page_has_ranks_and_profiles(record):
    page = render_ablation_report(record)
    assert "Over the data sets" in page and "has the best mean rank" in page
    assert len(performance_profile(record).axes[0].lines) == 3
    assert "Over the data sets" not in render_ablation_report(sweeps.two_axes())


def test_a_row_that_failed_on_one_data_set_is_not_ranked(record):
    trials = [
        replace(t, status="diverged", test_accuracy=None, test_loss=None) if t.variant == 8 else t
        for t in record.trials
    ]
    found = blocks(replace(record, trials=trials))
    assert found is not None and [row.label for row in found.rows] == ["mish", "relu"]
    assert found.friedman_p is None
