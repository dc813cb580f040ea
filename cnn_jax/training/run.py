"""A whole run as pure functions: `(hparams, key, data) -> (state, history)` for a static `Config`.

The compiled unit is one epoch. The data live on the device as bytes; shuffling is a permutation, a
batch a gather, and normalizing happens inside the step. Because every function here is pure, `jit`
makes a run one program and `vmap` over keys and hyperparameters makes a sweep of it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from cnn_jax.models import Mode, build, initialize_from_data, split_variables
from cnn_jax.ops import LOSS_OUTPUT, augment, expected_calibration_error
from cnn_jax.ops.keys import flat_draws
from cnn_jax.training.checks import check
from cnn_jax.training.config import Config
from cnn_jax.training.devices import BATCH_AXIS, constrain, mesh_shape
from cnn_jax.training.optimizers import OPTIMIZERS
from cnn_jax.training.step import (
    Setting,
    TracedHparams,
    TrainState,
    accumulate,
    forward,
    learning_rate,
    losses,
    make_optimizer,
    update,
)
from cnn_jax.training.task import (
    Examples,
    Size,
    Task,
    class_weights,
    normalize,
    padded_batches,
    sizes,
    steps_per_epoch,
    task_of,
)
from cnn_jax.training.weights import Weights, last_layer

EVALUATION_BATCH = 500
# The training images that data-dependent initialization looks at.
INITIALIZATION_IMAGES = 5000
# And of these no more than have so many pixels in all, for its memory: as many of 32 x 32.
INITIALIZATION_PIXELS = 5000 * 32 * 32

Metrics = dict[str, Float[Array, ""]]


# How often an epoch is looked at inside, if it has as many steps.
POINTS = 100


class Points(NamedTuple):
    """An epoch's steps in about `POINTS` parts of equal length.

    Attributes:
        train_loss: the mean over the steps of each part.
        learning_rate: of its last step.
    """

    train_loss: Float[Array, " points"]
    learning_rate: Float[Array, " points"]


def parts_of_epoch(steps: int) -> Int[np.ndarray, " points"]:
    """How many of an epoch's steps are done at the end of each part of `Points`."""
    count = min(POINTS, steps)
    return np.arange(1, count + 1) * steps // count


class Run(NamedTuple):
    """The pure functions of a run.

    Attributes:
        init: `(hparams, key, examples) -> state` before the first step. Few models look at the
            training examples for it; without them the state has the same shapes.
        epoch: `(state, hparams, key, examples, size) -> (state, metrics)`: one pass over the
            training set, its images at this static size (as they are, if none is given).
        watched_epoch: the same, and what the epoch looked like inside: `Points`.
        sizes: that of each epoch.
        predict: `(state, images) -> logits` of a whole split.
        score: `(logits, labels, hparams) -> metrics`, loss and accuracy (of several labels, its
            mean over them, each said to be there from logit 0 on).
        evaluate: `(state, hparams, examples) -> metrics`, the score of the predictions.
        test: the same and the calibration error of its answers, and of each example whether it is
            right; of several labels, all of them.
    """

    init: Callable[..., TrainState]
    epoch: Callable[..., tuple[TrainState, Metrics]]
    watched_epoch: "Callable[..., tuple[TrainState, Metrics, Points]]"
    sizes: tuple[Size, ...]
    predict: Callable[[TrainState, UInt8[Array, "n h w c"]], Float[Array, "n classes"]]
    score: Callable[[Float[Array, "n classes"], Array, TracedHparams], Metrics]
    evaluate: Callable[[TrainState, TracedHparams, Examples], Metrics]
    test: Callable[[TrainState, TracedHparams, Examples], tuple[Metrics, Bool[Array, " n"]]]


class Keys(NamedTuple):
    """The random streams of one seed, each its own, so that no choice disturbs another."""

    init: PRNGKeyArray
    order: PRNGKeyArray
    dropout: PRNGKeyArray
    augment: PRNGKeyArray


def streams(key: PRNGKeyArray) -> Keys:
    """The streams of a seed's key, independent of the config: cells of a sweep share them."""
    key = flat_draws(key)
    return Keys(*(jax.random.fold_in(key, index) for index in range(len(Keys._fields))))


