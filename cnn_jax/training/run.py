"""A whole run as pure functions: `(hparams, key, data) -> (state, history)` for a static `Config`.

The compiled unit is one epoch. The data live on the device as bytes; shuffling is a permutation, a
batch a gather, and normalising happens inside the step. Because every function here is pure, `jit`
makes a run one program and `vmap` over keys and hyperparameters makes a sweep of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Int32, Num, PRNGKeyArray, PyTree, UInt8

from cnn_jax.errors import UsageError
from cnn_jax.models import Classifier, Mode, build, build_abstract, initialize_from_data
from cnn_jax.ops import augment
from cnn_jax.ops.augment_batch import TEST_TIME
from cnn_jax.ops.losses import LOSSES
from cnn_jax.ops.metrics import accuracy
from cnn_jax.training.config import AUGMENT_PREFIX, Config, keyword_defaults
from cnn_jax.training.optimizers import OPTIMIZERS, Rule
from cnn_jax.training.schedules import SCHEDULES

EVALUATION_BATCH = 500
# The training images that data-dependent initialisation looks at.
INITIALIZATION_IMAGES = 5000

Hparams = dict[str, Float[Array, ""]]
Metrics = dict[str, Float[Array, ""]]


class Task(NamedTuple):
    """What a program is compiled for, beside the config: the shape of the problem.

    Attributes:
      image_shape: height, width, channels.
      num_classes: number of classes.
      mean: of each channel over the training set, images scaled to [0, 1].
      std: standard deviation of each channel, likewise.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Examples(NamedTuple):
    """A split on the device."""

    images: UInt8[Array, "n h w c"]
    labels: Int32[Array, " n"]


class TrainState(NamedTuple):
    """All that changes in training: what a checkpoint holds.

    Attributes:
      epoch: epochs done.
      params: trained parameters, a nested dict by layer.
      statistics: running statistics of batch normalisation, likewise.
      opt_state: of the optimizer.
    """

    epoch: Int[Array, ""]
    params: PyTree
    statistics: PyTree
    opt_state: Any


class Run(NamedTuple):
    """The pure functions of a run.

    Attributes:
      init: `(hparams, key, examples) -> state` before the first step. Few models look at the
        training examples for it; without them the state has the same shapes.
      epoch: `(state, hparams, key, examples) -> (state, metrics)`: one pass over the training set.
      predict: `(state, images) -> logits` of a whole split.
      score: `(logits, labels, hparams) -> metrics`, loss and accuracy.
      evaluate: `(state, hparams, examples) -> metrics`, the score of the predictions.
    """

    init: Callable[..., TrainState]
    epoch: Callable[[TrainState, Hparams, PRNGKeyArray, Examples], tuple[TrainState, Metrics]]
    predict: Callable[[TrainState, UInt8[Array, "n h w c"]], Float[Array, "n classes"]]
    score: Callable[[Float[Array, "n classes"], Int32[Array, " n"], Hparams], Metrics]
    evaluate: Callable[[TrainState, Hparams, Examples], Metrics]


class Keys(NamedTuple):
    """The random streams of one seed, each its own, so that no choice disturbs another."""

    init: PRNGKeyArray
    order: PRNGKeyArray
    dropout: PRNGKeyArray
    augment: PRNGKeyArray


def streams(key: PRNGKeyArray) -> Keys:
    """The streams of a seed's key, independent of the config: cells of a sweep share them."""
    return Keys(*(jax.random.fold_in(key, index) for index in range(len(Keys._fields))))


def steps_per_epoch(config: Config, examples: int) -> int:
    """Updates in one epoch: whole batches, or one for full-batch gradient descent.

    The examples of the last, smaller batch are left out of that epoch; another shuffle leaves out
    others.

    Raises:
      UsageError: if a batch is larger than the training set.
    """
    if config.batch_size > examples:
        raise UsageError(
            f"--batch_size={config.batch_size} is larger than the training split of {examples} "
            f"examples; give at most {examples}"
        )
    return 1 if OPTIMIZERS[config.optimizer].full_batch else examples // config.batch_size


