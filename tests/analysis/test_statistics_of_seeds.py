import math
import warnings

import numpy as np
import pytest
from scipy import stats

from cnn_jax.analysis.statistics import (
    BETTER,
    NO_DIFFERENCE,
    TOO_FEW,
    WORSE,
    compare_to_baseline,
    detectable_difference,
    holm,
    interval_half_width,
    mean_interval,
    mean_over_seeds,
    paired_difference,
    smallest_exact_p,
    wilson_interval,
)

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_numerical_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_mean_and_interval_are_those_of_scipy(n):
    values = RNG.normal(0.98, 0.002, n)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = mean_over_seeds(values.tolist())
    assert found.n == n
    np.testing.assert_allclose(found.mean, values.mean())
    np.testing.assert_allclose((found.low, found.high), expected)
    np.testing.assert_allclose(found.std, np.std(values, ddof=1))


def test_interval_against_a_hand_value():
    # t(0.975, 2) = 4.302653 and s = 1, so that half of the interval is 4.302653 / sqrt(3).
    found = mean_over_seeds([1.0, 2.0, 3.0])
    np.testing.assert_allclose((found.low, found.high), (2 - 2.484138, 2 + 2.484138), atol=1e-6)


def test_one_seed_has_no_interval():
    assert mean_over_seeds([0.98]) == (1, 0.98, None, None, None)


def test_equal_values_have_an_interval_without_width():
    found = mean_over_seeds([0.9815] * 3)
    np.testing.assert_allclose(found, (3, 0.9815, 0.9815, 0.9815, 0.0))


@pytest.mark.parametrize("values", [[], [0.9, math.nan], [math.inf]])
def test_mean_rejects_what_is_no_number(values):
    with pytest.raises(ValueError, match="one or more finite numbers"):
        mean_over_seeds(values)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_paired_difference_is_that_of_scipy_over_the_common_seeds(n):
    first, second = RNG.normal(0.98, 0.002, (2, n))
    test = stats.ttest_rel(first, second)
    # The seeds come in another order, and each side has one that the other lacks.
    values = dict(reversed(list(enumerate(first)))) | {100: 0.5}
    difference, p = paired_difference(values, dict(enumerate(second)) | {101: 0.1})
    assert difference.n == n
    np.testing.assert_allclose(difference.mean, np.mean(first - second))
    np.testing.assert_allclose((difference.low, difference.high), test.confidence_interval(0.95))
    np.testing.assert_allclose(p, test.pvalue)


def test_differences_without_spread():
    baseline = {0: 0.97, 1: 0.98, 2: 0.99}
    difference, p = paired_difference(baseline, baseline)
    assert (difference.mean, difference.low, difference.high, p) == (0.0, 0.0, 0.0, 1.0)
    shifted = {seed: value + 0.001 for seed, value in baseline.items()}
    difference, p = paired_difference(shifted, baseline)
    np.testing.assert_allclose(difference.mean, 0.001)
    assert p is None


def test_single_precision_is_no_spread():
    baseline = {0: 0.9713, 1: 0.9822, 2: 0.9941}
    single = {seed: float(np.float32(value)) for seed, value in baseline.items()}
    assert paired_difference(single, baseline)[1] == 1.0


def test_common_seeds_of_none_and_one():
    assert paired_difference({0: 0.9}, {1: 0.9}) == (None, None)
    difference, p = paired_difference({0: 0.9}, {0: 0.8, 1: 0.7})
    assert difference.n == 1
    assert p is None


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        # Values that p.adjust(..., "holm") of R gives.
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.001, 0.6, 0.9], [0.06, 0.004, 1.0, 1.0]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm_against_known_values(p_values, corrected):
    np.testing.assert_allclose(holm(p_values), corrected)


def test_holm_against_its_definition():
    p = RNG.uniform(size=12) ** 3
    corrected = holm(p.tolist())
    for level in (0.01, 0.05, 0.2):
        # Step down by the definition: reject while the smallest remaining is at most level / count.
        order, rejected = np.argsort(p), set()
        for step, index in enumerate(order):
            if p[index] > level / (len(p) - step):
                break
            rejected.add(index)
        assert {i for i, value in enumerate(corrected) if value <= level} == rejected


