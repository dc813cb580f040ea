"""A run against the same training written as plain Python loops, and against itself vmapped."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cnn_jax import training
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, build
from cnn_jax.ops import ACTIVATIONS, LOSSES, PARAMETRIC_ACTIVATIONS
from cnn_jax.training import Config, Examples, Task, hyperparameters, make_run, steps_per_epoch
from cnn_jax.training.run import normalize, streams

Draw = Callable[..., Examples]

KEY = jax.random.key(7)
TINY = Architecture(filters=(2,), hidden=())
SGD = Config(TINY, optimizer="sgd", batch_size=16, epochs=2, schedule="cosine")
# Compiles soonest, for where neither network nor order matters.
DESCENT = Config(Architecture(filters=(), hidden=()), optimizer="gradient_descent", batch_size=50)


def traced(config: Config, **chosen: float) -> dict:
    return {name: jnp.float32(v) for name, v in hyperparameters(config, chosen).items()}


def start(config: Config, task: Task, key: jax.Array = KEY, **chosen: float) -> tuple:
    """The run, its numbers and its first state."""
    run, hparams = make_run(config, task), traced(config, **chosen)
    return run, hparams, run.init(hparams, key)


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def assert_close(ours, theirs, **tolerance: float) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), ours, theirs)


def plain_loss(config: Config, task: Task) -> Callable:
    """The mean cross-entropy of a batch, written with Optax and stock normalization."""
    model = build(config.architecture, task.image_shape, task.num_classes, streams(KEY).init)
    skeleton, *_ = nnx.split(model)

    def loss(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
        x = (images / 255.0 - jnp.asarray(task.mean)) / jnp.asarray(task.std)
        logits = nnx.merge(skeleton, params)(x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    return loss


def test_normalize_gives_every_channel_mean_0_and_variance_1():
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)
    scaled = images / 255
    mean, std = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    task = Task((5, 6, 3), 2, tuple(mean), tuple(std))
    normal = normalize(task, jnp.asarray(images))
    np.testing.assert_allclose(normal, (scaled - mean) / std, atol=1e-5)
    assert normal.dtype == jnp.float32


def test_an_epoch_is_a_plain_loop_over_shuffled_batches(task: Task, draw: Draw):
    examples = draw(50)
    run, hparams, state = start(SGD, task, learning_rate=0.3, weight_decay=0.01)
    epoch = jax.jit(run.epoch)
    loss_and_grad = jax.jit(jax.value_and_grad(plain_loss(SGD, task)))
    optimizer = optax.chain(
        optax.add_decayed_weights(0.01), optax.sgd(optax.cosine_decay_schedule(0.3, 6))
    )
    params, opt_state = state.params, optimizer.init(state.params)
    seen = []
    for number in range(2):
        losses = []
        order = jax.random.permutation(jax.random.fold_in(streams(KEY).order, number), 50)
        for index in range(3):
            batch = order[16 * index : 16 * index + 16]
            loss, grads = loss_and_grad(params, examples.images[batch], examples.labels[batch])
            moves, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, moves)
            losses.append(loss)
        state, metrics = epoch(state, hparams, KEY, examples)
        assert_close(state.params, params, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(metrics["train_loss"], np.mean(losses), rtol=1e-5)
        rate = 0.3 * 0.5 * (1 + np.cos(np.pi * (3 * number + 2) / 6))
        np.testing.assert_allclose(metrics["learning_rate"], rate, rtol=1e-5)
        assert int(state.epoch) == number + 1
        seen.append(order)
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("batch_size", [16, 25])
def test_gradient_descent_takes_one_step_along_the_gradient_of_all(
    task: Task, draw: Draw, batch_size: int
):
    """50 examples in batches of 16 leave two over, which count as much as the others."""
    config = replace(SGD, optimizer="gradient_descent", batch_size=batch_size)
    examples = draw(50)
    run, hparams, state = start(config, task, learning_rate=0.3)
    epoch = jax.jit(run.epoch)
    loss_and_grad = jax.jit(jax.value_and_grad(plain_loss(config, task)))
    params = state.params
    for rate in (0.3, 0.15):
        loss, grads = loss_and_grad(params, examples.images, examples.labels)
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, grads)
        state, metrics = epoch(state, hparams, KEY, examples)
        np.testing.assert_allclose(metrics["train_loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics["learning_rate"], rate, rtol=1e-5)
        assert_close(state.params, params, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "gradient_descent"])
def test_the_same_key_gives_the_same_bits(task: Task, draw: Draw, optimizer: str):
    config = replace(SGD, optimizer=optimizer)
    run, hparams, _ = start(config, task)
    init, epoch, examples = jax.jit(run.init), jax.jit(run.epoch), draw(50)
    keys = jax.random.key(1), jax.random.key(1), jax.random.key(2)
    first, again, other = (bits(epoch(init(hparams, key), hparams, key, examples)) for key in keys)
    assert first == again
    assert first != other


def test_training_accuracy_is_the_share_of_hits_before_each_step(task: Task, draw: Draw):
    """With a learning rate of nearly nothing it is the accuracy of the first parameters."""
    run, hparams, state = start(SGD, task, learning_rate=1e-20)
    examples = draw(48)
    _, metrics = jax.jit(run.epoch)(state, hparams, KEY, examples)
    evaluated = jax.jit(run.evaluate)(state, hparams, examples)
    np.testing.assert_allclose(metrics["train_accuracy"], evaluated["accuracy"], rtol=1e-6)
    np.testing.assert_allclose(metrics["train_loss"], evaluated["loss"], rtol=1e-5)


def test_evaluation_covers_the_whole_split(task: Task, draw: Draw):
    """1,003 examples: two whole batches and three over."""
    examples = draw(1003)
    run, hparams, state = start(SGD, task, label_smoothing=0.1)
    logits = jax.jit(run.predict)(state, examples.images)
    metrics = jax.jit(run.evaluate)(state, hparams, examples)
    model = build(TINY, task.image_shape, task.num_classes, streams(KEY).init)
    expected = jax.jit(lambda images: model(normalize(task, images)))(examples.images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    right = np.argmax(expected, -1) == np.asarray(examples.labels)
    np.testing.assert_allclose(metrics["accuracy"], right.mean(), rtol=1e-6)
    smooth = optax.smooth_labels(jax.nn.one_hot(examples.labels, 4), 0.1)
    loss = optax.softmax_cross_entropy(expected, smooth).mean()
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_is_learnt(task: Task, draw: Draw, loss: str):
    config = replace(DESCENT, loss=loss, epochs=8)
    run, hparams, state = start(config, task, learning_rate=0.05)
    epoch, examples, losses = jax.jit(run.epoch), draw(150), []
    for _ in range(config.epochs):
        state, metrics = epoch(state, hparams, KEY, examples)
        losses.append(float(metrics["train_loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS | PARAMETRIC_ACTIVATIONS))
def test_every_activation_trains(task: Task, draw: Draw, activation: str):
    architecture = replace(DESCENT.architecture, hidden=(4,), activation=activation)
    config = replace(DESCENT, architecture=architecture)
    run, hparams, before = start(config, task, learning_rate=0.1)
    after, metrics = jax.jit(run.epoch)(before, hparams, KEY, draw(50))
    assert np.isfinite(metrics["train_loss"])
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        assert np.isfinite(new).all()
        assert not np.array_equal(old, new)


def test_a_sweep_is_the_vmap_of_lone_runs(task: Task, draw: Draw):
    """Equal up to the rounding of batched products, which three seeds' training magnifies."""
    config = replace(SGD, optimizer="momentum")
    run, hparams, _ = start(config, task)
    examples = draw(50)
    seeds, rates = jnp.arange(3), jnp.asarray([0.3, 0.03, 0.1])

    def train(seed: jax.Array, rate: jax.Array) -> tuple:
        key, numbers = jax.random.key(seed), hparams | {"learning_rate": rate}
        state, _ = run.epoch(run.init(numbers, key), numbers, key, examples)
        return state, run.evaluate(state, numbers, examples)

    swept = jax.jit(jax.vmap(train))(seeds, rates)
    lone = jax.jit(train)
    for index in range(3):
        alone = lone(seeds[index], rates[index])
        together = jax.tree.map(lambda leaf, index=index: leaf[index], swept)
        assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_batch_norm_learns_statistics_and_evaluates_with_them(task: Task, draw: Draw):
    config = replace(SGD, architecture=replace(TINY, normalization="batch"), batch_size=50)
    examples = draw(50)
    run, hparams, before = start(config, task)
    after, _ = jax.jit(run.epoch)(before, hparams, KEY, examples)

    # The one batch of the epoch met the convolution as it was initialized.
    model = build(config.architecture, task.image_shape, task.num_classes, streams(KEY).init)
    maps = model.network.conv1.conv(normalize(task, examples.images))
    held = after.statistics["network"]["norm1"]["norm"]
    np.testing.assert_allclose(held["mean"], 0.1 * maps.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(held["var"], 0.9 + 0.1 * maps.var((0, 1, 2)), rtol=1e-4)

    predict = jax.jit(run.predict)
    logits = predict(after, examples.images)
    # An example's logits do not depend on its neighbors, but on the statistics.
    np.testing.assert_allclose(predict(after, examples.images[:3]), logits[:3], atol=1e-5)
    forgotten = after._replace(statistics=before.statistics)
    assert not np.allclose(predict(forgotten, examples.images), logits, atol=1e-3)


def test_the_dropout_rate_is_traced_and_disturbs_no_other_stream(task: Task, draw: Draw):
    architecture = replace(TINY, hidden=(8,))
    examples = draw(50)
    run, hparams, state = start(replace(SGD, architecture=architecture), task)
    without, _ = jax.jit(run.epoch)(state, hparams, KEY, examples)
    dropping = replace(SGD, architecture=replace(architecture, dropout=True))
    run, hparams, state = start(dropping, task)

    def train(rate: jax.Array) -> tuple:
        return run.epoch(state, hparams | {"dropout_rate": rate}, KEY, examples)[0].params

    rates = jax.jit(jax.vmap(train))(jnp.asarray([0.0, 0.3, 0.6]))
    none, some, many = (jax.tree.map(lambda leaf, i=i: leaf[i], rates) for i in range(3))
    assert_close(none, without.params, rtol=1e-4, atol=1e-5)
    kernels = [tree["network"]["output"]["kernel"] for tree in (none, some, many)]
    assert not np.allclose(kernels[0], kernels[1], atol=1e-3)
    assert not np.allclose(kernels[1], kernels[2], atol=1e-3)


def test_clipping_bounds_the_step(task: Task, draw: Draw):
    config = replace(SGD, clip=True, batch_size=50, schedule="constant")
    run, hparams, before = start(config, task, learning_rate=0.5)
    epoch, examples = jax.jit(run.epoch), draw(50)

    def move(clip_norm: float) -> dict:
        after, _ = epoch(before, hparams | {"clip_norm": jnp.float32(clip_norm)}, KEY, examples)
        return jax.tree.map(jnp.subtract, before.params, after.params)

    free = move(1e6)
    length = float(optax.tree.norm(free)) / 0.5
    clipped = move(length / 4)
    np.testing.assert_allclose(optax.tree.norm(clipped), 0.5 * length / 4, rtol=1e-4)
    assert_close(clipped, jax.tree.map(lambda leaf: leaf / 4, free), rtol=1e-3, atol=1e-6)


def test_steps_per_epoch():
    assert steps_per_epoch(SGD, 50) == 3
    assert steps_per_epoch(SGD, 16) == 1
    assert steps_per_epoch(replace(SGD, optimizer="gradient_descent"), 50) == 1
    with pytest.raises(UsageError, match="batch_size=16 is larger.* 15 examples"):
        steps_per_epoch(SGD, 15)


def test_too_small_images_are_refused():
    with pytest.raises(UsageError, match="cannot be pooled"):
        make_run(SGD, Task((1, 1, 1), 4, (0.5,), (0.5,)))


def test_arrays_are_a_task():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), np.arange(24) % 5
    config = Config(Architecture(filters=(4,), hidden=()), batch_size=8, epochs=1)
    run = make_run(config, (images, labels))
    hparams = jax.tree.map(jnp.float32, hyperparameters(config))
    examples = Examples(images, labels)
    state = run.init(hparams, jax.random.key(0), examples)
    state, metrics = jax.jit(run.epoch)(state, hparams, jax.random.key(0), examples)
    assert run.predict(state, images).shape == (24, 5)
    assert jnp.isfinite(metrics["train_loss"])
    several = np.eye(5, dtype=np.uint8)[labels]
    assert training.task_of(images, several)[3:] != () and training.task_of(images, several)[4]
    for wrong in ((images / 255, labels), (images[..., 0], labels), (images, labels[1:])):
        with pytest.raises(ValueError, match="expected"):
            training.task_of(*wrong)
