"""Several axes: effects on average and in slices, interactions, against independent sums."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import sweeps
from scipy import stats

from cnn_jax.analysis.ablation import effect_words, render_ablation_report
from cnn_jax.analysis.ablation.breakdown.effects import effects, interaction_test, interactions
from cnn_jax.analysis.statistics import BETTER, UNDECIDED, compare_each, sidak

AXES = {"activation": ("relu", "mish"), "loss": ("hinge", "focal", "mse")}
SEEDS = range(8)


def crossed(gains, axes=AXES, noise=0.0005):
    """A record whose rows are better than the first by these, with noise."""
    rng = np.random.default_rng(1)
    variants = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    record = sweeps.sweep(axes, variants, [0.9] * len(variants), seeds=SEEDS)
    luck = rng.normal(scale=0.004, size=len(SEEDS))
    trials = [
        replace(t, test_accuracy=0.9 + gains[t.variant] + luck[t.seed] + rng.normal(scale=noise))
        for t in record.trials
    ]
    return replace(record, trials=trials)


def table(record):
    found = np.zeros((2, 3, len(SEEDS)))
    for trial in record.trials:
        found[trial.variant // 3, trial.variant % 3, trial.seed] = trial.test_accuracy
    return found


def test_the_main_effect_is_the_mean_over_the_slices():
    record = crossed([0, 0, 0, 0.01, 0.01, 0.01])
    mish = next(effect for effect in effects(record) if effect.value == "mish")
    change = table(record)[1] - table(record)[0]
    assert (mish.axis, mish.against) == ("activation", "relu")
    assert mish.main.difference == pytest.approx(change.mean())
    assert mish.main.verdict == BETTER
    assert list(mish.slices) == ["hinge", "focal", "mse"]
    for pair, seen in zip(mish.slices.values(), change, strict=True):
        assert pair.difference == pytest.approx(seen.mean())
    assert mish.words == ("activation=mish against relu: better under all 3 (3 of 3 decided)")


def test_help_under_one_loss_only_is_said():
    record = crossed([0, 0, 0, 0.02, 0, 0], noise=0.003)
    mish = next(effect for effect in effects(record) if effect.value == "mish")
    assert mish.slices["hinge"].verdict == BETTER
    assert mish.slices["focal"].verdict == UNDECIDED
    assert "better under hinge (1 of 3 decided)" in mish.words
    (found,) = interactions(record)
    assert found.axes == ("activation", "loss") and found.p < 0.001
    assert any("depends on the other" in words for words in effect_words(record))


def test_the_f_test_is_that_of_two_linear_models():
    """F by residuals of least squares on indicator columns, with and without the products."""
    numbers = table(crossed([0, 0.001, 0, 0.002, 0, 0]))
    a, b, n = numbers.shape
    grid = list(itertools.product(range(a), range(b), range(n)))
    values = np.array([numbers[place] for place in grid])
    main = np.array([[1, i == 1, *(j == k for k in (1, 2)), *(s == k for k in range(1, n))]
                     for i, j, s in grid], float)  # fmt: skip
    products = np.array([[(i == 1) * (j == k) for k in (1, 2)] for i, j, _ in grid], float)
    left = [
        float(((values - x @ np.linalg.lstsq(x, values)[0]) ** 2).sum())
        for x in (main, np.hstack([main, products]))
    ]
    within = (a * b - 1) * (n - 1)
    f = (left[0] - left[1]) / 2 / (left[1] / within)
    found = interaction_test(numbers)
    assert found[0] == pytest.approx(f, rel=1e-6)
    assert found[1:3] == (2, within)
    assert found[3] == pytest.approx(stats.f.sf(f, 2, within))


def test_no_interaction_is_found_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    p = [interaction_test(rng.normal(size=(3, 4, 3)))[3] for _ in range(2000)]
    assert 0.04 < np.mean(np.array(p) < 0.05) < 0.06


def test_slices_that_diverged_are_left_out():
    record = sweeps.two_axes()
    found = {(effect.axis, effect.value): effect for effect in effects(record)}
    assert "hinge" not in found["activation", "identity"].slices
    assert found["activation", "identity"].main.n == 3
    assert found["activation", "sigmoid"].main.n == 2
    assert interactions(record) == []


def test_nothing_without_a_second_axis_or_a_baseline():
    for record in (sweeps.few(), sweeps.two_axes(baseline=None)):
        assert effects(record) == []
        assert "Axis by axis" not in render_ablation_report(record)


def test_the_page_has_effects():
    assert "Axis by axis" in render_ablation_report(sweeps.two_axes())


def test_sidak_is_exact_for_independent_comparisons():
    corrected, levels = sidak(np.array([0.01, 0.5, 1.0]), 0.05)
    np.testing.assert_allclose(corrected, [1 - 0.99**3, 1 - 0.5**3, 1], rtol=1e-12)
    np.testing.assert_allclose(levels, 1 - 0.95 ** (1 / 3))
    draws = np.random.default_rng(0).uniform(size=(20_000, 3))
    assert np.mean((sidak(draws, 0.05)[0] < 0.05).any(1)) == pytest.approx(0.05, abs=0.005)


def test_pairs_without_a_difference_are_not_decided_too_often():
    """Errors of whole families of four unrelated pairs, of five seeds each."""
    rng = np.random.default_rng(0)

    def found() -> bool:
        sides = {
            place: tuple(dict(enumerate(0.9 + rng.normal(scale=0.002, size=5))) for _ in (0, 1))
            for place in range(4)
        }
        return any(pair.p_corrected < 0.05 for pair in compare_each(sides).values())

    assert np.mean([found() for _ in range(400)]) <= 0.07
