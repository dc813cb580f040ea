"""What differs from seed to seed: each source a stream of its own."""

from dataclasses import replace

import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import lone_study, make_study, trial_choices
from cnn_jax.studies.planning import CellPlan, Prepared
from cnn_jax.studies.rounds import budget_plans
from cnn_jax.training.grid import Axis, Value

AXES = [Axis("activation", tuple(Value(name, name) for name in ("relu", "tanh")))]


def study(*sources: str, **fixed: object):
    return make_study(AXES, [], 3, {"seed": 5, **fixed}, sources=sources)


def lone(*sources: str, **fixed: object) -> list[tuple]:
    """Of each seed of the first row the seeds of the lone run that it is."""
    made = study(*sources, **fixed)
    trials = [trial for cell in made.grid.cells for trial in cell.trials if trial.variant == 0]
    assert [trial.seed for trial in trials] == [5, 6, 7]
    chosen = [trial_choices(made, trial) for trial in trials]
    return [tuple(c.get(n) for n in ("init_seed", "seed", "split_seed")) for c in chosen]


def test_each_source_varies_alone():
    assert lone("init", "order") == [(None, seed, None) for seed in (5, 6, 7)]
    assert lone("init") == [(seed, 5, None) for seed in (5, 6, 7)]
    assert lone("order") == [(5, seed, None) for seed in (5, 6, 7)]
    assert lone("split", split_seed=2) == [(5, 5, split) for split in (2, 3, 4)]
    assert lone("init", "split") == [(5 + i, 5, i) for i in range(3)]
    assert lone("order", init_seed=9) == [(9, seed, None) for seed in (5, 6, 7)]


def test_another_split_is_another_cell():
    made = study("init", "order", "split")
    assert len(made.grid.variants) == 2 and len(made.grid.cells) == 6
    assert {dict(cell.data)["split_seed"] for cell in made.grid.cells} == {0, 1, 2}


@pytest.mark.parametrize(
    "sources, fixed, tune, message",
    [
        (("weather",), {}, [], "sources=weather is not one of"),
        ((), {}, [], "sources is empty"),
        (("split",), {}, ["learning_rate"], "tune first, then give the values"),
        (("init",), {"init_seed": 1}, [], "init_seed holds for all trials"),
    ],
)
def test_what_cannot_be_is_refused(sources, fixed, tune, message):
    with pytest.raises(UsageError, match=message):
        make_study(AXES, tune, 2, fixed, sources=sources)


def test_a_lone_run_has_both_streams(tmp_path):
    """Equal initialization under another order, and another initialization under an equal order."""
    import cnn_jax

    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 3
    flags = {"filters": (4,), "hidden": (), "batch_size": 16, "epochs": 1, "progress": False}

    def losses(**seeds: int) -> float:
        return cnn_jax.train(data, **flags, **seeds).history[0]["train_loss"]

    both = losses(seed=1)
    assert losses(seed=1, init_seed=1) == both
    assert len({both, losses(seed=1, init_seed=2), losses(seed=2, init_seed=1)}) == 3


def finished(made):
    """The trials of a study as if they had been trained."""
    return [
        replace(trial, status="finished", chosen=True, test_accuracy=0.9)
        for cell in made.grid.cells
        for trial in cell.trials
    ]


def test_the_budget_has_a_trial_for_every_source_and_seed():
    made = study("init", "order", "split")
    prepared = Prepared(made, [plan(cell) for cell in made.grid.cells])
    found = [t for item in budget_plans(prepared, finished(made)) for t in item.cell.trials]
    assert [(t.source, t.seed) for t in found if t.variant == 0] == [
        ("init", 6), ("init", 7), ("order", 6), ("order", 7), ("split", 6), ("split", 7),
    ]  # fmt: skip
    streams = {(t.source, t.seed): (t.init_seed, t.order_seed) for t in found}
    assert streams["init", 7] == (7, 5) and streams["order", 7] == (5, 7)
    assert streams["split", 7] == (5, 5)
    splits = {
        t.source: dict(item.cell.data)["split_seed"]
        for item in budget_plans(prepared, finished(made))
        for t in item.cell.trials
        if t.seed == 7
    }
    assert splits == {"init": 0, "order": 0, "split": 2}


def test_the_budget_of_a_tuned_sweep_is_trained_beside_its_tuning_seeds():
    rates = Axis("learning_rate", (Value("0.1", 0.1), Value("0.3", 0.3)))
    made = make_study(
        [*AXES, rates], ["learning_rate"], 3, {}, sources=("init", "order"), tune_seeds=2
    )
    prepared = Prepared(made, [plan(cell) for cell in made.grid.cells])
    reported = [replace(trial, seed=seed) for trial in finished(made)[:2] for seed in (0, 1, 2)]
    found = [t for item in budget_plans(prepared, reported) for t in item.cell.trials]
    assert [(t.source, t.seed) for t in found] == [
        ("init", 1), ("init", 2), ("order", 1), ("order", 2),
    ]  # fmt: skip


def test_a_row_is_a_lone_run_without_what_others_read():
    """What is given once holds for all; rows that do not read it are trained without."""
    models = Axis("model", tuple(Value(name, name) for name in ("cnn", "lenet5")))
    optimizers = Axis("optimizer", tuple(Value(name, name) for name in ("sgd", "momentum")))
    made = make_study([models, optimizers], [], 1, {"filters": ["8"], "momentum": 0.8})
    for cell in made.grid.cells:
        for trial in cell.trials:
            (alone,) = lone_study(trial_choices(made, trial)).grid.cells
            assert (alone.config, alone.trials[0].hparams) == (cell.config, trial.hparams)


def test_no_budget_where_nothing_was_asked_or_trained():
    for made in (study("init"), make_study(AXES, [], 3, {})):
        prepared = Prepared(made, [plan(cell) for cell in made.grid.cells])
        assert budget_plans(prepared, finished(made)) == []
    made = study("init", "order")
    prepared = Prepared(made, [plan(cell) for cell in made.grid.cells])
    lost = [replace(trial, status="diverged") for trial in finished(made)]
    assert budget_plans(prepared, lost) == []


def plan(cell) -> CellPlan:
    return CellPlan(cell, None, None, len(cell.trials), None, [], 0, 1.0, None)
