"""Means over seeds and verdicts, recomputed by SciPy and by brute force."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from cnn_jax.analysis.statistics import (
    BETTER,
    EQUIVALENT,
    LEVEL,
    MOST_SEEDS,
    UNDECIDED,
    WORSE,
    compare_all,
    compare_to_baseline,
    dunnett_level,
    dunnett_p,
    half_width,
    mean_interval,
    mean_over_seeds,
    moderate,
    sign_flip_p,
    smallest_exact_p,
    step_down,
    tukey_level,
    tukey_p,
    two_sided_p,
    wilson_interval,
)

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_numerical_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_of_a_mean_is_scipys_in_log_odds(n):
    values = RNG.normal(0.98, 0.002, n)
    found = mean_over_seeds(values.tolist())
    usual = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    half = (usual.high - usual.low) / 2
    np.testing.assert_allclose(found.mean, values.mean())
    np.testing.assert_allclose(found.std, np.std(values, ddof=1))
    # d logit(m) = dm / (m (1 - m))
    odds = stats.logistic.ppf(found.mean) + half / (found.mean * (1 - found.mean)) * np.array(
        [-1, 1]
    )
    np.testing.assert_allclose((found.low, found.high), stats.logistic.cdf(odds))
    if n == 30:
        np.testing.assert_allclose((found.low, found.high), usual, atol=2e-5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
@settings(deadline=None)
def test_means_and_their_intervals_stay_between_0_and_1(values):
    found = mean_over_seeds(values)
    if len(values) > 1:
        assert 0 <= found.low <= found.mean + 1e-9 and found.mean - 1e-9 <= found.high <= 1


def test_one_seed_has_no_interval():
    assert mean_over_seeds([0.98]) == (1, 0.98, None, None, None)


@pytest.mark.parametrize("value", [0.0, 0.9815, 1.0])
def test_equal_values_have_an_interval_without_width(value):
    np.testing.assert_allclose(mean_over_seeds([value] * 3), (3, value, value, value, 0.0))


@pytest.mark.parametrize("values", [[], [0.9, math.nan], [math.inf], [97.0, 98.0]])
def test_mean_rejects_what_is_no_accuracy(values):
    with pytest.raises(ValueError, match=r"one or more numbers in \[0, 1\]"):
        mean_over_seeds(values)


@pytest.mark.parametrize("comparisons", [1, 2, 4, 13])
@pytest.mark.parametrize("p", [0.2, 0.03, 1e-3, 1e-6])
def test_dunnetts_correction_is_the_multivariate_normal_probability(comparisons, p):
    bound = stats.norm.isf(p / 2)

    def inside(shared):
        # Each of the others is within the bound, given what all have in common.
        ends = np.array([-bound, bound]) - math.sqrt(0.25) * shared
        low, high = stats.norm.cdf(ends / math.sqrt(0.75))
        return stats.norm.pdf(shared) * (1 - (high - low) ** comparisons)

    expected = integrate.quad(inside, -9, 9, epsabs=1e-14)[0]
    np.testing.assert_allclose(dunnett_p(p, comparisons), expected, rtol=1e-3)
    if comparisons in (2, 4) and p >= 1e-3:
        together = stats.multivariate_normal(cov=0.25 + 0.75 * np.eye(comparisons), seed=0)
        box = together.cdf([bound] * comparisons, lower_limit=[-bound] * comparisons)
        np.testing.assert_allclose(dunnett_p(p, comparisons), 1 - box, rtol=0.02)


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_tukeys_correction_is_that_of_the_studentized_range(rows):
    level = tukey_level(LEVEL, rows)
    bound = stats.studentized_range.ppf(1 - LEVEL, rows, np.inf) / math.sqrt(2)
    np.testing.assert_allclose(level, 2 * stats.norm.sf(bound), rtol=1e-6)
    np.testing.assert_allclose(tukey_p(level, rows), LEVEL, rtol=1e-6)
    if rows == 2:
        np.testing.assert_allclose(tukey_p(0.03, rows), 0.03, rtol=1e-5)


def test_levels_are_where_the_corrected_p_is_the_level():
    for count in (1, 3, 13):
        np.testing.assert_allclose(dunnett_p(dunnett_level(LEVEL, count), count), LEVEL, rtol=1e-6)
    assert dunnett_level(LEVEL, 1) == pytest.approx(LEVEL)
    # Never less strict than the comparisons alone, never stricter than if they were independent.
    assert LEVEL / 4 < dunnett_level(LEVEL, 4) < LEVEL


def test_steps_down_by_the_definition():
    p = RNG.uniform(size=(50, 6)) ** 4
    corrected, levels = step_down(p, LEVEL)
    for row, found, used in zip(p, corrected, levels, strict=True):
        decided = 0
        for place in np.argsort(row):
            expected = float(dunnett_p(row[place], 6 - decided))
            np.testing.assert_allclose(found[place], expected)
            assert (row[place] < used[place]) == (expected < LEVEL)
            decided += expected < LEVEL


def brute_force(variances, freedom, accuracies):
    """Weights, freedom and variance of every hypothesis, by loops and SciPy's F distribution."""
    found = []
    mean = np.mean([value for value in variances if value > 0])
    for trend, (worth, prior), log in itertools.product(
        (0.0, 0.5, 1.0),
        [(w, (1 + w / 4) ** -3) for w in (0.25, 1.0, 4.0, 16.0)],
        np.linspace(-5.0, 2.5, 16),
    ):
        shape = np.array([np.mean((pair * (1 - pair)) ** (2 * trend)) for pair in accuracies])
        shape = shape / stats.gmean(shape)
        common, evidence = math.exp(log) * mean * shape, prior
        for own, n, one in zip(variances, freedom, common, strict=True):
            if own > 0:
                # The density of the logarithm of the ratio.
                evidence *= stats.f(n, worth).pdf(own / one) * own / one
        pooled = (worth * common + freedom * variances) / (worth + freedom)
        found.append((evidence, worth + freedom, pooled))
    evidence, freedom, pooled = map(np.array, zip(*found, strict=True))
    return evidence / evidence.sum(), freedom, pooled


