"""One step of training: a batch becomes a gradient, and a gradient an update.

Every function is pure and takes the `Setting` of its run first. Images are bytes up to `prepare`,
floats in [0, 1] while they are augmented, and normalized from there on.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from cnn_jax.models import Architecture, Mode, Structure, build_abstract, split_variables
from cnn_jax.models.layers import Normalization
from cnn_jax.ops import LOSSES, Number, apply_updates, augment
from cnn_jax.ops.hyperparameters import read_by
from cnn_jax.training.config import AUGMENT_PREFIX, Config
from cnn_jax.training.devices import BATCH_AXIS, constrain
from cnn_jax.training.optimizers import (
    OPTIMIZERS,
    averaged,
    by_group,
    clipped,
    lookahead,
    vector_rule,
    whitening_rate,
)
from cnn_jax.training.schedules import SCHEDULES, factor
from cnn_jax.training.task import Examples, Labeling, Size, Task, labeling, normalize, shrink
from cnn_jax.training.weights import Weights

TracedHparams = dict[str, Float[Array, ""]]


class Setting(NamedTuple):
    """What the functions of a run are made for; static.

    Attributes:
        config: the static choices.
        task: the shape of the problem.
        mesh: devices along whose axis `batch` batches are split, or None.
        start: the weights of another run to start from, or None.
    """

    config: Config
    task: Task
    mesh: Mesh | None
    start: Weights | None = None

    @property
    def labels(self) -> Labeling:
        """What labels mean here."""
        return labeling(self.config.loss, self.task.multi_label)


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


class Gradient(NamedTuple):
    """What a batch says.

    Attributes:
        loss: the weighted sum of its losses.
        grads: the gradient of that.
        statistics: running statistics after it.
        hits: the weighted sum of the answers that are right.
    """

    loss: Float[Array, ""]
    grads: PyTree
    statistics: PyTree
    hits: Float[Array, ""]


@lru_cache
def skeleton(
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    freeze: Sequence[str] = (),
) -> Structure:
    """The network for images of a shape, without arrays; what is frozen normalizes as in use."""
    model = build_abstract(architecture, image_shape, classes)
    for path, layer in nnx.iter_graph(model):
        if isinstance(layer, Normalization):
            layer.frozen = is_frozen(freeze, (*path, "norm", "mean"))
    return Structure.of(model)


def forward(
    setting: Setting,
    params: PyTree,
    statistics: PyTree,
    images: Float[Array, "n h w c"],
    mode: Mode,
) -> tuple[Float[Array, "n classes"], PyTree]:
    """The logits of normalized images, float32, and the statistics after them."""
    config, task = setting.config, setting.task
    if config.precision == "bfloat16":
        params, images = optax.tree.cast((params, images), jnp.bfloat16)
    shape = images.shape[1:]
    network = skeleton(config.architecture, shape, task.num_classes, config.freeze)
    model = network.merge(params, statistics, mode)
    logits = model(images, mode).astype(jnp.float32)
    return logits, split_variables(model)[1]


def losses(
    setting: Setting, logits: Float[Array, "n classes"], targets: Array, hparams: TracedHparams
) -> Float[Array, " n"]:
    """The loss of each example."""
    function = LOSSES[setting.config.loss]
    return function(logits, targets, **read_by(function, hparams))


def prepare(
    setting: Setting,
    batch: Examples,
    draws: Int[Array, " n"],
    epoch: Int[Array, ""],
    hparams: TracedHparams,
    key: PRNGKeyArray,
    size: Size,
) -> tuple[Float[Array, "n h w c"], Array]:
    """The images and targets of a batch, as the network is trained on them.

    Args:
        setting: of the run.
        batch: bytes and labels.
        draws: by which the augmentation of each of its examples is drawn.
        epoch: epochs done.
        hparams: the strengths of augmentations among them.
        key: of the augmentation, the same over the whole run.
        size: of the images in this epoch.
    """
    config, task, labels = setting.config, setting.task, setting.labels
    images, targets, white = batch.images, labels.targets(batch.labels), 255
    if config.augment:
        if augment.needs_soft_targets(config.augment):
            targets = labels.soft_targets(batch.labels, task.num_classes)
        images, targets = augment.apply(
            config.augment,
            key,
            images / 255,
            targets,
            indices=draws,
            epoch=epoch,
            numbers={
                name.removeprefix(AUGMENT_PREFIX): number
                for name, number in hparams.items()
                if name.startswith(AUGMENT_PREFIX)
            },
        )
        white = 1
    return normalize(task, shrink(images, size), white), targets


def gradient(
    setting: Setting,
    state: TrainState,
    hparams: TracedHparams,
    images: Float[Array, "n h w c"],
    targets: Array,
    labels: Array,
    weights: Float[Array, " n"],
    dropout_key: PRNGKeyArray,
    of_class: Float[Array, " classes"] | None = None,
) -> Gradient:
    """What a prepared batch says, its examples weighted; their losses by class too, if asked."""
    loss_weights = weights
    if of_class is not None:
        # Of a mixture, each class has its own weight.
        loss_weights *= of_class[targets] if targets.ndim == 1 else targets @ of_class

    def objective(params: PyTree) -> tuple:
        rate = hparams.get("dropout_rate", 0.0)
        mode = Mode(True, dropout_key, rate, split_batch=setting.mesh is not None)
        logits, statistics = forward(setting, params, state.statistics, images, mode)
        hits = jnp.sum(setting.labels.right(logits, labels) * weights)
        loss = jnp.sum(losses(setting, logits, targets, hparams) * loss_weights)
        return loss, (statistics, hits)

    (loss, (statistics, hits)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    return Gradient(loss, grads, statistics, hits)


def accumulate(
    setting: Setting,
    state: TrainState,
    hparams: TracedHparams,
    examples: Examples,
    indices: Int[Array, "parts n"],
    weights: Float[Array, "parts n"],
    augment_key: PRNGKeyArray,
    dropout_key: PRNGKeyArray,
    size: Size,
    of_class: Float[Array, " classes"] | None = None,
    draws: Int[Array, "parts n"] | None = None,
) -> Gradient:
    """What the micro-batches of an update say together; each sees the statistics of the last.

    The augmentation is drawn by `draws`, or by the examples' indices.
    """
    draws = indices if draws is None else draws

    def part(
        statistics: PyTree, chosen: Array, drawn: Array, weights: Array, key: PRNGKeyArray
    ) -> Gradient:
        batch = Examples(examples.images[chosen], examples.labels[chosen])
        batch = constrain(batch, setting.mesh, BATCH_AXIS)
        images, targets = prepare(setting, batch, drawn, state.epoch, hparams, augment_key, size)
        here = state._replace(statistics=statistics)
        return gradient(
            setting, here, hparams, images, targets, batch.labels, weights, key, of_class
        )

    if len(indices) == 1:
        return part(state.statistics, indices[0], draws[0], weights[0], dropout_key)

    def add(sums: Gradient, item: tuple) -> tuple[Gradient, None]:
        index, chosen, drawn, weights = item
        key = jax.random.fold_in(dropout_key, index)
        here = part(sums.statistics, chosen, drawn, weights, key)
        grads = jax.tree.map(jnp.add, sums.grads, here.grads)
        return Gradient(sums.loss + here.loss, grads, here.statistics, sums.hits + here.hits), None

    zero = jnp.zeros(())
    start = Gradient(zero, jax.tree.map(jnp.zeros_like, state.params), state.statistics, zero)
    sums, _ = lax.scan(add, start, (jnp.arange(len(indices)), indices, draws, weights))
    return sums


def update(
    setting: Setting,
    state: TrainState,
    hparams: TracedHparams,
    found: Gradient,
    done: Number,
    steps: int,
) -> TrainState:
    """The state after one update.

    Args:
        setting: of the run.
        state: before it.
        hparams: the numbers that the run reads.
        found: the gradient, and the statistics after the batch.
        done: updates done before.
        steps: updates of the whole run.
    """
    config = setting.config
    # Whole on every device: where a batch is split, gradients are summed.
    grads, statistics = constrain((found.grads, found.statistics), setting.mesh, None)
    rule = make_optimizer(config, done / steps, 1 / steps, hparams)
    moves, opt_state = rule.update(grads, state.opt_state, state.params)
    params = apply_updates(state.params, moves)
    if config.freeze:
        statistics = jax.tree_util.tree_map_with_path(
            lambda path, new, old: old if is_frozen(config.freeze, path) else new,
            statistics,
            state.statistics,
        )
    average = state.average
    if config.average:
        average = averaged((params, statistics), average, done, **read_by(averaged, hparams))
    return TrainState(state.epoch, params, statistics, opt_state, average)


def learning_rate(
    config: Config, progress: Number, one_step: Number, hparams: TracedHparams
) -> Number:
    """That of the kernels in the step that begins at a progress of training in [0, 1]."""
    schedule = SCHEDULES[config.schedule]
    numbers = read_by(schedule, hparams)
    return hparams["learning_rate"] * factor(schedule, progress, one_step, **numbers)


def constant_rate(config: Config, hparams: Mapping[str, float]) -> bool:
    """Whether the learning rate is the same throughout: the length of a run then is no matter."""
    if config.whitening_group:
        return False
    numbers = {name: jnp.float32(value) for name, value in hparams.items()}
    rates = {
        float(learning_rate(config, jnp.float32(t), 0.0, numbers)) for t in (0, 0.3, 0.5, 0.8, 1)
    }
    return len(rates) == 1


def make_optimizer(
    config: Config, progress: Number, one_step: Number, hparams: TracedHparams
) -> optax.GradientTransformation:
    """How parameters move in the step that begins at a progress of training in [0, 1].

    Groups, where the config asks for them: kernels (two or more dimensions), vectors (biases and
    normalization), and the whitening's bias, which has the whole schedule in the first
    `whitening_fraction` of training and is frozen after it. What the config freezes stays.
    """
    build = OPTIMIZERS[config.optimizer].build
    numbers = read_by(build, hparams)
    rate = learning_rate(config, progress, one_step, hparams)
    rules = {"kernels": build(rate, **numbers)}
    if config.freeze:
        rules["frozen"] = optax.set_to_zero()
    if config.bias_group or config.whitening_group:
        own = read_by(vector_rule, hparams)
        rules["vectors"] = vector_rule(build, rate, numbers, **own)
        if config.whitening_group:
            early = whitening_rate(
                lambda t, one_step: learning_rate(config, t, one_step, hparams),
                progress,
                one_step,
                **read_by(whitening_rate, hparams),
            )
            rules["whitening"] = vector_rule(build, early, numbers, **own)
    rule = rules["kernels"]
    if len(rules) > 1:
        rule = by_group(rules, partial(_group, rules, config.freeze))
    if config.lookahead:
        rule = lookahead(rule, **read_by(lookahead, hparams))
    if config.clip:
        rule = clipped(rule, **read_by(clipped, hparams))
        if config.freeze:
            # What stays has no part in how long the gradient is.
            stays = partial(jax.tree_util.tree_map_with_path, partial(_stays, config.freeze))
            rule = optax.chain(optax.masked(optax.set_to_zero(), stays), rule)
    return rule


def _stays(freeze: Sequence[str], path: Any, parameter: Array) -> bool:
    return is_frozen(freeze, path)


def _group(groups: dict[str, Any], freeze: Sequence[str], path: Any, parameter: Array) -> str:
    if is_frozen(freeze, path):
        return "frozen"
    if "whitening" in groups and layer_names(path)[0] == "whitening":
        return "whitening"
    if "vectors" not in groups:
        return "kernels"
    return "vectors" if parameter.ndim < 2 else "kernels"


def layer_names(path: Any) -> list[str]:
    """The names by which a layer is meant that holds an array: block1_1, block1_1.body, ..."""
    words = [str(getattr(key, "key", key)) for key in path]
    words = words[1:] if words[:1] == ["network"] else words
    words = words[1:] if words[:1] == ["module"] else words
    return [".".join(words[:length]) for length in range(1, len(words) + 1)]


def is_frozen(patterns: Sequence[str], path: Any) -> bool:
    """Whether one of the patterns is of a layer that holds an array."""
    return any(fnmatchcase(name, pattern) for name in layer_names(path) for pattern in patterns)
