"""Optimizers by name: our pure updates and Optax's, behind Optax's own protocol.

`build(learning_rate, **hyperparameters)` gives an `optax.GradientTransformation`. It is built anew
inside every compiled step, from that step's learning rate and the traced hyperparameters, so its
state holds neither. The keyword arguments of `build` are the hyperparameters that the optimizer
reads, their defaults its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from cnn_jax.ops import Interval, Number, updates

Decay = Interval("[0, 1)")
FirstDecay = Annotated[
    Number, Decay, "decay of the mean of past gradients (Adam's family, lion, lamb)"
]
SecondDecay = Annotated[
    Number, Decay, "decay of the mean of past squared gradients (Adam's family, rmsprop)"
]
Epsilon = Annotated[Number, Interval("(0, inf)"), "added to the denominator of adaptive optimizers"]
Momentum = Annotated[Number, Decay, "decay of the velocity"]
WeightDecay = Annotated[
    Number,
    Interval("[0, inf)"),
    "decoupled in adamw, lamb, lion and muon; else the L2 penalty's gradient",
]


class Optimizer(NamedTuple):
    """How to build a transformation, and the peak learning rate that suits most small networks.

    `full_batch` marks the optimizer whose gradient is of the whole training set.
    """

    build: Callable[..., optax.GradientTransformation]
    learning_rate: float
    full_batch: bool = False


def _with_l2(weight_decay: Number, rule: optax.GradientTransformation) -> Any:
    """By the gradient of the loss plus weight_decay / 2 times the parameters' squared norm."""
    return optax.chain(optax.add_decayed_weights(weight_decay), rule)


def _gradient_descent(learning_rate: Number, *, weight_decay: WeightDecay = 0.0) -> Any:
    update = partial(updates.gradient_descent, learning_rate=learning_rate)
    return _with_l2(weight_decay, optax.GradientTransformation(lambda params: (), update))


def _with_velocity(
    step: Callable[..., tuple[PyTree, PyTree]],
    learning_rate: Number,
    *,
    momentum: Momentum = 0.9,
    weight_decay: WeightDecay = 0.0,
) -> Any:
    update = partial(step, learning_rate=learning_rate, momentum=momentum)
    return _with_l2(weight_decay, optax.GradientTransformation(updates.init_velocity, update))


def _adam_like(
    transformation: Callable[..., optax.GradientTransformation],
    learning_rate: Number,
    *,
    b1: FirstDecay = 0.9,
    b2: SecondDecay = 0.999,
    epsilon: Epsilon = 1e-8,
) -> Any:
    return transformation(learning_rate, b1=b1, b2=b2, eps=epsilon)


def _adam_with_decay(
    transformation: Callable[..., optax.GradientTransformation],
    learning_rate: Number,
    *,
    b1: FirstDecay = 0.9,
    b2: SecondDecay = 0.999,
    epsilon: Epsilon = 1e-8,
    weight_decay: WeightDecay = 1e-2,
) -> Any:
    return transformation(learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay)


def _lion(
    learning_rate: Number,
    *,
    b1: FirstDecay = 0.9,
    b2: SecondDecay = 0.99,
    weight_decay: WeightDecay = 1e-3,
) -> Any:
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)


def _rmsprop(learning_rate: Number, *, b2: SecondDecay = 0.9, epsilon: Epsilon = 1e-8) -> Any:
    return optax.rmsprop(learning_rate, decay=b2, eps=epsilon)


def _adagrad(learning_rate: Number, *, epsilon: Epsilon = 1e-7) -> Any:
    return optax.adagrad(learning_rate, eps=epsilon)


def _muon(
    learning_rate: Number, *, momentum: Momentum = 0.95, weight_decay: WeightDecay = 0.0
) -> Any:
    """Muon on kernels, as matrices of one column per filter or neuron; Adam on vectors."""

    def matrices(params: PyTree) -> PyTree:
        dimensions = optax.contrib.MuonDimensionNumbers
        return jax.tree.map(
            lambda leaf: dimensions(tuple(range(leaf.ndim - 1)), -1) if leaf.ndim >= 2 else None,
            params,
        )

    return optax.contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        adam_weight_decay=weight_decay,
        muon_weight_dimension_numbers=matrices,
    )


