"""A whole run as pure functions: `(hparams, key, data) -> (state, history)` for a static `Config`.

The compiled unit is one epoch. The data live on the device as bytes; shuffling is a permutation, a
batch a gather, and normalizing happens inside the step. Because every function here is pure, `jit`
makes a run one program and `vmap` over keys and hyperparameters makes a sweep of it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from cnn_jax.errors import UsageError
from cnn_jax.models import Classifier, Mode, build, build_abstract, initialize_from_data
from cnn_jax.ops import augment
from cnn_jax.ops.augment.batch import TEST_TIME
from cnn_jax.ops.losses import LOSSES
from cnn_jax.training.batches import (
    Size,
    check_divides,
    check_resolutions,
    padded_batches,
    shrink,
    sizes,
    steps_per_epoch,
)
from cnn_jax.training.config import AUGMENT_PREFIX, Config, read_by
from cnn_jax.training.devices import BATCH_AXIS, constrain, mesh_shape
from cnn_jax.training.optimizers import OPTIMIZERS
from cnn_jax.training.rules import Hparams, learning_rate, make_rule
from cnn_jax.training.task import Examples, Task, labeling, normalize

EVALUATION_BATCH = 500
# The training images that data-dependent initialization looks at.
INITIALIZATION_IMAGES = 5000

Metrics = dict[str, Float[Array, ""]]


class TrainState(NamedTuple):
    """All that changes in training: what a checkpoint holds.

    Attributes:
        epoch: epochs done.
        params: trained parameters, a nested dict by layer.
        statistics: running statistics of batch normalization, likewise.
        opt_state: of the optimizer.
        average: running averages of parameters and statistics, where the config asks for them.
    """

    epoch: Int[Array, ""]
    params: PyTree
    statistics: PyTree
    opt_state: Any
    average: PyTree = ()

    @property
    def weights(self) -> tuple[PyTree, PyTree]:
        """The parameters and statistics that predict: the averages, where there are any."""
        return self.average or (self.params, self.statistics)


class Run(NamedTuple):
    """The pure functions of a run.

    Attributes:
        init: `(hparams, key, examples) -> state` before the first step. Few models look at the
            training examples for it; without them the state has the same shapes.
        epoch: `(state, hparams, key, examples, size) -> (state, metrics)`: one pass over the
            training set, its images at this static size (as they are, if none is given).
        sizes: that of each epoch.
        predict: `(state, images) -> logits` of a whole split.
        score: `(logits, labels, hparams) -> metrics`, loss and accuracy (of several labels, its
            mean over them, each said to be there from logit 0 on).
        evaluate: `(state, hparams, examples) -> metrics`, the score of the predictions.
    """

    init: Callable[..., TrainState]
    epoch: Callable[..., tuple[TrainState, Metrics]]
    sizes: tuple[Size, ...]
    predict: Callable[[TrainState, UInt8[Array, "n h w c"]], Float[Array, "n classes"]]
    score: Callable[[Float[Array, "n classes"], Array, Hparams], Metrics]
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


def make_run(config: Config, task: Task, mesh: Mesh | None = None) -> Run:
    """The functions of a run of `config` on `task`.

    Args:
        config: the static choices.
        task: the shape of the problem.
        mesh: devices, along whose axis `batch` every batch is split while parameters are whole on
            each; None for a single device.

    Raises:
        UsageError: if the images are too small for the network, have no colors for an augmentation
            that needs them, or have several labels where the loss chooses one class.
    """
    _check_augmentations(config, task)
    check_resolutions(config, task)
    answers = labeling(config.loss, task.multi_label)
    devices = mesh_shape(mesh).batch
    check_divides(config, devices)
    parted = mesh if devices > 1 else None
    full_size = task.image_shape[:2]
    optimizer = OPTIMIZERS[config.optimizer]
    loss_function = LOSSES[config.loss]

    @cache
    def skeleton(image_shape: tuple[int, int, int]) -> nnx.GraphDef:
        """The network for images of this shape, without its arrays."""
        return nnx.split(build_abstract(config.architecture, image_shape, task.num_classes))[0]

    # Images that are too small are refused here, before anything is compiled.
    skeleton(task.image_shape)

    def losses(logits: Array, targets: Array, hparams: Hparams) -> Float[Array, " n"]:
        return loss_function(logits, targets, **read_by(loss_function, hparams))

    def forward(params: PyTree, statistics: PyTree, images: Array, mode: Mode) -> tuple:
        images = normalize(task, images)
        if config.precision == "bfloat16":
            params, images = optax.tree.cast((params, images), jnp.bfloat16)
        model = nnx.merge(skeleton(images.shape[1:]), params, statistics)
        logits = model(images, mode).astype(jnp.float32)
        return logits, _parts(model)[1]

    def init(hparams: Hparams, key: PRNGKeyArray, examples: Examples | None = None) -> TrainState:
        model = build(config.architecture, task.image_shape, task.num_classes, streams(key).init)
        params, statistics = _parts(model)
        if examples is not None:
            first = normalize(task, examples.images[: min(INITIALIZATION_IMAGES, len(examples))])
            statistics = initialize_from_data(config.architecture, statistics, first)
        opt_state = make_rule(config, 0.0, hparams).init(params)
        average = jax.tree.map(jnp.array, (params, statistics)) if config.average else ()
        return TrainState(jnp.zeros((), jnp.int32), params, statistics, opt_state, average)

    def spread(batch: PyTree) -> PyTree:
        """A batch, each device with its part of the examples."""
        return constrain(batch, parted, BATCH_AXIS) if parted else batch

    def everywhere(state: PyTree) -> PyTree:
        """A state, whole on every device: where a batch is split, gradients are summed."""
        return constrain(state, parted, None) if parted else state

    def augmented(
        batch: Examples, chosen: Array, epoch: Array, hparams: Hparams, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """The images and targets of a batch, as the network is trained on them."""
        if not config.augment:
            return batch.images, answers.targets(batch.labels)
        targets = answers.targets(batch.labels)
        if augment.needs_soft_targets(config.augment):
            targets = answers.soft_targets(batch.labels, task.num_classes)
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
            hits = jnp.sum(answers.right(logits, labels) * weights)
            return jnp.sum(losses(logits, targets, hparams) * weights), (statistics, hits)

        (loss, (statistics, hits)), grads = jax.value_and_grad(objective, has_aux=True)(
            state.params
        )
        return loss, grads, statistics, hits

    def accumulated(
        state: TrainState,
        hparams: Hparams,
        examples: Examples,
        indices: Int[Array, "k s"],
        weights: Float[Array, "k s"],
        keys: Keys,
        size: Size,
    ) -> tuple:
        """What `gradient` gives over the k micro-batches of these indices, summed."""

        def part(state: TrainState, chosen: Array, weights: Array, dropout: PRNGKeyArray) -> tuple:
            batch = spread(Examples(examples.images[chosen], examples.labels[chosen]))
            images, targets = augmented(batch, chosen, state.epoch, hparams, keys.augment)
            images = shrink(images, size)
            return gradient(state, hparams, images, targets, batch.labels, weights, dropout)

        if len(indices) == 1:
            return part(state, indices[0], weights[0], keys.dropout)

        def accumulate(carry: tuple, item: tuple) -> tuple[tuple, None]:
            loss, grads, statistics, hits = carry
            index, chosen, weights = item
            dropout = jax.random.fold_in(keys.dropout, index)
            here = part(state._replace(statistics=statistics), chosen, weights, dropout)
            grads = jax.tree.map(jnp.add, grads, here[1])
            return (loss + here[0], grads, here[2], hits + here[3]), None

        zero = jnp.zeros(())
        start = zero, jax.tree.map(jnp.zeros_like, state.params), state.statistics, zero
        sums, _ = lax.scan(accumulate, start, (jnp.arange(len(indices)), indices, weights))
        return sums

    def apply(
        state: TrainState,
        hparams: Hparams,
        grads: PyTree,
        statistics: PyTree,
        index: Array,
        steps: int,
    ) -> tuple[TrainState, Array]:
        """One update, the `index`-th of its epoch, and its learning rate."""
        done = state.epoch * steps + index
        progress = done / (config.epochs * steps)
        if config.clip:
            clipper = optax.clip_by_global_norm(hparams["clip_norm"])
            grads, _ = clipper.update(grads, clipper.init(grads))
        grads, statistics = everywhere((grads, statistics))
        rule = make_rule(config, progress, hparams)
        params, opt_state = rule.update(state.params, grads, state.opt_state)
        average = state.average
        if config.average:
            # Before there is much to average, a long memory would mostly hold the first values.
            decay = jnp.minimum(hparams["average_decay"], (1 + done) / (10 + done))
            average = optax.incremental_update((params, statistics), average, 1 - decay)
        state = TrainState(state.epoch, params, statistics, opt_state, average)
        return state, learning_rate(config, progress, hparams)

    def stochastic_epoch(
        state: TrainState,
        hparams: Hparams,
        key: PRNGKeyArray,
        examples: Examples,
        size: Size = full_size,
    ) -> tuple[TrainState, Metrics]:
        count = len(examples)
        steps = steps_per_epoch(config, count)
        keys = streams(key)
        order = jax.random.permutation(jax.random.fold_in(keys.order, state.epoch), count)
        batches = order[: steps * config.batch_size].reshape(steps, config.micro_batches, -1)
        dropout = jax.random.fold_in(keys.dropout, state.epoch)
        weights = jnp.full(batches.shape[1:], 1 / config.batch_size)

        def step(state: TrainState, item: tuple[Array, Array]) -> tuple[TrainState, Metrics]:
            index, chosen = item
            here = keys._replace(dropout=jax.random.fold_in(dropout, index))
            loss, grads, statistics, hits = accumulated(
                state, hparams, examples, chosen, weights, here, size
            )
            state, rate = apply(state, hparams, grads, statistics, index, steps)
            return state, {"train_loss": loss, "train_accuracy": hits, "learning_rate": rate}

        state, metrics = lax.scan(step, state, (jnp.arange(steps), batches))
        return state._replace(epoch=state.epoch + 1), {
            "train_loss": jnp.mean(metrics["train_loss"]),
            "train_accuracy": jnp.mean(metrics["train_accuracy"]),
            "learning_rate": metrics["learning_rate"][-1],
        }

    def full_batch_epoch(
        state: TrainState,
        hparams: Hparams,
        key: PRNGKeyArray,
        examples: Examples,
        size: Size = full_size,
    ) -> tuple[TrainState, Metrics]:
        count = len(examples)
        indices, present = padded_batches(count, config.batch_size)
        keys = streams(key)
        keys = keys._replace(dropout=jax.random.fold_in(keys.dropout, state.epoch))
        loss, grads, statistics, hits = accumulated(
            state, hparams, examples, indices, present / count, keys, size
        )
        state, rate = apply(state, hparams, grads, statistics, jnp.zeros((), jnp.int32), 1)
        return state._replace(epoch=state.epoch + 1), {
            "train_loss": loss,
            "train_accuracy": hits,
            "learning_rate": rate,
        }

    def predict(state: TrainState, images: UInt8[Array, "n h w c"]) -> Float[Array, "n classes"]:
        count = images.shape[0]
        together = -(-min(EVALUATION_BATCH, count) // devices) * devices
        indices, _ = padded_batches(count, together)
        params, statistics = state.weights

        def view_logits(view: Array) -> Array:
            return forward(params, statistics, view, Mode())[0]

        def batch_logits(chosen: Array) -> Array:
            views, weights = TEST_TIME[config.tta](spread(images[chosen]))
            if len(views) == 1:
                return view_logits(views[0])
            return jnp.tensordot(weights, lax.map(view_logits, views), 1)

        return lax.map(batch_logits, indices).reshape(-1, task.num_classes)[:count]

    def score(logits: Array, labels: Array, hparams: Hparams) -> Metrics:
        return {
            "loss": jnp.mean(losses(logits, answers.targets(labels), hparams)),
            "accuracy": answers.accuracy(logits, labels),
        }

    def evaluate(state: TrainState, hparams: Hparams, examples: Examples) -> Metrics:
        count = len(examples)
        logits = predict(state, examples.images)
        return score(logits[:count], examples.labels[:count], hparams)

    epoch = full_batch_epoch if optimizer.full_batch else stochastic_epoch
    return Run(init, epoch, sizes(config, task), predict, score, evaluate)


def _check_augmentations(config: Config, task: Task) -> None:
    try:
        augment.check_channels(config.augment, task.image_shape[2])
    except ValueError as error:
        raise UsageError(f"--augment: {error}") from error


def _parts(model: Classifier) -> tuple[PyTree, PyTree]:
    _, *parts = nnx.split(model, nnx.Param, ...)
    params, statistics = parts
    return nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)
