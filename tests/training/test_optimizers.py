"""Every optimizer against Optax's of that name, its numbers traced and vmapped as in a sweep."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import PyTree

from cnn_jax.ops.hyperparameters import declared
from cnn_jax.training import OPTIMIZERS
from cnn_jax.training.optimizers import by_group, lookahead

# None of them a default, so that a number which is not passed on shows.
NUMBERS = {
    "b1": 0.8,
    "b2": 0.95,
    "epsilon": 1e-4,
    "momentum": 0.7,
    "muon_momentum": 0.5,
    "sgd_rate": 2.0,
    "weight_decay": 0.03,
}
RATES = (0.001, 0.1)
STEPS = 4

ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-4}


def with_l2(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(0.03), optimizer)


EXPECTED: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "adabelief": lambda rate: optax.adabelief(rate, **ADAM),
    "adafactor": lambda rate: optax.adafactor(rate),
    "adagrad": lambda rate: optax.adagrad(rate, eps=1e-4),
    "adam": lambda rate: optax.adam(rate, **ADAM),
    "adamax": lambda rate: optax.adamax(rate, **ADAM),
    "adamw": lambda rate: optax.adamw(rate, **ADAM, weight_decay=0.03),
    "gradient_descent": lambda rate: with_l2(optax.sgd(rate)),
    "lamb": lambda rate: optax.lamb(rate, **ADAM, weight_decay=0.03),
    "lion": lambda rate: optax.lion(rate, b1=0.8, b2=0.95, weight_decay=0.03),
    "momentum": lambda rate: with_l2(optax.sgd(rate, momentum=0.7)),
    "muon": lambda rate: optax.contrib.muon(
        rate, beta=0.7, weight_decay=0.03, adam_weight_decay=0.03
    ),
    # What it does to kernels of convolutions has a test of its own.
    "muon_sgd": lambda rate: with_l2(optax.sgd(2 * rate, momentum=0.7, nesterov=True)),
    "nadam": lambda rate: optax.nadam(rate, **ADAM),
    "nesterov": lambda rate: with_l2(optax.sgd(rate, momentum=0.7, nesterov=True)),
    "radam": lambda rate: optax.radam(rate, **ADAM),
    "rmsprop": lambda rate: optax.rmsprop(rate, decay=0.95, eps=1e-4),
    "sgd": lambda rate: with_l2(optax.sgd(rate)),
    "yogi": lambda rate: optax.yogi(rate, **ADAM),
}


def start() -> dict[str, np.ndarray]:
    """A matrix large enough for adafactor to factor, and a vector."""
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.normal(size=(128, 130)).astype(np.float32),
        "bias": rng.normal(size=3).astype(np.float32),
    }


def loss(params: dict) -> jax.Array:
    """A quadratic of condition 10."""
    curvature = jnp.linspace(0.1, 1, 130)
    return 0.5 * jnp.sum(curvature * params["kernel"] ** 2) + 0.5 * jnp.sum(params["bias"] ** 2)


def test_every_optimizer_is_compared():
    assert EXPECTED.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_rule_is_that_of_optax(name: str):
    build = OPTIMIZERS[name].build
    read = declared(build)
    assert all(read[number].default != NUMBERS[number] for number in read)

    def ours(rate: jax.Array, numbers: dict) -> dict:
        def step(carry: tuple, _: None) -> tuple:
            # Built anew in every step, as in training.
            return moved(build(rate, **numbers), *carry), None

        state = build(rate, **numbers).init(start())
        return jax.lax.scan(step, (start(), state), length=STEPS)[0][0]

    def theirs(rate: float) -> dict:
        optimizer = EXPECTED[name](rate)

        def step(carry: tuple, _: None) -> tuple:
            params, state = carry
            moves, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, moves), state), None

        return jax.lax.scan(step, (start(), optimizer.init(start())), length=STEPS)[0][0]

    traced = {number: jnp.float32(NUMBERS[number]) for number in read}
    swept, expected = jax.jit(
        lambda numbers: (jax.vmap(ours, (0, None))(jnp.asarray(RATES), numbers), theirs(RATES[1]))
    )(traced)
    for leaf, wanted in expected.items():
        np.testing.assert_allclose(swept[leaf][1], wanted, rtol=1e-4, atol=1e-5)
        assert not np.allclose(swept[leaf][0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_defaults_descend(name: str):
    optimizer = OPTIMIZERS[name]
    rule = optimizer.build(optimizer.learning_rate)

    def step(carry: tuple, _: None) -> tuple:
        return moved(rule, *carry), loss(carry[0])

    @jax.jit
    def descend(params: dict) -> tuple:
        (params, _), losses = jax.lax.scan(step, (params, rule.init(params)), length=20)
        return losses, loss(params)

    losses, last = descend(start())
    assert last < losses[0]
    assert np.mean(np.diff(losses) < 0) > 0.8


def test_one_optimizer_takes_the_whole_training_set():
    assert [name for name, rule in OPTIMIZERS.items() if rule.full_batch] == ["gradient_descent"]


def moved(rule: optax.GradientTransformation, params: PyTree, state: PyTree) -> tuple:
    """Parameters and state after one step."""
    moves, state = rule.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, moves), state


def descend(rule: optax.GradientTransformation, steps: int = 7) -> dict:
    """The parameters after some steps."""

    def step(carry: tuple, _: None) -> tuple:
        return moved(rule, *carry), None

    return jax.jit(lambda: jax.lax.scan(step, (start(), rule.init(start())), length=steps)[0][0])()


def descend_with_optax(optimizer: optax.GradientTransformation, params: PyTree, steps: int = 7):
    """The same with an optimizer of Optax."""
    state = optimizer.init(params)
    for _ in range(steps):
        moves, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, moves)
    return params


def test_muon_takes_a_kernel_as_a_matrix_of_its_filters():
    rule = OPTIMIZERS["muon"].build(0.1, momentum=0.7)
    flat, grad = np.random.default_rng(0).normal(size=(2, 36, 5)).astype(np.float32)
    moved = []
    for shape in ((36, 5), (3, 3, 4, 5)):
        params, grads = ({"kernel": array.reshape(shape)} for array in (flat, grad))
        moves, _ = rule.update(grads, rule.init(params), params)
        params = optax.apply_updates(params, moves)
        moved.append(np.asarray(params["kernel"]).reshape(36, 5))
    np.testing.assert_allclose(moved[1], moved[0], atol=1e-6)
    assert not np.allclose(moved[0], flat, atol=1e-3)


def test_biases_may_have_a_rule_of_their_own():
    build = OPTIMIZERS["adamw"].build
    rules = {"kernel": build(0.1, weight_decay=0.2), "bias": build(0.3, weight_decay=0.0)}
    ours = descend(by_group(rules, lambda path, leaf: "kernel" if leaf.ndim >= 2 else "bias"))
    theirs = descend_with_optax(
        optax.multi_transform(
            {
                "kernel": optax.adamw(0.1, weight_decay=0.2),
                "vector": optax.adamw(0.3, weight_decay=0.0),
            },
            jax.tree.map(lambda leaf: "kernel" if leaf.ndim >= 2 else "vector", start()),
        ),
        start(),
    )
    assert {leaf.ndim >= 2 for leaf in start().values()} == {True, False}
    for name, leaf in theirs.items():
        np.testing.assert_allclose(ours[name], leaf, rtol=1e-5, atol=1e-6)


def test_lookahead_is_that_of_optax():
    ours = descend(
        lookahead(OPTIMIZERS["sgd"].build(0.1), lookahead_period=3.0, lookahead_step=0.4), steps=8
    )
    optimizer = optax.lookahead(optax.sgd(0.1), 3, 0.4)
    params = optax.LookaheadParams.init_synced(start())
    state = optimizer.init(params)
    for _ in range(8):
        moves, state = optimizer.update(jax.grad(loss)(params.fast), state, params)
        params = optax.apply_updates(params, moves)
    for name, leaf in params.fast.items():
        np.testing.assert_allclose(ours[name], leaf, rtol=1e-5, atol=1e-6)