def _muon_sgd(
    learning_rate: Number,
    *,
    muon_momentum: Annotated[
        Number, Decay, "decay of the velocity of the kernels of convolutions in muon_sgd"
    ] = 0.6,
    sgd_rate: Annotated[
        Number,
        Interval("[0, inf)"),
        "learning rate of all but the kernels of convolutions in muon_sgd, as a factor of theirs",
    ] = 1.0,
    momentum: Momentum = 0.85,
    weight_decay: WeightDecay = 0.0,
) -> Any:
    """Muon on the kernels of convolutions, which keep their norm; Nesterov's momentum on the rest.

    The rest's learning rate is `sgd_rate` times theirs, and weight decay is for the rest only.
    """
    muon = partial(updates.normalized_muon, learning_rate=learning_rate, momentum=muon_momentum)
    rules = {
        "convolutions": optax.GradientTransformation(updates.init_velocity, muon),
        "rest": _with_velocity(
            updates.nesterov, learning_rate * sgd_rate, momentum=momentum, weight_decay=weight_decay
        ),
    }
    return by_group(rules, lambda path, leaf: "convolutions" if leaf.ndim == 4 else "rest")


def by_group(
    rules: dict[str, optax.GradientTransformation], group: Callable[[Any, Array], str]
) -> optax.GradientTransformation:
    """A transformation for each group of parameters.

    Args:
        rules: by the name of the group.
        group: of the path and the array of a parameter, the name of its group.
    """
    return optax.partition(rules, partial(jax.tree_util.tree_map_with_path, group))


def lookahead(
    rule: optax.GradientTransformation,
    *,
    lookahead_period: Annotated[
        Number, Interval("[1, inf)"), "steps after which slow parameters follow the optimizer's"
    ] = 5.0,
    lookahead_step: Annotated[
        Number, Interval("(0, 1]"), "how far the slow parameters follow, as a fraction of the way"
    ] = 0.5,
) -> optax.GradientTransformation:
    """Every `lookahead_period` steps the slow parameters move towards the fast ones, which follow.

    slow <- slow + lookahead_step * (fast - slow); fast <- slow (Zhang et al. 2019, algorithm 1).
    """

    def init(params: PyTree) -> Any:
        return rule.init(params), jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32)

    def update(grads: PyTree, state: Any, params: PyTree) -> tuple[PyTree, Any]:
        inner, slow, count = state
        moves, inner = rule.update(grads, inner, params)
        fast = updates.apply_updates(params, moves)
        count = count + 1
        due = count % jnp.asarray(lookahead_period, jnp.int32) == 0
        slow = jax.tree.map(
            lambda s, f: jnp.where(due, s + lookahead_step * (f - s), s), slow, fast
        )
        moves = jax.tree.map(lambda s, p, m: jnp.where(due, s - p, m), slow, params, moves)
        return moves, (inner, slow, count)

    return optax.GradientTransformation(init, update)


def clipped(
    rule: optax.GradientTransformation,
    *,
    clip_norm: Annotated[
        Number, Interval("(0, inf)"), "clip gradients to this global norm; not clipped if not given"
    ] = 1.0,
) -> optax.GradientTransformation:
    """The rule on gradients that are no longer than `clip_norm`."""
    return optax.chain(optax.clip_by_global_norm(clip_norm), rule)