def make_run(
    config: Config,
    task: Task | tuple[np.ndarray, np.ndarray],
    mesh: Mesh | None = None,
    start: Weights | None = None,
) -> Run:
    """The functions of a run of `config` on `task`.

    Args:
        config: the static choices.
        task: the shape of the problem, or the training images (bytes `n h w c`) and their labels,
            which say it.
        mesh: devices, along whose axis `batch` every batch is split while parameters are whole on
            each; None for a single device.
        start: the weights of another run that it starts from, or None.

    Raises:
        UsageError: what `checks.check` raises.
    """
    if not isinstance(task, Task):
        task = task_of(*task)
    devices = mesh_shape(mesh).batch
    check(config, task, devices, start)
    setting = Setting(config, task, mesh if devices > 1 else None, start)
    epoch, predict, evaluate, test = (
        _at_precision(config, function)
        for function in (
            partial(_epoch, setting),
            partial(_predict, setting, devices),
            partial(_evaluate, setting, devices),
            partial(_test, setting, devices),
        )
    )
    return Run(
        partial(_init, setting),
        lambda *given: epoch(*given)[:2],
        epoch,
        sizes(config, task),
        predict,
        partial(_score, setting),
        evaluate,
        test,
    )


def _at_precision(config: Config, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose products are of the config's precision.

    On CPU they are anyway. Accelerators take less for float32 unless they are told: on a GPU
    TensorFloat-32, on a TPU bfloat16.
    """
    if config.precision == "bfloat16" or jax.default_backend() == "cpu":
        return function

    def precise(*given: Any) -> Any:
        with jax.default_matmul_precision(config.precision):
            return function(*given)

    return precise


def _init(
    setting: Setting, hparams: TracedHparams, key: PRNGKeyArray, examples: Examples | None = None
) -> TrainState:
    config, task = setting.config, setting.task
    shape, classes = task.image_shape, task.num_classes
    model = build(config.architecture, shape, classes, streams(key).init, hparams)
    params, statistics = split_variables(model)
    if setting.start is not None:
        params, statistics = setting.start.into(
            (params, statistics), last_layer(config.architecture, shape, classes)
        )
    elif examples is not None:
        pixels = math.prod(examples.images.shape[1:3])
        count = min(INITIALIZATION_IMAGES, max(1, INITIALIZATION_PIXELS // pixels), len(examples))
        first = normalize(task, examples.images[:count])
        statistics = initialize_from_data(config.architecture, statistics, first)
    opt_state = make_optimizer(config, 0.0, 0.0, hparams).init(params)
    average = jax.tree.map(jnp.array, (params, statistics)) if config.average else ()
    return TrainState(jnp.zeros((), jnp.int32), params, statistics, opt_state, average)


class _Updates(NamedTuple):
    """An epoch's updates: u of them, each of m micro-batches of n examples.

    Attributes:
        indices: the examples of each.
        draws: by which the augmentation of each is drawn: the examples themselves if None, so that
            an example is augmented alike wherever it is shuffled to; if one may come several times
            in an epoch, places in the epoch.
        weights: theirs, the same in every update; 0 where a micro-batch is only filled up.
        dropout: a key for each update.
    """

    indices: Int[Array, "u m n"]
    draws: Int[Array, "u m n"] | None
    weights: Float[Array, "m n"]
    dropout: PRNGKeyArray


def _stochastic(setting: Setting, examples: Examples, keys: Keys, epoch: Array) -> _Updates:
    config, count = setting.config, len(examples)
    steps = steps_per_epoch(config, count)
    key = jax.random.fold_in(keys.order, epoch)
    if config.sample == "balanced":
        labels = examples.labels[:count]
        share = class_weights(labels, setting.task.num_classes)[labels]
        order = jax.random.choice(key, count, (count,), p=share / jnp.sum(share))
    else:
        order = jax.random.permutation(key, count)
    shape = (steps, config.micro_batches, config.batch_size // config.micro_batches)
    indices = order[: math.prod(shape)].reshape(shape)
    draws = jnp.arange(math.prod(shape)).reshape(shape) if config.sample == "balanced" else None
    dropout = jax.random.fold_in(keys.dropout, epoch)
    return _Updates(
        indices,
        draws,
        jnp.full(indices.shape[1:], 1 / config.batch_size),
        jax.vmap(partial(jax.random.fold_in, dropout))(jnp.arange(steps)),
    )


def _full_batch(setting: Setting, examples: Examples, keys: Keys, epoch: Array) -> _Updates:
    config, count = setting.config, len(examples)
    indices, present = padded_batches(count, config.batch_size // config.micro_batches)
    dropout = jax.random.fold_in(keys.dropout, epoch)
    return _Updates(indices[None], None, present / count, dropout[None])


def _epoch(
    setting: Setting,
    state: TrainState,
    hparams: TracedHparams,
    key: PRNGKeyArray,
    examples: Examples,
    size: Size | None = None,
) -> tuple[TrainState, Metrics, Points]:
    config, keys = setting.config, streams(key)
    size = size or setting.task.image_shape[:2]
    plan = _full_batch if OPTIMIZERS[config.optimizer].full_batch else _stochastic
    updates = plan(setting, examples, keys, state.epoch)
    steps = len(updates.indices)
    of_class = None
    if config.class_weights == "balanced":
        of_class = class_weights(examples.labels[: len(examples)], setting.task.num_classes)

    def step(state: TrainState, item: tuple) -> tuple[TrainState, Metrics]:
        index, chosen, draws, dropout = item
        found = accumulate(
            setting, state, hparams, examples, chosen, updates.weights, keys.augment, dropout, size,
            of_class, draws,
        )  # fmt: skip
        done, all_steps = state.epoch * steps + index, config.epochs * steps
        state = update(setting, state, hparams, found, done, all_steps)
        rate = learning_rate(config, done / all_steps, 1 / all_steps, hparams)
        return state, {
            "train_loss": found.loss,
            "train_accuracy": found.hits,
            "learning_rate": jnp.asarray(rate),
        }

    items = (jnp.arange(steps), updates.indices, updates.draws, updates.dropout)
    state, metrics = lax.scan(step, state, items)
    return (
        state._replace(epoch=state.epoch + 1),
        {
            "train_loss": jnp.mean(metrics["train_loss"]),
            "train_accuracy": jnp.mean(metrics["train_accuracy"]),
            "learning_rate": metrics["learning_rate"][-1],
        },
        _points(metrics["train_loss"], metrics["learning_rate"]),
    )


def _points(losses: Float[Array, " steps"], rates: Float[Array, " steps"]) -> Points:
    ends = parts_of_epoch(len(losses))
    lengths = np.diff(ends, prepend=0)
    part = np.repeat(np.arange(len(ends)), lengths)
    sums = jax.ops.segment_sum(losses, part, len(ends), indices_are_sorted=True)
    return Points(sums / lengths, rates[ends - 1])


def _predict(
    setting: Setting, devices: int, state: TrainState, images: UInt8[Array, "n h w c"]
) -> Float[Array, "n classes"]:
    images, count = jnp.asarray(images), images.shape[0]
    together = -(-min(EVALUATION_BATCH, count) // devices) * devices
    indices, _ = padded_batches(count, together)
    params, statistics = state.weights

    def view_logits(view: Array) -> Array:
        return forward(setting, params, statistics, normalize(setting.task, view), Mode())[0]

    def batch_logits(chosen: Array) -> Array:
        batch = constrain(images[chosen], setting.mesh, BATCH_AXIS)
        views, weights = augment.TEST_TIME[setting.config.tta](batch)
        if len(views) == 1:
            return view_logits(views[0])
        return jnp.tensordot(weights, lax.map(view_logits, views), 1)

    return lax.map(batch_logits, indices).reshape(-1, setting.task.num_classes)[:count]


def _score(
    setting: Setting, logits: Float[Array, "n classes"], labels: Array, hparams: TracedHparams
) -> Metrics:
    targets = setting.labels.targets(labels)
    return {
        "loss": jnp.mean(losses(setting, logits, targets, hparams)),
        "accuracy": setting.labels.accuracy(logits, labels),
    }


def _answered(
    setting: Setting, devices: int, state: TrainState, examples: Examples
) -> tuple[Float[Array, "n classes"], Array]:
    count = len(examples)
    logits = _predict(setting, devices, state, examples.images)[:count]
    return logits, examples.labels[:count]


def _evaluate(
    setting: Setting, devices: int, state: TrainState, hparams: TracedHparams, examples: Examples
) -> Metrics:
    return _score(setting, *_answered(setting, devices, state, examples), hparams)


def _test(
    setting: Setting, devices: int, state: TrainState, hparams: TracedHparams, examples: Examples
) -> tuple[Metrics, Bool[Array, " n"]]:
    logits, labels = _answered(setting, devices, state, examples)
    answers = setting.labels.answers(logits, labels, LOSS_OUTPUT[setting.config.loss])
    score = _score(setting, logits, labels, hparams)
    score["calibration_error"] = expected_calibration_error(*answers)
    return score, setting.labels.right(logits, labels) == 1