@pytest.mark.parametrize("seeds", [[3, 3, 3], [3, 5, 4], [12, 12, 12]])
@pytest.mark.parametrize("zero", [False, True])
def test_moderated_tests_by_brute_force(seeds, zero):
    freedom = np.array(seeds) - 1
    variances = RNG.uniform(0.5, 2, 3) * 1e-6
    variances[1] *= not zero
    accuracies = RNG.uniform(0.8, 0.99, (3, 2))
    spread = moderate(variances, freedom, accuracies)
    weights, degrees, pooled = brute_force(variances, freedom, accuracies)
    means = np.array([0.001, -0.002, 0.0005])
    expected = [
        sum(
            w * 2 * stats.t.sf(abs(mean) / math.sqrt(v[row] / n), d[row])
            for w, d, v in zip(weights, degrees, pooled, strict=True)
        )
        for row, (mean, n) in enumerate(zip(means, seeds, strict=True))
    ]
    p = two_sided_p(spread, means, np.array(seeds))
    np.testing.assert_allclose(p, expected, rtol=1e-9)
    for row, n in enumerate(seeds):
        width = half_width(spread.row(row), n, 0.02)
        one = two_sided_p(spread.row(row), np.array([width]), np.array([n]))
        np.testing.assert_allclose(one, 0.02, rtol=1e-6)


def test_with_many_seeds_the_test_is_the_paired_t_test():
    first, second = RNG.normal(0.98, 0.002, (2, 200))
    (_, found) = compare_to_baseline([dict(enumerate(second)), dict(enumerate(first))], 0)
    test = stats.ttest_rel(first, second)
    np.testing.assert_allclose(found.p, test.pvalue, atol=0.005)
    np.testing.assert_allclose((found.low, found.high), test.confidence_interval(), rtol=0.02)
    np.testing.assert_allclose(found.std, np.std(first - second, ddof=1))
    assert found.p == found.p_corrected