def test_comparisons_and_their_verdicts():
    baseline = {0: 0.980, 1: 0.982, 2: 0.981, 3: 0.984}
    noise = (0.0001, -0.0001, 0.0002, 0.0)
    shifted = [
        {seed: value + shift + noise[seed] for seed, value in baseline.items()}
        for shift in (0.01, -0.01, 0.0)
    ]
    one = {3: 0.99}
    same = {seed: value + 0.002 for seed, value in baseline.items()}
    groups = [shifted[0], baseline, shifted[1], shifted[2], one, {}, same]
    found = compare_to_baseline(groups, 1)
    assert found[1] is None
    verdicts = [pair.verdict for pair in found if pair]
    assert verdicts == [BETTER, WORSE, NO_DIFFERENCE, TOO_FEW, TOO_FEW, TOO_FEW]
    assert [pair.n for pair in found if pair] == [4, 4, 4, 1, 0, 4]
    # Comparisons without a p are no tests, and so the family has three.
    raw = [found[index].p for index in (0, 2, 3)]
    assert [found[index].p_holm for index in (0, 2, 3)] == holm(raw)
    assert found[5] == (0, None, None, None, None, None, None, TOO_FEW)


def test_a_difference_only_before_the_correction_is_none_shown():
    rng = np.random.default_rng(3)
    baseline = dict(enumerate(rng.normal(0.98, 0.001, 5)))
    noise = (0.0005, -0.0006, 0.0002, -0.0004, 0.0003)
    near = {seed: value + 0.001 + noise[seed] for seed, value in baseline.items()}
    others = [{s: v + rng.normal(0, 0.001) for s, v in baseline.items()} for _ in range(12)]
    alone = compare_to_baseline([baseline, near], 0)[1]
    among = compare_to_baseline([baseline, near, *others], 0)[1]
    assert alone.verdict == BETTER
    assert among.p == alone.p
    assert among.verdict == NO_DIFFERENCE


@pytest.mark.parametrize("n", [2, 3, 6])
def test_smallest_exact_p_is_that_of_a_permutation_test(n):
    differences = np.arange(1.0, n + 1)
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    np.testing.assert_allclose(smallest_exact_p(n), test.pvalue)


def test_interval_half_width_is_that_of_standard_data():
    values = np.array([1.0, 2.0, 4.0, 8.0, 3.0])
    values = (values / np.std(values, ddof=1)).tolist()
    found = mean_over_seeds(values)
    np.testing.assert_allclose(interval_half_width(5), (found.high - found.low) / 2)


@pytest.mark.parametrize(("n", "tabulated"), [(3, 3.26), (5, 1.68), (10, 1.00), (34, 0.4946)])
def test_detectable_difference_against_tables_of_power(n, tabulated):
    # Cohen, "Statistical Power Analysis", 1988; n = 34 is the example of G*Power for d = 0.5.
    np.testing.assert_allclose(detectable_difference(n), tabulated, rtol=0.01)


def test_detectable_difference_is_found_in_four_cases_of_five():
    for n in (2, 4):
        samples = np.random.default_rng(0).normal(detectable_difference(n), 1.0, (n, 20_000))
        found = stats.ttest_1samp(samples, 0.0).pvalue < 0.05
        assert abs(np.mean(found) - 0.8) < 0.01


def test_interval_of_independent_answers_is_wilsons_over_all_of_them():
    rng = np.random.default_rng(0)
    right = rng.random((4000, 4)) < 0.9
    low, high = mean_interval(right.mean(axis=1))
    theirs = math.sqrt(0.9 * 0.1 / right.size) * 1.96
    np.testing.assert_allclose(high - low, 2 * theirs, rtol=0.05)
    assert low < right.mean() < high


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_answers_that_are_right_together_count_once(share: float):
    shares = (np.arange(40) < share * 40).astype(float)
    ours = mean_interval(shares)
    # The sample's variance has n - 1 below: one answer fewer where there is any variance.
    np.testing.assert_allclose(ours, wilson_interval(int(share * 40), 40), atol=3e-3)
    assert 0 <= ours[0] < ours[1] <= 1
    assert mean_interval(shares[:1])[1] <= 1
