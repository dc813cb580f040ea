"""Optimizers by name: our pure updates and Optax's, behind one signature.

`build(learning_rate, **hyperparameters)` gives a `Rule`: pure functions `init(params) -> state` and
`update(params, grads, state) -> (params, state)`. A rule is built anew inside every compiled step,
from that step's learning rate and the traced hyperparameters, so its state holds neither. The
keyword arguments of `build` are the hyperparameters that the optimizer reads, their defaults its
own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from cnn_jax.ops import updates
from cnn_jax.ops.updates import normalized_muon

Number = Float[Array, ""] | float


class Rule(NamedTuple):
    """How parameters start to be remembered, and how they move."""

    init: Callable[[PyTree], Any]
    update: Callable[[PyTree, PyTree, Any], tuple[PyTree, Any]]


class Optimizer(NamedTuple):
    """How to build a rule, and the peak learning rate that suits most small networks.

    `full_batch` marks the optimizer whose gradient is of the whole training set.
    """

    build: Callable[..., Rule]
    learning_rate: float
    full_batch: bool = False


def _with_l2(grads: PyTree, params: PyTree, weight_decay: Number) -> PyTree:
    """The gradient of the loss plus weight_decay / 2 times the squared norm of the parameters."""
    return jax.tree.map(lambda g, p: g + weight_decay * p, grads, params)


def _gradient_descent(learning_rate: Number, *, weight_decay: Number = 0.0) -> Rule:
    def update(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        grads = _with_l2(grads, params, weight_decay)
        return updates.gradient_descent(params, grads, state, learning_rate=learning_rate)

    return Rule(lambda params: (), update)


def _with_velocity(
    step: Callable[..., tuple[PyTree, PyTree]],
    learning_rate: Number,
    *,
    momentum: Number = 0.9,
    weight_decay: Number = 0.0,
) -> Rule:
    def update(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        grads = _with_l2(grads, params, weight_decay)
        return step(params, grads, state, learning_rate=learning_rate, momentum=momentum)

    return Rule(updates.init_velocity, update)


def _from_optax(transformation: optax.GradientTransformation) -> Rule:
    def update(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        moves, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    return Rule(transformation.init, update)


def _adam_like(
    transformation: Callable[..., optax.GradientTransformation],
    learning_rate: Number,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    epsilon: Number = 1e-8,
) -> Rule:
    return _from_optax(transformation(learning_rate, b1=b1, b2=b2, eps=epsilon))


def _adamw(
    learning_rate: Number,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    epsilon: Number = 1e-8,
    weight_decay: Number = 1e-2,
) -> Rule:
    return _from_optax(
        optax.adamw(learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay)
    )


def _lamb(
    learning_rate: Number,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    epsilon: Number = 1e-6,
    weight_decay: Number = 0.0,
) -> Rule:
    return _from_optax(
        optax.lamb(learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay)
    )


def _lion(
    learning_rate: Number, *, b1: Number = 0.9, b2: Number = 0.99, weight_decay: Number = 1e-3
) -> Rule:
    return _from_optax(optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay))


def _rmsprop(learning_rate: Number, *, b2: Number = 0.9, epsilon: Number = 1e-8) -> Rule:
    return _from_optax(optax.rmsprop(learning_rate, decay=b2, eps=epsilon))


def _adagrad(learning_rate: Number, *, epsilon: Number = 1e-7) -> Rule:
    return _from_optax(optax.adagrad(learning_rate, eps=epsilon))


def _adafactor(learning_rate: Number) -> Rule:
    return _from_optax(optax.adafactor(learning_rate))


def _muon(learning_rate: Number, *, momentum: Number = 0.95, weight_decay: Number = 0.0) -> Rule:
    """Muon on kernels, as matrices of one column per filter or neuron; Adam on vectors."""

    def matrices(params: PyTree) -> PyTree:
        dimensions = optax.contrib.MuonDimensionNumbers
        return jax.tree.map(
            lambda leaf: dimensions(tuple(range(leaf.ndim - 1)), -1) if leaf.ndim >= 2 else None,
            params,
        )

    return _from_optax(
        optax.contrib.muon(
            learning_rate,
            beta=momentum,
            weight_decay=weight_decay,
            muon_weight_dimension_numbers=matrices,
        )
    )


def _muon_sgd(
    learning_rate: Number,
    *,
    muon_momentum: Number = 0.6,
    sgd_rate: Number = 1.0,
    momentum: Number = 0.85,
    weight_decay: Number = 0.0,
) -> Rule:
    """Muon on the kernels of convolutions, which keep their norm; Nesterov's momentum on the rest.

    The rest's learning rate is `sgd_rate` times theirs, and weight decay is for the rest only.
    """

    def muon(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        return normalized_muon(
            params, grads, state, learning_rate=learning_rate, momentum=muon_momentum
        )

    rest = _with_velocity(
        updates.nesterov, learning_rate * sgd_rate, momentum=momentum, weight_decay=weight_decay
    )
    rules = {"convolutions": Rule(updates.init_velocity, muon), "rest": rest}
    return by_group(rules, lambda path, leaf: "convolutions" if leaf.ndim == 4 else "rest")


def by_group(rules: dict[str, Rule], group: Callable[[str, Array], str]) -> Rule:
    """A rule for each group of parameters.

    Args:
        rules: by the name of the group.
        group: of the path and the array of a parameter, the name of its group.
    """

    def parts(params: PyTree) -> dict[str, dict[str, Array]]:
        found: dict[str, dict[str, Array]] = {name: {} for name in rules}
        for path, leaf in _leaves(params).items():
            found[group(path, leaf)][path] = leaf
        return found

    def update(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        moved: dict[str, Array] = {}
        states = {}
        gradient = _leaves(grads)
        for name, part in parts(params).items():
            part_grads = {path: gradient[path] for path in part}
            part, states[name] = rules[name].update(part, part_grads, state[name])
            moved |= part
        leaves = [moved[path] for path in _leaves(params)]
        return jax.tree.unflatten(jax.tree.structure(params), leaves), states

    def init(params: PyTree) -> Any:
        return {name: rules[name].init(part) for name, part in parts(params).items()}

    return Rule(init, update)


def lookahead(rule: Rule, *, lookahead_period: Number = 5.0, lookahead_step: Number = 0.5) -> Rule:
    """Every `lookahead_period` steps the slow parameters move towards the fast ones, which follow.

    slow <- slow + lookahead_step * (fast - slow); fast <- slow (Zhang et al. 2019, algorithm 1).
    """

    def init(params: PyTree) -> Any:
        return rule.init(params), jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32)

    def update(params: PyTree, grads: PyTree, state: Any) -> tuple[PyTree, Any]:
        inner, slow, count = state
        params, inner = rule.update(params, grads, inner)
        count = count + 1
        due = count % jnp.asarray(lookahead_period, jnp.int32) == 0
        slow = jax.tree.map(
            lambda s, f: jnp.where(due, s + lookahead_step * (f - s), s), slow, params
        )
        params = jax.tree.map(lambda s, f: jnp.where(due, s, f), slow, params)
        return params, (inner, slow, count)

    return Rule(init, update)


def _leaves(tree: PyTree) -> dict[str, Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


OPTIMIZERS: dict[str, Optimizer] = {
    "adabelief": Optimizer(partial(_adam_like, optax.adabelief), 1e-3),
    "adafactor": Optimizer(_adafactor, 1e-2),
    "adagrad": Optimizer(_adagrad, 1e-2),
    "adam": Optimizer(partial(_adam_like, optax.adam), 1e-3),
    "adamax": Optimizer(partial(_adam_like, optax.adamax), 2e-3),
    "adamw": Optimizer(_adamw, 1e-3),
    "gradient_descent": Optimizer(_gradient_descent, 0.1, full_batch=True),
    "lamb": Optimizer(_lamb, 3e-3),
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