def table(rng, rows, seeds, spread=0.001, effect=0.0):
    """Accuracies of rows by seed, the baseline first, the others better by an effect."""
    values = 0.97 + spread * rng.normal(size=(rows, seeds)) + spread * rng.normal(size=seeds)
    values[1:] += effect
    return [dict(enumerate(np.clip(row, 0, 1).tolist())) for row in values]


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(3, 8), st.floats(0, 0.004))
@settings(max_examples=60, deadline=None)
def test_a_verdict_never_disagrees_with_its_interval(draw, rows, seeds, effect):
    groups = table(np.random.default_rng(draw), rows, seeds, effect=effect)
    for found in [*compare_to_baseline(groups, 0)[1:], *compare_all(groups).values()]:
        assert (
            (found.verdict == BETTER)
            == (found.low > 0)
            == (found.p_corrected < LEVEL and found.difference > 0)
        )
        assert (found.verdict == WORSE) == (found.high < 0)
        inside = found.low <= 0 <= found.high and max(-found.low, found.high) <= 0.002
        assert (found.verdict == EQUIVALENT) == inside
        assert found.low <= found.difference <= found.high
        assert found.p <= found.p_corrected <= 1
        if found.seeds_to_decide is not None:
            assert found.verdict == UNDECIDED and seeds < found.seeds_to_decide <= MOST_SEEDS


def test_the_four_verdicts():
    rng = np.random.default_rng(0)
    base = 0.97 + 0.0003 * rng.normal(size=8)
    shifts, noise = (0.01, -0.01, 0.0, 0.0003), (0.0003, 0.0003, 0.0003, 0.005)
    rows = [base + s + n * rng.normal(size=8) for s, n in zip(shifts, noise, strict=True)]
    groups = [dict(enumerate(row)) for row in (base, *rows)]
    verdicts = [found.verdict for found in compare_to_baseline(groups, 0) if found]
    assert verdicts == [BETTER, WORSE, EQUIVALENT, UNDECIDED]
    wide = compare_to_baseline(groups, 0, equivalent_within=0.05)
    assert [found.verdict for found in wide if found] == [BETTER, WORSE, EQUIVALENT, EQUIVALENT]


def test_seeds_to_decide_decide_in_four_cases_of_five():
    (_, found) = compare_to_baseline(table(np.random.default_rng(5), 2, 4, effect=0.0008), 0)
    n, rng = found.seeds_to_decide, np.random.default_rng(0)
    assert found.verdict == UNDECIDED and n
    # Drawn with the difference and about the spread that were seen.
    samples = rng.normal(found.difference, found.std, (3000, n))
    p = stats.ttest_1samp(samples, 0.0, axis=1).pvalue
    assert 0.7 < np.mean(p < LEVEL) < 1


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_sign_flips_are_those_of_a_permutation_test(n):
    differences = RNG.normal(0.001, 0.001, n)
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    np.testing.assert_allclose(sign_flip_p(differences), test.pvalue)
    np.testing.assert_allclose(sign_flip_p(np.arange(1.0, n + 1)), smallest_exact_p(n))


def test_sign_flips_of_many_seeds_are_drawn():
    differences = np.random.default_rng(3).normal(0.0004, 0.001, 30)
    p = stats.ttest_1samp(differences, 0).pvalue
    np.testing.assert_allclose(sign_flip_p(differences), p, atol=0.01)
    assert sign_flip_p(np.ones(30)) > 0


def test_few_seeds_decide_by_assuming_normality_and_say_so():
    groups = table(np.random.default_rng(1), 5, 3, effect=0.01)
    decided = [pair for pair in compare_to_baseline(groups, 0) if pair and pair.verdict == BETTER]
    assert decided and all(found.assumes_normality for found in decided)
    assert all(found.p_sign_flip == 0.25 for found in decided)
    more = compare_to_baseline(table(np.random.default_rng(1), 5, 6, effect=0.01), 0)[1:]
    assert not any(found.assumes_normality for found in more)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_and_two_seeds_decide_nothing(seeds):
    groups = table(np.random.default_rng(0), 3, seeds, effect=0.1)
    for found in compare_to_baseline(groups, 0)[1:]:
        assert (found.verdict, found.n, found.low, found.p) == (UNDECIDED, seeds, None, None)
        assert found.p_sign_flip == (None if seeds == 1 else 0.5)