def vector_rule(
    build: Callable[..., optax.GradientTransformation],
    learning_rate: Number,
    numbers: dict[str, Any],
    *,
    bias_rate: Annotated[
        Number,
        Interval("[0, inf)"),
        "learning rate of biases and normalization, as a factor of that of kernels",
    ] = 1.0,
    bias_decay: Annotated[
        Number,
        Interval("[0, inf)"),
        "weight decay of biases and normalization, as a factor of that of kernels",
    ] = 1.0,
) -> optax.GradientTransformation:
    """An optimizer's rule for biases and the vectors of normalization.

    Args:
        build: of the optimizer.
        learning_rate: of the kernels.
        numbers: the kernels' other hyperparameters.
        bias_rate: times the kernels' learning rate.
        bias_decay: times the kernels' weight decay, if the optimizer has one.
    """
    if "weight_decay" in numbers:
        numbers = numbers | {"weight_decay": numbers["weight_decay"] * bias_decay}
    return build(bias_rate * learning_rate, **numbers)


def whitening_rate(
    schedule: Callable[[Number, Number], Number],
    progress: Number,
    one_step: Number,
    *,
    whitening_fraction: Annotated[
        Number,
        Interval("(0, 1]"),
        "fraction of training in which airnet's whitening has a trained bias",
    ] = 1.0,
) -> Number:
    """The learning rate of a whitening's bias: the whole schedule in the beginning, then zero.

    Args:
        schedule: the learning rate by the progress of training, in [0, 1], and that of one step.
        progress: of the training.
        one_step: progress that one step makes.
        whitening_fraction: of training, after which the bias is frozen.
    """
    early = progress < whitening_fraction
    return jnp.where(
        early, schedule(progress / whitening_fraction, one_step / whitening_fraction), 0.0
    )


def averaged(
    new: PyTree,
    average: PyTree,
    steps: Number,
    *,
    average_decay: Annotated[
        Number,
        Interval("[0, 1)"),
        "evaluate a running average of the parameters, with this decay per step",
    ] = 0.999,
) -> PyTree:
    """The running average after one more step.

    Args:
        new: what is averaged, now; whole numbers are as they are now.
        average: before.
        steps: done before this one. Before there is much to average, a long memory would mostly
            hold the first values, so that the decay is at most (1 + steps) / (10 + steps).
        average_decay: what the average keeps of itself at each step.
    """
    decay = jnp.minimum(average_decay, (1 + steps) / (10 + steps))
    return jax.tree.map(
        lambda now, before: (
            optax.incremental_update(now, before, 1 - decay)
            if jnp.issubdtype(now.dtype, jnp.floating)
            else now
        ),
        new,
        average,
    )


OPTIMIZERS: dict[str, Optimizer] = {
    "adabelief": Optimizer(partial(_adam_like, optax.adabelief), 1e-3),
    "adafactor": Optimizer(optax.adafactor, 1e-2),
    "adagrad": Optimizer(_adagrad, 1e-2),
    "adam": Optimizer(partial(_adam_like, optax.adam), 1e-3),
    "adamax": Optimizer(partial(_adam_like, optax.adamax), 2e-3),
    "adamw": Optimizer(partial(_adam_with_decay, optax.adamw), 1e-3),
    "gradient_descent": Optimizer(_gradient_descent, 0.1, full_batch=True),
    "lamb": Optimizer(partial(_adam_with_decay, optax.lamb, epsilon=1e-6, weight_decay=0.0), 3e-3),
    "lion": Optimizer(_lion, 1e-4),
    "momentum": Optimizer(partial(_with_velocity, updates.momentum), 2e-2),
    "muon": Optimizer(_muon, 5e-3),
    "muon_sgd": Optimizer(_muon_sgd, 5e-2),
    "nadam": Optimizer(partial(_adam_like, optax.nadam), 1e-3),
    "nesterov": Optimizer(partial(_with_velocity, updates.nesterov), 2e-2),
    "radam": Optimizer(partial(_adam_like, optax.radam), 1e-3),
    "rmsprop": Optimizer(_rmsprop, 1e-3),
    "sgd": Optimizer(_gradient_descent, 0.1),
    "yogi": Optimizer(partial(_adam_like, optax.yogi), 1e-2),
}
