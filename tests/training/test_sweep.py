"""Many trials in one program: each as if it were alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from cnn_jax.models import Architecture
from cnn_jax.ops import LOSSES
from cnn_jax.training import Config, Examples, Task, Trainer, hyperparameters, make_run
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import FILLER, Standing
from cnn_jax.training.sweep import (
    VECTORIZATIONS,
    Trials,
    Vectorization,
    choose_vectorization,
    make_sweep,
)

Draw = Callable[[int], Examples]

TINY = Architecture(filters=(4,), hidden=())
EPOCHS = 2
# Metrics of a trial in a sweep and of the same run made alone agree to this, relatively.
TOLERANCE = 1e-5


def trial(config: Config, seed: int = 0, variant: int = 0, **numbers: float) -> Trial:
    return Trial(variant, numbers, seed, hyperparameters(config, numbers))


def two_trials(config: Config) -> Trials:
    numbers = hyperparameters(config)
    return Trials(
        {name: jnp.full((2,), value, jnp.float32) for name, value in numbers.items()},
        jax.vmap(jax.random.key)(jnp.arange(2)),
    )


def train_alone(
    config: Config, task: Task, member: Trial, train: Examples, validation: Examples
) -> list[dict[str, float]]:
    """The metrics of each epoch of the lone run."""
    run = make_run(config, task)
    hparams = {name: jnp.float32(value) for name, value in member.hparams.items()}
    key = jax.random.key(member.seed)
    state, history = jax.jit(run.init)(hparams, key, train), []
    epoch, evaluate = jax.jit(run.epoch), jax.jit(run.evaluate)
    for number in range(1, config.epochs + 1):
        state, metrics = epoch(state, hparams, key, train)
        held_out = evaluate(state, hparams, validation)
        metrics |= {f"validation_{name}": value for name, value in held_out.items()}
        history.append({"epoch": number} | {name: float(v) for name, v in metrics.items()})
    return history


def train_together(
    trainer: Trainer, trials: list[Trial], epochs: int = EPOCHS, prune: bool = False
) -> Standing:
    """How the trials stand after the last epoch."""
    state, standing = trainer.start(trials)
    for end in trainer.fit(state, standing, epochs, prune):
        standing = end.standing
    return standing


def histories(standing: Standing) -> list[tuple[dict[str, float], ...]]:
    return [trial.history for trial in standing.trials]


@pytest.mark.parametrize(
    "loss, optimizer, dropout, vectorization",
    [(loss, "adam", False, "map") for loss in LOSSES]
    + [(loss, "nesterov", True, "map") for loss in LOSSES]
    + [("cross_entropy", "adam", True, "vmap"), ("cross_entropy", "nesterov", False, "products")],
)
def test_a_member_of_a_sweep_is_the_lone_run(
    task: Task, draw: Draw, loss: str, optimizer: str, dropout: bool, vectorization: Vectorization
):
    architecture = Architecture(filters=(4,), hidden=(), dropout=dropout)
    config = Config(architecture, loss, optimizer, batch_size=16, epochs=EPOCHS)
    train, validation = draw(70), draw(30)
    numbers = {"dropout_rate": 0.3} if dropout else {}
    trials = [
        trial(config, seed=seed, learning_rate=rate, **numbers)
        for seed, rate in ((3, 0.01), (4, 0.02), (5, 0.01))
    ]
    alone = train_alone(config, task, trials[1], train, validation)
    trainer = Trainer(make_run(config, task), train, validation, vectorization)
    standing = train_together(trainer, trials)
    assert standing.alive == [0, 1, 2]
    for ours, theirs in zip(standing.trials[1].history, alone, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=TOLERANCE, err_msg=name)


def test_trials_are_products_on_accelerators_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert [choose_vectorization(count) for count in (1, 2)] == ["map", "map"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [choose_vectorization(count) for count in (1, 2)] == ["map", "products"]


@pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="elsewhere two and three trials take other kernels"
)
def test_a_diverging_trial_leaves_its_neighbors_the_same_bits(task: Task, draw: Draw):
    leaky = Architecture(filters=(4,), hidden=(), activation="leaky_relu")
    config = Config(leaky, "cross_entropy", "sgd", batch_size=8, epochs=EPOCHS)
    run, train, validation = make_run(config, task), draw(70), draw(30)
    good = [trial(config, seed=seed, learning_rate=0.05) for seed in (0, 1)]
    wild = trial(config, seed=0, learning_rate=1e6)
    for vectorization in VECTORIZATIONS:
        trainer = Trainer(run, train, validation, vectorization)
        with_wild = train_together(trainer, [good[0], wild, good[1]])
        without = train_together(Trainer(run, train, validation, vectorization), good)
        status = [trial.status for trial in with_wild.trials]
        assert status == ["training", "diverged", "training"]
        assert histories(with_wild)[::2] == histories(without)
        assert len(with_wild.trials[1].history) == 1


@pytest.mark.parametrize("vectorization", ["map", "vmap"])
def test_diverged_trials_may_go_on(task: Task, draw: Draw, vectorization: str):
    config = Config(TINY, "cross_entropy", "sgd", batch_size=8, epochs=3)
    trials = [trial(config, learning_rate=rate) for rate in (1e30, 0.05)]
    trainer = Trainer(make_run(config, task), draw(70), draw(30), vectorization)
    start = trainer.start(trials)
    *_, end = trainer.fit(*start, config.epochs, stop_diverged=False)
    assert end.standing.alive == [0, 1] and end.state.alive.tolist() == [True, True]
    assert [len(member.history) for member in end.standing.trials] == [3, 3]
    assert end.state.states.epoch.tolist() == [3, 3]
    lost, fine = (member.history[-1] for member in end.standing.trials)
    assert np.isnan([lost["train_loss"], lost["validation_loss"]]).all()
    assert lost["validation_accuracy"] == 0
    assert np.isfinite(list(fine.values())).all()


@pytest.mark.parametrize("vectorization", VECTORIZATIONS)
def test_what_a_trial_does_is_traced_once(task: Task, draw: Draw, vectorization: Vectorization):
    config, traced = Config(TINY, batch_size=16), []
    run = make_run(config, task)

    def noted(name: str) -> Callable:
        def function(*given: object) -> object:
            traced.append(name)
            return getattr(run, name)(*given)

        return function

    names = ["watched_epoch", "evaluate", "test"]
    sweep = make_sweep(run._replace(**{name: noted(name) for name in names}), vectorization)
    given = two_trials(config), draw(40)
    state = jax.eval_shape(sweep.init, *given)
    for function in (*sweep.epoch.values(), sweep.evaluate, sweep.test):
        jax.eval_shape(function, state, *given)
    assert traced == names


def test_a_trial_that_is_not_alive_keeps_its_state(task: Task, draw: Draw):
    config = Config(TINY, batch_size=16)
    sweep, trials = make_sweep(make_run(config, task), "map"), two_trials(config)
    before = sweep.init(trials, draw(40))._replace(alive=jnp.array([True, False]))
    (epoch,) = sweep.epoch.values()
    after, metrics, points = jax.jit(epoch)(before, trials, draw(40))
    scores = jax.jit(sweep.evaluate)(after, trials, draw(40))
    assert after.alive.tolist() == [True, False]
    assert int(after.states.epoch[0]) == 1 and int(after.states.epoch[1]) == 0
    for ours, theirs in zip(
        jax.tree.leaves(after.states), jax.tree.leaves(before.states), strict=True
    ):
        np.testing.assert_array_equal(ours[1], theirs[1])
    for values in (*metrics.values(), *scores.values(), points.train_loss[:, 0]):
        assert np.isfinite(values[0]) and np.isnan(values[1])


@pytest.mark.parametrize("vectorization", ["map", "vmap"])
def test_pruned_values_stop_and_the_rest_go_on_undisturbed(
    task: Task, draw: Draw, vectorization: str
):
    config = Config(TINY, optimizer="sgd", batch_size=16, epochs=4)
    run, train, validation = make_run(config, task), draw(70), draw(30)
    rates = (1e-6, 0.5, 0.1, 1e-5)
    trials = [trial(config, seed=s, learning_rate=r) for r in rates for s in (0, 1)]
    whole = train_together(Trainer(run, train, validation, vectorization), trials, 4)
    trainer = Trainer(run, train, validation, vectorization)
    halved = train_together(trainer, trials, 4, prune=True)
    survivors = halved.alive
    assert len(survivors) == 2 and len({trials[i].tuned["learning_rate"] for i in survivors}) == 1
    lengths = sorted(len(history) for history in histories(halved))
    assert lengths == [1, 1, 1, 1, 2, 2, 4, 4]
    for ours, theirs in zip(histories(halved), histories(whole), strict=True):
        for mine, other in zip(ours, theirs, strict=False):
            np.testing.assert_allclose(list(mine.values()), list(other.values()), rtol=TOLERANCE)
    # Vmapped survivors move to a smaller program; a map skips the others in the same one.
    assert trainer.programs == (3 if vectorization == "vmap" else 1)
    assert len(halved.places) == (2 if vectorization == "vmap" else 8)
    assert FILLER not in halved.places


def test_only_chosen_trials_are_evaluated(task: Task, draw: Draw):
    config = Config(TINY, batch_size=16)
    train, test = draw(70), draw(30)
    run = make_run(config, task)
    trainer = Trainer(run, train, None, "map")
    trials = [trial(config, seed=seed) for seed in range(3)]
    state, standing = trainer.start(trials)
    found = trainer.test(state, standing, [2, 0], test)
    scores = {index: row for index, (row, _) in found.items()}
    hparams = {name: jnp.float32(value) for name, value in trials[2].hparams.items()}
    expected = run.evaluate(run.init(hparams, jax.random.key(2), train), hparams, test)
    assert set(scores) == {0, 2}
    assert scores[2]["accuracy"] == float(expected["accuracy"])
    np.testing.assert_allclose(scores[2]["loss"], expected["loss"], rtol=TOLERANCE)
    logits = run.predict(run.init(hparams, jax.random.key(2), train), test.images)
    error = calibration_error(scipy.special.softmax(logits, axis=1), np.asarray(test.labels))
    np.testing.assert_allclose(scores[2]["calibration_error"], error, rtol=1e-5)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, equation 3."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1), right=True)
    shares = [abs(np.sum(right[place == b] - confidence[place == b])) for b in set(place)]
    return sum(shares) / len(labels)


def test_a_program_knows_its_memory(task: Task, draw: Draw):
    config = Config(TINY, batch_size=16)
    trainer = Trainer(make_run(config, task), draw(70), None, "map")
    one, four = (trainer.memory([trial(config)] * count) for count in (1, 4))
    assert 70 * 64 < one < four
