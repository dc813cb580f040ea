"""Choosing tuned values on validation, successive halving, and groups of trials."""

import math
from dataclasses import replace

import pytest

from cnn_jax.training.grid import Trial, choose, losers, partition, ranking, rungs, tuned_groups

RATES = (0.1, 0.2, 0.3)


def grid(variants: int = 1, seeds: int = 2, rates: tuple[float, ...] = RATES) -> list[Trial]:
    return [
        Trial(variant, {"learning_rate": rate}, seed, {})
        for variant in range(variants)
        for rate in rates
        for seed in range(seeds)
    ]


def history(accuracy: float, loss: float = 1.0) -> tuple[dict[str, float], ...]:
    return ({"epoch": 1, "validation_accuracy": accuracy, "validation_loss": loss},)


DIVERGED = history(0.9, math.nan)


def with_histories(trials: list[Trial], histories: list) -> list[Trial]:
    return [replace(t, history=h) for t, h in zip(trials, histories, strict=True)]


def test_groups_of_tuned_values_are_the_seeds_of_each():
    found = tuned_groups(grid(variants=2), 1)
    assert found == {
        (("learning_rate", rate),): [6 + 2 * i, 7 + 2 * i] for i, rate in enumerate(RATES)
    }


@pytest.mark.parametrize(
    "histories, best",
    [
        ([history(a) for a in (0.5, 0.5, 0.6, 0.6, 0.7, 0.4)], 0.2),
        ([history(0.5, loss) for loss in (1, 1, 3, 3, 0.5, 0.5)], 0.3),
        ([history(0.5)] * 6, 0.1),
        ([history(0.5)] * 2 + [DIVERGED, history(0.9)] + [history(0.4)] * 2, 0.1),
        ([DIVERGED] * 4 + [DIVERGED, history(0.1)], 0.3),
        ([DIVERGED] * 6, 0.1),
    ],
)
def test_the_best_has_the_highest_mean_accuracy_of_the_fewest_diverged(histories, best):
    trials = with_histories(grid(), histories)
    assert dict(ranking(tuned_groups(trials, 0), trials)[0])["learning_rate"] == best
    chosen = choose(trials)
    assert {trials[index].tuned["learning_rate"] for index in chosen} == {best}
    assert len(chosen) == 2


def test_pruned_values_are_not_chosen():
    trials = grid(variants=2)
    histories = [history(0.9 if t.tuned["learning_rate"] == 0.1 else 0.5) for t in trials]
    trials = [
        replace(t, status="pruned") if t.tuned["learning_rate"] == 0.1 else t
        for t in with_histories(trials, histories)
    ]
    chosen = choose(trials)
    assert {(trials[i].variant, trials[i].tuned["learning_rate"]) for i in chosen} == {
        (0, 0.2),
        (1, 0.2),
    }


def test_a_single_candidate_needs_no_validation():
    trials = [Trial(0, {}, seed, {}, history=({"epoch": 1},)) for seed in range(3)]
    assert choose(trials) == {0, 1, 2}


@pytest.mark.parametrize(
    "epochs, values, expected",
    [
        (8, 4, {2: 2, 4: 1}),
        (8, 8, {1: 4, 2: 2, 4: 1}),
        (8, 5, {1: 3, 2: 2, 4: 1}),
        (4, 8, {1: 4, 2: 2}),
        (3, 4, {1: 2}),
        (1, 4, {}),
        (8, 1, {}),
    ],
)
def test_halvings_double_the_epochs_of_each_stage(epochs, values, expected):
    assert rungs(epochs, values) == expected


def test_the_worse_half_loses():
    trials = grid(rates=(0.1, 0.2, 0.3, 0.4))
    accuracies = {0.1: 0.5, 0.2: 0.8, 0.3: 0.7, 0.4: 0.1}
    histories = [history(accuracies[t.tuned["learning_rate"]]) for t in trials]
    trials = with_histories(trials, histories)
    stopped = losers(trials, 2, 8)
    assert {trials[i].tuned["learning_rate"] for i in stopped} == {0.1, 0.4}
    assert losers(trials, 3, 8) == []
    # A value of which one seed diverged is still in the running with the other, but ranks last.
    trials[2] = replace(trials[2], history=DIVERGED, status="diverged")
    stopped = losers(trials, 2, 8)
    assert set(stopped) == {3, 6, 7}


def test_groups_are_about_equal_and_may_keep_variants_whole():
    trials = grid(variants=3, seeds=1)
    assert [len(g) for g in partition(trials, 9, False)] == [9]
    assert [len(g) for g in partition(trials, 8, False)] == [5, 4]
    assert [len(g) for g in partition(trials, 1, False)] == [1] * 9
    assert [len(g) for g in partition(trials, 5, True)] == [3, 3, 3]
    assert [len(g) for g in partition(trials, 8, True)] == [3, 3, 3]
    assert [len(g) for g in partition(trials, 2, True)] == [3, 3, 3]
    assert sum(partition(trials, 4, False), []) == list(range(9))
