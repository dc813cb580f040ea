"""Means over seeds and verdicts, recomputed by SciPy and by brute force."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, linalg, special, stats

from cnn_jax.analysis.statistics import (
    BETTER,
    EQUIVALENT,
    LEVEL,
    MOST_SEEDS,
    UNDECIDED,
    WORSE,
    compare_all,
    compare_sequentially,
    compare_to_baseline,
    dunnett_level,
    dunnett_p,
    half_width,
    look_level,
    looks,
    mean_interval,
    mean_over_seeds,
    moderate,
    replication,
    seeds_to_detect,
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
        ends = np.array([-bound, bound]) - math.sqrt(0.1) * shared
        low, high = stats.norm.cdf(ends / math.sqrt(0.9))
        return stats.norm.pdf(shared) * (1 - (high - low) ** comparisons)

    expected = integrate.quad(inside, -9, 9, epsabs=1e-14)[0]
    np.testing.assert_allclose(dunnett_p(p, comparisons), expected, rtol=1e-3)
    if comparisons in (2, 4) and p >= 1e-3:
        together = stats.multivariate_normal(cov=0.1 + 0.9 * np.eye(comparisons), seed=0)
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


def bound_of(contrasts, spread_of_block, worth, common, mean):
    """A row's part of the evidence, bounded from below, by SciPy's densities and entropies.

    Args:
        contrasts: the row's, less what seeds do to all rows.
        spread_of_block: the variance of either of these.
        worth: degrees of freedom of the common variance.
        common: variance.
        mean: of the row's precision.
    """
    n = len(contrasts)
    rate, form = worth * common / 2, (worth + n) / 2
    log_mean = special.digamma(form) - math.log(form / mean)
    squares = (contrasts**2).sum() + n * spread_of_block
    found = n / 2 * (log_mean - math.log(2 * math.pi)) - mean * squares / 2
    found += worth / 2 * math.log(rate) - special.gammaln(worth / 2)
    found += (worth / 2 - 1) * log_mean - rate * mean
    return found + stats.gamma(form, scale=mean / form).entropy()


def hypotheses():
    """Power of the accuracy, worth, prior, and how likely a row is of each common variance."""
    for log in np.linspace(-4.0, 2.0, 9):
        for worth, trend in itertools.product((0.25, 1.0, 4.0, 16.0), (0.0, 0.5, 1.0)):
            yield trend, worth, 4 / (4 + worth), {math.exp(log): 1.0}
        for ratio in (6.0, 16.0, 50.0):
            root = math.sqrt(ratio)
            yield 0.0, 4.0, 40.0, {math.exp(log) / root: 1 / 3, math.exp(log) * root: 2 / 3}


def brute_force(values):
    """Weights, freedom and variances of pairs of states of the first two rows, without a gap."""
    rows, n = values.shape[0], values.shape[1] - 1
    # Orthonormal contrasts take each row's mean away.
    contrasts = values @ linalg.helmert(n + 1).T
    unit = ((contrasts - contrasts.mean(0)) ** 2).sum() / n / (rows - 1)
    means, found = values.mean(1), []
    for trend, worth, prior, kinds in hypotheses():
        shape = (means * (1 - means)) ** (2 * trend)
        shape = shape / stats.gmean(shape)
        common, likely = np.outer(list(kinds), unit * shape), np.array([*kinds.values()])[:, None]
        precisions, shares = np.full(common.shape, 1 / unit), likely
        for _ in range(15):
            precision = (shares * precisions).sum(0)
            spread = 1 / precision.sum()
            block = spread * precision @ contrasts
            squares = ((contrasts - block) ** 2).sum(1) + n * spread
            precisions = (worth + n) / (worth * common + squares)
            bounds = np.array([
                [
                    bound_of(row - block, spread, worth, one, mean)
                    for row, one, mean in zip(contrasts, *of_rows, strict=True)
                ]
                for of_rows in zip(common, precisions, strict=True)
            ])  # fmt: skip
            shares = special.softmax(bounds + np.log(likely), axis=0)
        evidence = stats.norm(scale=math.sqrt(spread)).entropy() * n + math.log(prior)
        evidence += special.logsumexp(bounds, axis=0, b=likely).sum()
        found.append((worth, evidence, shares, 1 / precisions))
    worths, evidence = (np.array(each) for each in list(zip(*found, strict=True))[:2])
    odds = np.exp(evidence - evidence.max())
    own = odds * (worths == 0.25)
    weights = 0.99 * odds / odds.sum() + 0.01 * own / own.sum()
    left = n * max(0.5, (rows - 1) / (rows + 1))
    return [
        (weight * shares[i, 0] * shares[j, 1], worth + left, variances[i, 0], variances[j, 1])
        for weight, (worth, _, shares, variances) in zip(weights, found, strict=True)
        for i, j in itertools.product(range(len(shares)), repeat=2)
    ]


@pytest.mark.parametrize(("rows", "seeds"), [(2, 3), (4, 3), (6, 8)])
def test_moderated_tests_by_brute_force(rows, seeds):
    rng = np.random.default_rng(rows)
    values = rng.uniform(0.9, 0.98, (rows, 1)) + 0.001 * rng.normal(size=(rows, seeds))
    values += 0.002 * rng.normal(size=seeds)
    spread = moderate(values).of_differences([1], [0])
    means = np.array([0.0015])
    own = np.var(values[1] - values[0], ddof=1)
    share, n = (seeds - 1) / (seeds - 1 + {2: 0, 4: 4 / 3, 6: 2.75}[rows]), seeds - 1
    expected = 0.0
    for weight, freedom, one, other in brute_force(values):
        both = one + other
        welch = max(n, both**2 / (one**2 / freedom + other**2 / freedom))
        welch = 1 / (1 / welch + share**2 * max(0.0, 1 / n - 1 / welch))
        error = math.sqrt(((1 - share) * both + share * own) / seeds)
        expected += weight * 2 * stats.t.sf(means[0] / error, welch)
    expected *= 1 + 0.076 * math.sqrt(1 - share)
    np.testing.assert_allclose(two_sided_p(spread, means, np.array([seeds])), expected, rtol=1e-5)
    width = half_width(spread.pair(0), seeds, 0.02)
    one = two_sided_p(spread.pair(0), np.array([width]), np.array([seeds]))
    np.testing.assert_allclose(one, 0.02, rtol=1e-6)


def test_rows_may_lack_seeds():
    rng = np.random.default_rng(0)
    values = 0.97 + 0.001 * rng.normal(size=(4, 40)) + 0.003 * rng.normal(size=40)
    values[2] += 0.002 * rng.normal(size=40)
    values[1, 5:] = np.nan
    values[3, [0, 7]] = np.nan
    rows = moderate(values)
    np.testing.assert_allclose(rows.of_differences([3], [0]).mean, 2e-6, rtol=0.6)
    np.testing.assert_allclose(rows.of_differences([2], [0]).mean, 6e-6, rtol=0.6)
    pair = rows.of_differences([3], [0])
    common = (values[3] - values[0])[~np.isnan(values[3])]
    np.testing.assert_allclose(pair.mean, common.var(ddof=1), rtol=0.3)


@pytest.mark.parametrize("seeds", [3, 200])
def test_of_two_rows_the_test_is_the_paired_t_test(seeds):
    first, second = np.random.default_rng(1).normal(0.98, 0.002, (2, seeds))
    (_, found) = compare_to_baseline([dict(enumerate(second)), dict(enumerate(first))], 0)
    test = stats.ttest_rel(first, second)
    np.testing.assert_allclose(found.p, test.pvalue)
    ends = test.confidence_interval(1 - LEVEL)
    np.testing.assert_allclose((found.low, found.high), ends, rtol=1e-6)
    np.testing.assert_allclose(found.std, np.std(first - second, ddof=1))
    np.testing.assert_allclose(found.p_corrected, found.p, rtol=1e-12)


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


@pytest.mark.parametrize("examples", [1, 7, 200, 10_000])
def test_interval_of_right_answers_is_scipys_to_the_last_bit(examples: int):
    for right in {0, 1, examples // 3, examples // 2, examples - 1, examples}:
        theirs = stats.binomtest(right, examples).proportion_ci(method="wilson")
        assert wilson_interval(right, examples) == (theirs.low, theirs.high)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_answers_that_are_right_together_count_once(share: float):
    shares = (np.arange(40) < share * 40).astype(float)
    ours = mean_interval(shares)
    # The sample's variance has n - 1 below: one answer fewer where there is any variance.
    np.testing.assert_allclose(ours, wilson_interval(int(share * 40), 40), atol=3e-3)
    assert 0 <= ours[0] < ours[1] <= 1
    assert mean_interval(shares[:1])[1] <= 1


@pytest.mark.parametrize("counts", [(500, 1000), (500, 750, 1200), (400, 600, 900, 1400)])
def test_levels_of_looks_at_many_seeds_are_pococks(counts):
    covariance = [[math.sqrt(min(a, b) / max(a, b)) for b in counts] for a in counts]
    ends = np.full(len(counts), stats.norm.isf(look_level(counts, 1) / 2))
    inside = stats.multivariate_normal(cov=covariance, seed=0).cdf(ends, lower_limit=-ends)
    np.testing.assert_allclose(1 - inside, 0.92 * LEVEL, rtol=0.03)


def test_looks_at_few_seeds_err_as_often_as_they_may():
    counts, rng = (3, 5, 8, 12), np.random.default_rng(1)
    draws = rng.normal(size=(20_000, counts[-1]))
    p = [stats.ttest_1samp(draws[:, :count], 0.0, axis=1).pvalue for count in counts]
    wrong = (np.min(p, axis=0) < look_level(counts, 1)).mean()
    np.testing.assert_allclose(wrong, 0.92 * LEVEL, atol=4 * math.sqrt(LEVEL / len(draws)))


def test_more_looks_and_more_rows_are_stricter():
    assert look_level((5,), 4) == LEVEL
    # At many comparisons each is at its own small level, whose looks are less alike.
    assert look_level((3, 5, 8), 9) < look_level((3, 5, 8), 2) < look_level((3, 5), 2) < LEVEL


def test_looks_grow_by_half_up_to_the_last():
    assert looks(3, 50) == (3, 5, 8, 12, 18, 27, 41, 50)
    assert looks(7, 7) == (7,)


def test_a_row_keeps_the_verdict_of_the_look_that_decided_it():
    groups = table(np.random.default_rng(3), 4, 12)
    groups[1] = {seed: value + 0.02 for seed, value in groups[0].items() if seed < 3}
    noise = np.random.default_rng(0).normal(0, 1e-4, 3)
    groups[1] = {seed: value + noise[seed] for seed, value in groups[1].items()}
    counts = (3, 5, 8, 12)
    found = compare_sequentially(groups, 0, counts, 0.0).pairs
    level = look_level(counts, 3)
    first = [{seed: v for seed, v in group.items() if seed < 3} for group in groups]
    assert found[1] == compare_to_baseline(first, 0, 0.0, level)[1]
    assert found[1].verdict == BETTER and found[1].n == 3
    last = compare_to_baseline(groups, 0, 0.0, level, {1: BETTER})
    assert found[2:] == last[2:] and found[2].n == 12
    # An interval excludes 0 where p, which allows for the looks, is below the level.
    for pair in found[1:]:
        assert (pair.p_corrected < LEVEL) == (pair.low > 0 or pair.high < 0)
    assert compare_sequentially([{}, {}], 0, counts).pairs[1].n == 0


def test_a_verdict_replicates_as_often_as_halves_of_the_seeds_have_it():
    groups = table(np.random.default_rng(0), 4, 8, effect=0.0012)
    verdicts = [None if pair is None else pair.verdict for pair in compare_to_baseline(groups, 0)]
    found = replication(groups, 0, verdicts)
    said = []
    for half in itertools.combinations(range(8), 4):
        part = [{seed: group[seed] for seed in half} for group in groups]
        said.append([pair and pair.verdict for pair in compare_to_baseline(part, 0)])
    for row in (1, 2, 3):
        share = np.mean([half[row] == verdicts[row] for half in said])
        np.testing.assert_allclose(found[row], share, atol=0.15)
    assert found[0] is None
    few = [{seed: value for seed, value in group.items() if seed < 5} for group in groups]
    assert replication(few, 0, verdicts) == [None] * 4
    assert replication([groups[0], few[1], {}], 0, [None, BETTER, UNDECIDED]) == [None] * 3


def test_a_pilot_says_how_many_seeds_show_a_difference():
    groups = table(np.random.default_rng(1), 3, 30)
    found = seeds_to_detect(groups, 0, 0.001)
    std = np.std([groups[1][seed] - groups[0][seed] for seed in range(30)], ddof=1)

    def power(n):
        reach = stats.t.isf(dunnett_level(LEVEL, 2) / 2, n - 1)
        return stats.nct.sf(reach, n - 1, 0.001 / std * math.sqrt(n))

    assert found[0] is None
    assert power(found[1] * 0.8) < 0.85 and power(found[1] * 1.25) > 0.75
    assert seeds_to_detect([groups[0], {0: 0.9}, {}], 0, 0.001) == [None] * 3
    assert seeds_to_detect(groups, 0, 1e-6) == [None] * 3
