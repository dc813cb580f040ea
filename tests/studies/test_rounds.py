"""Rounds of a study, with trials that are made up: searches, tuning seeds, seeds until decided."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.analysis.statistics import (
    BETTER,
    REPLICATES,
    UNDECIDED,
    compare_sequentially,
    looks,
    replication,
)
from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import make_study
from cnn_jax.studies.rounds import limits, next_round
from cnn_jax.training.grid import Axis, Value, choose, tuned_groups

ROWS = ("relu", "tanh", "gelu")


def study_of(tune=("learning_rate",), seeds=2, rows=ROWS, axes=(), **rounds):
    compared = Axis("activation", tuple(Value(name, name) for name in rows))
    fixed = {"optimizer": "sgd", "epochs": 1}
    return make_study([compared, *axes], list(tune), seeds, fixed, **rounds)


def run(study, score, test=lambda trial: 0.9):
    """All rounds, with trials that end with made-up accuracies."""
    rounds, done = [], []
    while following := next_round(study, done):
        rounds.append(following)
        ended = []
        for trial in following.trials:
            accuracy = score(trial)
            row = {"epoch": 1, "validation_accuracy": accuracy, "validation_loss": accuracy}
            ended.append(replace(trial, status="finished", history=(row,)))
        if following.tests:
            ended = [
                replace(t, chosen=True, test_accuracy=test(t)) if i in choose(ended) else t
                for i, t in enumerate(ended)
            ]
        done += ended
        assert len(rounds) < 60
    return rounds, done


def peak(at):
    """An accuracy whose best learning rate is that of the row."""
    return lambda trial: (
        0.9 - 0.05 * abs(math.log(trial.tuned["learning_rate"] / at[trial.variant]))
    )


@given(st.lists(st.floats(-6, 3), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_search_ends_inside_or_at_a_limit(exponents):
    best = [10**exponent for exponent in exponents]
    rounds, done = run(study_of(), peak(best))
    assert [following.tests for following in rounds] == [False] * (len(rounds) - 1) + [True]
    bounds = limits("learning_rate", 0.1)
    tries = set()
    for variant, at in enumerate(best):
        tried = sorted(dict(values)["learning_rate"] for values in tuned_groups(done, variant))
        tries.add(len(tried))
        (chosen,) = {t.tuned["learning_rate"] for t in done if t.chosen and t.variant == variant}
        place = tried.index(chosen)
        if bounds.low * 1.01 < at < bounds.high * 0.99:
            assert abs(math.log(chosen / at)) < math.log(2.01)
        if place in (0, len(tried) - 1):
            assert chosen in (pytest.approx(end, rel=2e-3) for end in bounds[:2])
    # As many tries for every row.
    assert len(tries) == 1


def test_a_number_with_an_end_is_searched_up_to_it():
    study = make_study(
        [Axis("activation", tuple(Value(name, name) for name in ROWS))],
        ["momentum"], 1, {"optimizer": "momentum", "epochs": 1},
    )  # fmt: skip
    _, done = run(study, lambda trial: 0.5 + 0.1 * trial.tuned["momentum"])
    chosen = {trial.tuned["momentum"] for trial in done if trial.chosen}
    assert len(chosen) == 1 and max(chosen) < 1
    assert max(chosen) == pytest.approx(limits("momentum", 0.9).high, rel=2e-3)


@pytest.mark.parametrize("search", [None, "random:12"])
def test_a_number_with_a_beginning_is_searched_down_to_it(search):
    rows = Axis("activation", (Value("relu", "relu"), Value("tanh", "tanh")))
    rules = {} if search is None else {"search": search}
    study = make_study([rows], ["lookahead_period"], 1, {"optimizer": "sgd", "epochs": 1}, **rules)
    _, done = run(study, lambda trial: 0.9 - 1e-3 * trial.tuned["lookahead_period"])
    assert min(trial.tuned["lookahead_period"] for trial in done) >= 1


def test_two_numbers_are_searched_together():
    study = make_study(
        [Axis("activation", (Value("relu", "relu"), Value("tanh", "tanh")))],
        ["learning_rate", "momentum"], 1, {"optimizer": "momentum", "epochs": 1},
    )  # fmt: skip

    def score(trial):
        rate, momentum = (trial.tuned[name] for name in ("learning_rate", "momentum"))
        return 0.9 - 0.02 * math.log(rate / 2.0) ** 2 - 0.3 * (momentum - 0.5) ** 2

    _, done = run(study, score)
    for trial in done:
        if trial.chosen:
            assert 1 < trial.tuned["learning_rate"] < 4 and 0.2 < trial.tuned["momentum"] < 0.9


@pytest.mark.parametrize("search", ["random:12", "tpe:20"])
def test_so_many_tries_of_every_row(search):
    if search.startswith("tpe"):
        pytest.importorskip("optuna")
    best = [0.02, 0.1, 0.5]
    (rounds, done), (_, again) = (run(study_of(search=search), peak(best)) for _ in range(2))
    assert again == done
    wanted = int(search.partition(":")[2])
    counts = {len(tuned_groups(done, row)) for row in range(3)}
    assert len(counts) == 1 and counts.pop() >= wanted
    for row, at in enumerate(best):
        (chosen,) = {t.tuned["learning_rate"] for t in done if t.chosen and t.variant == row}
        assert abs(math.log10(chosen / at)) < 0.5
    assert sum(following.tests for following in rounds) == 1


def test_values_are_chosen_on_seeds_of_their_own():
    study = study_of(tune_seeds=3, seeds=2)
    _, done = run(study, peak([0.1] * 3))
    tuning = {trial.seed for trial in done if not trial.chosen}
    assert len(tuning) == 3 and min(tuning) >= 10_000
    assert {trial.seed for trial in done if trial.chosen} == {0, 1}
    # With values that are given too.
    rates = Axis("learning_rate", (Value("0.1", 0.1), Value("0.2", 0.2)))
    rounds, done = run(study_of(tune_seeds=1, axes=[rates]), peak([0.2] * 3))
    assert [len(following.trials) for following in rounds] == [6, 6]
    assert {trial.tuned["learning_rate"] for trial in done if trial.chosen} == {0.2}


def test_given_values_are_one_round():
    rates = Axis("learning_rate", (Value("0.1", 0.1), Value("0.2", 0.2)))
    rounds, done = run(study_of(axes=[rates]), peak([0.2] * 3))
    assert [following.tests for following in rounds] == [True]
    assert sum(trial.chosen for trial in done) == 6


def test_seeds_are_added_to_rows_that_are_undecided():
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.normal(size=(3, 40))
    shift = (0.0, 0.02, 0.0)
    study = study_of(tune=(), seeds=3, until="decided", max_seeds=40, within=0.0)
    rounds, done = run(
        study, lambda trial: 0.5, lambda t: 0.9 + shift[t.variant] + noise[t.variant, t.seed]
    )
    seeds = [sorted(t.seed for t in done if t.variant == row) for row in range(3)]
    assert seeds[1] == [0, 1, 2]
    assert seeds[0] == seeds[2] == list(range(40))
    assert len(rounds) == len(looks(3, 40))
    # Every round is found anew from those before it.
    for count in range(1, len(rounds)):
        before = [t for following in rounds[:count] for t in following.trials]
        assert next_round(study, done[: len(before)]) == rounds[count]
    groups = [{t.seed: t.test_accuracy for t in done if t.variant == row} for row in range(3)]
    verdicts = compare_sequentially(groups, 0, study.rules.looks, 0.0).pairs
    assert (verdicts[1].n, verdicts[2].verdict) == (3, UNDECIDED)


def test_seeds_are_added_to_rows_whose_verdict_would_not_replicate():
    noise = 0.001 * np.random.default_rng(0).normal(size=(3, 80))
    shift = (0.0, 0.02, 0.001)

    def test(trial):
        return 0.9 + shift[trial.variant] + noise[trial.variant, trial.seed]

    ends = {}
    for until in ("decided", "replicated"):
        study = study_of(tune=(), seeds=6, until=until, max_seeds=80, within=0.0)
        _, done = run(study, lambda trial: 0.5, test)
        groups = [{t.seed: t.test_accuracy for t in done if t.variant == row} for row in range(3)]
        ends[until] = [len(group) for group in groups]
        found = compare_sequentially(
            groups, 0, study.rules.looks, 0.0, replicated=until == "replicated"
        )
        assert not found.open and found.pairs[2].verdict == BETTER
        verdicts = [pair and pair.verdict for pair in found.pairs]
        shares = replication(groups, 0, verdicts, 0.0, study.rules.looks)
        # A row that one look decided by a hair would often not be by half as many seeds.
        assert (shares[2] >= REPLICATES) == (until == "replicated")
        assert shares[1] == 1.0
    assert ends["decided"][1] == ends["replicated"][1] == 6
    assert ends["decided"][2] < ends["replicated"][2] == ends["replicated"][0]


def test_decided_rows_end_a_study():
    study = study_of(tune=(), seeds=3, until="decided", max_seeds=40, within=0.01)
    rng = np.random.default_rng(0)
    _, done = run(study, lambda trial: 0.5, lambda t: 0.9 + 1e-5 * rng.normal())
    assert {trial.seed for trial in done} == {0, 1, 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"search": "grid"}, "search=grid must be refine, random:64 or tpe:64"),
        ({"search": "random:1"}, "the number of tries of every row, 2 or more"),
        ({"search": "tpe:9", "tune": ()}, "nothing is tuned; give tune=learning_rate without vary"),
        ({"tune_seeds": 2, "tune": ()}, "tune_seeds=2: nothing is tuned"),
        (
            {"until": "decided", "seeds": 2},
            "until=decided looks first after seeds=2, which must be 3",
        ),
        ({"until": "replicated", "max_seeds": 3, "seeds": 3}, "max_seeds=3, which must be more"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        study_of(**arguments)


def test_seeds_are_added_to_rows_of_one_data_set_only():
    sets = Axis("dataset", tuple(Value(name, name) for name in ("mnist", "faces")))
    with pytest.raises(UsageError, match="sweep each data set by itself"):
        study_of(tune=(), seeds=3, axes=[sets], until="decided", max_seeds=9)