def test_two_seeds_that_tie_are_not_identical():
    groups = [{0: 0.5, 1: 0.525}, {0: 0.5, 1: 0.525}]
    (found,) = compare_all(groups).values()
    assert (found.verdict, found.identical, found.difference) == (UNDECIDED, False, 0)


def test_without_a_common_seed_nothing_is_known():
    assert (
        compare_to_baseline([{0: 0.9}, {1: 0.9}, {}], 0)[1:]
        == [(0, None, None, None, None, None, None, None, UNDECIDED, None, False)] * 2
    )


def test_a_baseline_that_diverged_leaves_everything_undecided():
    groups = table(np.random.default_rng(0), 3, 5)
    found = compare_to_baseline([{}, *groups[1:]], 0)
    assert [pair.n for pair in found[1:]] == [0, 0]
    assert {pair.verdict for pair in found[1:]} == {UNDECIDED}


def test_pairs_are_those_of_the_seeds_that_both_finished():
    groups = table(np.random.default_rng(0), 3, 6)
    del groups[0][5], groups[1][0]
    found = compare_to_baseline(groups, 0)
    assert [pair.n for pair in found[1:]] == [4, 5]
    common = [groups[1][seed] - groups[0][seed] for seed in (1, 2, 3, 4)]
    np.testing.assert_allclose(found[1].difference, np.mean(common))


def test_identical_rows_leave_the_family():
    groups = table(np.random.default_rng(2), 4, 5, effect=0.001)
    alone = compare_to_baseline(groups, 0)
    among = compare_to_baseline([*groups, dict(groups[0]), dict(groups[2])], 0)
    assert among[:4] == alone
    assert among[5] == alone[2]
    assert among[4].identical and among[4].verdict == EQUIVALENT
    assert among[4][:5] == (5, 0.0, 0.0, 0.0, 0.0)
    # In single precision too.
    single = {seed: float(np.float32(value)) for seed, value in groups[0].items()}
    assert compare_to_baseline([groups[0], single], 0)[1].identical


def test_differences_without_spread_take_it_from_the_other_rows():
    groups = table(np.random.default_rng(0), 3, 4)
    shifted = {seed: value + 0.01 for seed, value in groups[0].items()}
    near = {seed: value + 0.0001 for seed, value in groups[0].items()}
    *_, far, close = compare_to_baseline([*groups, shifted, near], 0)
    assert far.verdict == BETTER and far.low < 0.01 < far.high
    assert close.verdict in (UNDECIDED, EQUIVALENT)
    # Without any spread there is nothing to judge by.
    alone = compare_to_baseline([groups[0], shifted], 0)[1]
    assert (alone.verdict, alone.p, alone.low) == (UNDECIDED, None, None)
    np.testing.assert_allclose(alone.difference, 0.01)


def test_ties_of_coarse_accuracies_are_no_error():
    values = [{0: 0.5, 1: 0.525, 2: 0.5}, {0: 0.5, 1: 0.5, 2: 0.525}, {0: 0.525, 1: 0.5, 2: 0.5}]
    found = compare_to_baseline(values, 0)[1:]
    assert {pair.verdict for pair in found} == {UNDECIDED}
    assert [pair.difference for pair in found] == [0, 0]
    np.testing.assert_allclose([(pair.p, pair.p_corrected) for pair in found], 1)


def test_of_all_pairs_each_is_compared_once():
    groups = table(np.random.default_rng(4), 3, 6, effect=0.01)
    found = compare_all([*groups, {}, dict(groups[2])])
    assert set(found) == set(itertools.combinations(range(5), 2))
    assert found[0, 1].verdict == found[0, 2].verdict == WORSE
    assert found[2, 4].identical
    assert found[0, 4] == found[0, 2]._replace()
    assert {found[key].n for key in found if 3 in key} == {0}


def test_every_row_is_compared_with_every_other_as_often_as_there_are_rows():
    assert compare_all([]) == {}
    assert compare_to_baseline([{0: 0.9, 1: 0.8, 2: 0.7}], 0) == [None]


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