def normalize(task: Task, images: Num[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Values in [0, 255] to mean 0 and variance 1 over the training set, channel by channel."""
    scale = 1 / (255 * jnp.asarray(task.std, jnp.float32))
    return images * scale - jnp.asarray(task.mean, jnp.float32) * 255 * scale


def make_run(config: Config, task: Task) -> Run:
    """The functions of a run of `config` on `task`.

    Raises:
      UsageError: if the images are too small for the network, or have no colors for an
        augmentation that needs them.
    """
    _check_augmentations(config, task)
    skeleton, *_ = nnx.split(
        build_abstract(config.architecture, task.image_shape, task.num_classes)
    )
    optimizer = OPTIMIZERS[config.optimizer]
    schedule = SCHEDULES[config.schedule]
    loss_function = LOSSES[config.loss]

    def rule(learning_rate: Array | float, hparams: Hparams) -> Rule:
        return optimizer.build(learning_rate, **_read(optimizer.build, hparams))

    def losses(logits: Array, labels: Array, hparams: Hparams) -> Float[Array, " n"]:
        return loss_function(logits, labels, **_read(loss_function, hparams))

    def forward(params: PyTree, statistics: PyTree, images: Array, mode: Mode) -> tuple:
        model = nnx.merge(skeleton, params, statistics)
        logits = model(normalize(task, images), mode)
        return logits, _parts(model)[1]

    def init(hparams: Hparams, key: PRNGKeyArray, examples: Examples | None = None) -> TrainState:
        model = build(config.architecture, task.image_shape, task.num_classes, streams(key).init)
        params, statistics = _parts(model)
        if examples is not None:
            first = normalize(task, examples.images[:INITIALIZATION_IMAGES])
            statistics = initialize_from_data(config.architecture, statistics, first)
        state = rule(hparams["learning_rate"], hparams).init(params)
        return TrainState(jnp.zeros((), jnp.int32), params, statistics, state)

    def augmented(
        batch: Examples, chosen: Array, epoch: Array, hparams: Hparams, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """The images and targets of a batch, as the network is trained on them."""
        if not config.augment:
            return batch.images, batch.labels
        targets = batch.labels
        if augment.needs_soft_targets(config.augment):
            targets = jax.nn.one_hot(targets, task.num_classes)
        strengths = {name.removeprefix(AUGMENT_PREFIX): hparams[name] for name in hparams}
        images, targets = augment.apply(
            config.augment,
            key,
            batch.images / 255,
            targets,
            indices=chosen,
            epoch=epoch,
            numbers=strengths,
        )
        return images * 255, targets

    def gradient(
        state: TrainState,
        hparams: Hparams,
        images: Array,
        targets: Array,
        labels: Array,
        weights: Array,
        key: PRNGKeyArray,
    ) -> tuple:
        """The weighted sum of the losses over a batch, its gradient, statistics and hits."""

        def objective(params: PyTree) -> tuple:
            mode = Mode(True, key, hparams.get("dropout_rate", 0.0))
            logits, statistics = forward(params, state.statistics, images, mode)
            hits = jnp.sum((jnp.argmax(logits, -1) == labels) * weights)
            return jnp.sum(losses(logits, targets, hparams) * weights), (statistics, hits)

        (loss, (statistics, hits)), grads = jax.value_and_grad(objective, has_aux=True)(
            state.params
        )
        return loss, grads, statistics, hits

    def apply(
        state: TrainState, hparams: Hparams, grads: PyTree, statistics: PyTree, rate: Array
    ) -> TrainState:
        if config.clip:
            clipper = optax.clip_by_global_norm(hparams["clip_norm"])
            grads, _ = clipper.update(grads, clipper.init(grads))
        params, opt_state = rule(rate, hparams).update(state.params, grads, state.opt_state)
        return state._replace(params=params, statistics=statistics, opt_state=opt_state)

    def learning_rate(state: TrainState, hparams: Hparams, index: Array, steps: int) -> Array:
        progress = (state.epoch * steps + index) / (config.epochs * steps)
        return hparams["learning_rate"] * schedule(progress, **_read(schedule, hparams))

    def stochastic_epoch(
        state: TrainState, hparams: Hparams, key: PRNGKeyArray, examples: Examples
    ) -> tuple[TrainState, Metrics]:
        count = examples.labels.shape[0]
        steps, size = steps_per_epoch(config, count), config.batch_size
        keys = streams(key)
        order = jax.random.permutation(jax.random.fold_in(keys.order, state.epoch), count)
        batches = order[: steps * size].reshape(steps, size)
        dropout_key = jax.random.fold_in(keys.dropout, state.epoch)
        weights = jnp.full((size,), 1 / size)

        def step(state: TrainState, item: tuple[Array, Array]) -> tuple[TrainState, Metrics]:
            index, chosen = item
            batch = Examples(examples.images[chosen], examples.labels[chosen])
            images, targets = augmented(batch, chosen, state.epoch, hparams, keys.augment)
            loss, grads, statistics, hits = gradient(
                state,
                hparams,
                images,
                targets,
                batch.labels,
                weights,
                jax.random.fold_in(dropout_key, index),
            )
            rate = learning_rate(state, hparams, index, steps)
            state = apply(state, hparams, grads, statistics, rate)
            return state, {"train_loss": loss, "train_accuracy": hits, "learning_rate": rate}

        state, metrics = lax.scan(step, state, (jnp.arange(steps), batches))
        return state._replace(epoch=state.epoch + 1), {
            "train_loss": jnp.mean(metrics["train_loss"]),
            "train_accuracy": jnp.mean(metrics["train_accuracy"]),
            "learning_rate": metrics["learning_rate"][-1],
        }

    def full_batch_epoch(
        state: TrainState, hparams: Hparams, key: PRNGKeyArray, examples: Examples
    ) -> tuple[TrainState, Metrics]:
        count = examples.labels.shape[0]
        indices, present = _padded_batches(count, config.batch_size)
        keys = streams(key)
        dropout_key = jax.random.fold_in(keys.dropout, state.epoch)

        def accumulate(carry: tuple, item: tuple) -> tuple[tuple, None]:
            total, grads, statistics, hits = carry
            index, chosen, weights = item
            batch = Examples(examples.images[chosen], examples.labels[chosen])
            images, targets = augmented(batch, chosen, state.epoch, hparams, keys.augment)
            loss, more, statistics, right = gradient(
                state._replace(statistics=statistics),
                hparams,
                images,
                targets,
                batch.labels,
                weights / count,
                jax.random.fold_in(dropout_key, index),
            )
            return (
                total + loss,
                jax.tree.map(jnp.add, grads, more),
                statistics,
                hits + right,
            ), None

        zero = jnp.zeros(())
        start = zero, jax.tree.map(jnp.zeros_like, state.params), state.statistics, zero
        (loss, grads, statistics, hits), _ = lax.scan(
            accumulate, start, (jnp.arange(len(indices)), indices, present)
        )
        rate = learning_rate(state, hparams, jnp.zeros(()), 1)
        state = apply(state, hparams, grads, statistics, rate)
        return state._replace(epoch=state.epoch + 1), {
            "train_loss": loss,
            "train_accuracy": hits,
            "learning_rate": rate,
        }

    def predict(state: TrainState, images: UInt8[Array, "n h w c"]) -> Float[Array, "n classes"]:
        count = images.shape[0]
        indices, _ = _padded_batches(count, min(EVALUATION_BATCH, count))

        def view_logits(view: Array) -> Array:
            return forward(state.params, state.statistics, view, Mode())[0]

        def batch_logits(chosen: Array) -> Array:
            views, weights = TEST_TIME[config.tta](images[chosen])
            if len(views) == 1:
                return view_logits(views[0])
            return jnp.tensordot(weights, lax.map(view_logits, views), 1)

        return lax.map(batch_logits, indices).reshape(-1, task.num_classes)[:count]

    def score(logits: Array, labels: Array, hparams: Hparams) -> Metrics:
        return {
            "loss": jnp.mean(losses(logits, labels, hparams)),
            "accuracy": accuracy(logits, labels),
        }

    def evaluate(state: TrainState, hparams: Hparams, examples: Examples) -> Metrics:
        return score(predict(state, examples.images), examples.labels, hparams)

    epoch = full_batch_epoch if optimizer.full_batch else stochastic_epoch
    return Run(init, epoch, predict, score, evaluate)


def _check_augmentations(config: Config, task: Task) -> None:
    try:
        augment.check_channels(config.augment, task.image_shape[2])
    except ValueError as error:
        raise UsageError(f"--augment: {error}") from error


def _parts(model: Classifier) -> tuple[PyTree, PyTree]:
    _, *parts = nnx.split(model, nnx.Param, ...)
    params, statistics = parts
    return nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)


def _read(function: Callable, hparams: Hparams) -> Hparams:
    return {name: hparams[name] for name in keyword_defaults(function)}


def _padded_batches(count: int, size: int) -> tuple[Int[Array, "b s"], Float[Array, "b s"]]:
    """All indices below `count` in batches of `size`; the last is filled up, at weight 0."""
    batches = -(-count // size)
    indices = jnp.arange(batches * size).reshape(batches, size)
    return jnp.minimum(indices, count - 1), (indices < count).astype(jnp.float32)
