"""What recipes add to a step: micro-batches, averages, groups of parameters, precision."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, Mode
from cnn_jax.training import (
    Config,
    Examples,
    Task,
    TrainState,
    hyperparameters,
    make_run,
    steps_per_epoch,
)
from cnn_jax.training.optimizers import averaged
from cnn_jax.training.step import Setting, forward, make_optimizer
from cnn_jax.training.task import normalize

Draw = Callable[[int], Examples]
KEY = jax.random.key(0)
BASE = Config(Architecture(filters=(4,), hidden=(8,)), optimizer="momentum", batch_size=16)


def train(config: Config, task: Task, examples: Examples, **chosen: float) -> tuple:
    """The run, and its state and metrics after an epoch."""
    run = make_run(config, task)
    numbers = hyperparameters(config, chosen)
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    return run, *jax.jit(run.epoch)(run.init(hparams, KEY), hparams, KEY, examples)


def assert_close(ours, theirs, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_micro_batches_are_one_batch(task: Task, draw: Draw):
    whole, parts = (
        train(replace(BASE, micro_batches=count), task, draw(70))[1:] for count in (1, 4)
    )
    assert_close(parts, whole)
    with pytest.raises(UsageError, match="micro_batches=3 equal parts"):
        steps_per_epoch(replace(BASE, micro_batches=3), 100)


def test_the_average_follows_the_parameters(task: Task, draw: Draw):
    examples = draw(16)
    run, state, _ = train(replace(BASE, average=True), task, examples, average_decay=0.999)
    start: TrainState = run.init(
        {name: jnp.float32(v) for name, v in hyperparameters(BASE).items()}, KEY
    )
    # After the first step of a long memory: a tenth of the start, nine tenths of what came.
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, start.params, state.params)
    assert_close(state.average[0], expected)
    plain = make_run(BASE, task)
    averaged = state._replace(params=state.average[0], average=())
    assert_close(run.predict(state, examples.images), plain.predict(averaged, examples.images))


def test_biases_have_a_rate_and_decay_of_their_own(task: Task, draw: Draw):
    _, plain, _ = train(BASE, task, draw(70), weight_decay=0.1)
    grouped = replace(BASE, bias_group=True)
    _, same, _ = train(grouped, task, draw(70), weight_decay=0.1)
    assert_close(same.params, plain.params)
    _, still, _ = train(grouped, task, draw(70), bias_rate=0.0)
    biases = [leaf for leaf in jax.tree.leaves(still.params) if leaf.ndim == 1]
    assert len(biases) == 3 and all(not np.any(leaf) for leaf in biases)
    # One step, in which only the decay differs: of kernels it is 1, of vectors nothing.
    _, decayed, _ = train(grouped, task, draw(16), weight_decay=0.1, bias_decay=0.0)
    _, free, _ = train(grouped, task, draw(16), weight_decay=0.0)
    for ours, theirs in zip(
        jax.tree.leaves(decayed.params), jax.tree.leaves(free.params), strict=True
    ):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-7) == (ours.ndim == 1)


def test_the_whitening_has_a_bias_in_the_beginning_only(enlarged_task: Task, enlarged: Draw):
    architecture = Architecture(model="airnet", activation="gelu", normalization="batch", width=0.1)
    config = replace(BASE, architecture=architecture, epochs=4, schedule="one_cycle")
    config = replace(config, whitening_group=True, bias_group=True)
    examples = enlarged(48)
    run = make_run(config, enlarged_task)
    chosen = {"whitening_fraction": 0.25, "warmup_fraction": 0.0, "bias_rate": 2.0}
    hparams = {name: jnp.float32(v) for name, v in hyperparameters(config, chosen).items()}
    epoch = jax.jit(run.epoch)
    states = [run.init(hparams, KEY)]
    for _ in range(2):
        states.append(epoch(states[-1], hparams, KEY, examples)[0])
    biases = [state.params["network"]["whitening"]["bias"] for state in states]
    assert not np.array_equal(biases[0], biases[1])
    np.testing.assert_array_equal(biases[1], biases[2])
    heads = [state.params["network"]["output"]["kernel"] for state in states]
    assert not np.array_equal(heads[1], heads[2])
    with pytest.raises(UsageError, match="whitening_fraction needs a model with a whitening"):
        hyperparameters(BASE, {"whitening_fraction": 0.5})


def test_lookahead_of_every_step_and_all_the_way_is_none(task: Task, draw: Draw):
    _, plain, _ = train(BASE, task, draw(70))
    config = replace(BASE, lookahead=True)
    _, same, _ = train(config, task, draw(70), lookahead_period=1, lookahead_step=1)
    assert_close(same.params, plain.params)
    _, slow, _ = train(config, task, draw(70), lookahead_period=1, lookahead_step=0.1)
    assert not np.allclose(jax.tree.leaves(slow.params)[0], jax.tree.leaves(plain.params)[0])


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_bfloat16_computes_nearly_the_same_and_keeps_float32(
    task: Task, draw: Draw, normalization: str
):
    architecture = replace(BASE.architecture, normalization=normalization)
    full, half = (
        train(replace(BASE, architecture=architecture, precision=precision), task, draw(70))[1:]
        for precision in ("float32", "bfloat16")
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((half[0].params, half[0].statistics))} == {
        jnp.dtype(jnp.float32)
    }
    assert float(half[1]["train_loss"]) == pytest.approx(float(full[1]["train_loss"]), rel=0.02)
    assert float(half[1]["train_loss"]) != float(full[1]["train_loss"])


def test_each_number_is_read_only_where_it_has_an_effect():
    assert "bias_decay" in hyperparameters(replace(BASE, bias_group=True))
    assert "bias_decay" not in hyperparameters(replace(BASE, bias_group=True, optimizer="adam"))
    with pytest.raises(UsageError, match="average_decay has no effect"):
        hyperparameters(BASE, {"average_decay": 0.9})


def normalized_setting(task: Task, freeze: tuple[str, ...]) -> Setting:
    network = Architecture(filters=(4,), hidden=(8,), normalization="batch")
    return Setting(replace(BASE, architecture=network, freeze=freeze), task, None)


def test_frozen_normalization_is_in_training_as_in_use(task: Task, draw: Draw):
    images = normalize(task, draw(8).images)
    logits = {}
    for freeze in ((), ("conv*", "norm*")):
        setting = normalized_setting(task, freeze)
        run = make_run(setting.config, task)
        hparams = {k: jnp.float32(v) for k, v in hyperparameters(setting.config).items()}
        state = run.init(hparams, KEY)
        trained, used = (
            forward(setting, state.params, state.statistics, images, mode)[0]
            for mode in (Mode(True, KEY), Mode())
        )
        logits[freeze] = np.abs(trained - used).max()
    assert logits[()] > 0.1 and logits["conv*", "norm*"] == 0


def test_frozen_layers_have_no_part_in_the_norm_that_is_clipped():
    config = replace(BASE, optimizer="sgd", clip=True, freeze=("conv*",))
    hparams = {"learning_rate": jnp.float32(1), "clip_norm": jnp.float32(1)}
    params = {name: {"bias": jnp.zeros(3)} for name in ("conv1", "output")}
    grads = {"conv1": {"bias": jnp.full(3, 10.0)}, "output": {"bias": jnp.full(3, 1e-3)}}
    rule = make_optimizer(config, 0.0, 0.1, hparams)
    moves, _ = rule.update(grads, rule.init(params), params)
    np.testing.assert_allclose(moves["output"]["bias"], -1e-3, rtol=1e-5)
    np.testing.assert_array_equal(moves["conv1"]["bias"], 0)


def test_the_whitening_is_a_layer_and_not_what_follows_it():
    config = replace(BASE, optimizer="sgd", whitening_group=True)
    numbers = hyperparameters(config, {"learning_rate": 1.0, "whitening_fraction": 0.3})
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    params = {name: {"bias": jnp.zeros(3)} for name in ("whitening", "whitening_activation")}
    rule = make_optimizer(config, 0.5, 0.1, hparams)
    moves, _ = rule.update(jax.tree.map(jnp.ones_like, params), rule.init(params), params)
    assert float(jnp.abs(moves["whitening"]["bias"]).max()) == 0
    np.testing.assert_allclose(moves["whitening_activation"]["bias"], -1)


def test_whole_numbers_of_a_network_are_not_averaged():
    new, before = ({"w": jnp.full(2, v), "n": jnp.int32(v)} for v in (4.0, 2.0))
    found = averaged(new, before, jnp.float32(1e6), average_decay=0.5)
    assert found["n"].dtype == jnp.int32 and int(found["n"]) == 4
    np.testing.assert_allclose(found["w"], 3.0)
