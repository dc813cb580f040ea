"""Ways down a loss: gradient descent at several learning rates, and stochastic gradient descent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, ScalarLike

from cnn_jax.ops import activations, dense, losses, updates

Loss = Callable[[Float[Array, "2"]], Float[Array, ""]]

# How sharply the valley bends along its two directions.
CURVATURES = (1.0, 10.0)
# The weights that the labels of `noisy_examples` are drawn with.
TRUE_WEIGHTS = (2.0, -1.0)


def valley(weights: Float[Array, "2"]) -> Float[Array, ""]:
    """A loss of two weights that is steep along one and flat along the other, least at (0, 0)."""
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * weights**2)


def descend(
    loss: Loss, start: Float[Array, "2"], learning_rate: ScalarLike, steps: int
) -> Float[Array, "s 2"]:
    """The weights before the first and after each step of gradient descent."""

    def step(weights: Array, _: None) -> tuple[Array, Array]:
        grads = jax.grad(loss)(weights)
        new = updates.gradient_descent(weights, grads, (), learning_rate=learning_rate)[0]
        return new, new

    _, visited = lax.scan(step, start, length=steps)
    return jnp.concatenate([start[None], visited])


def descend_by_example(
    loss: Callable[[Array, Array], Array],
    start: Float[Array, "2"],
    learning_rate: ScalarLike,
    order: Int[Array, " steps"],
) -> Float[Array, "s 2"]:
    """The weights before the first and after each step, each by the gradient of one example.

    Args:
        loss: of weights and the indices of the examples to take the mean over.
        start: the first weights.
        learning_rate: of all steps.
        order: the index of the example that each step looks at.
    """

    def step(weights: Array, index: Array) -> tuple[Array, Array]:
        grads = jax.grad(loss)(weights, index[None])
        new = updates.gradient_descent(weights, grads, (), learning_rate=learning_rate)[0]
        return new, new

    _, visited = lax.scan(step, start, order)
    return jnp.concatenate([start[None], visited])


def noisy_examples(
    key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "n 2"], Float[Array, "n 1"]]:
    """Points, and labels 0 or 1 that a neuron of `TRUE_WEIGHTS` gives them, by chance."""
    first, second = jax.random.split(key)
    points = jax.random.normal(first, (count, 2))
    probability = activations.sigmoid(points @ jnp.asarray(TRUE_WEIGHTS))
    labels = jax.random.bernoulli(second, probability).astype(jnp.float32)
    return points, labels[:, None]


def neuron_loss(
    points: Float[Array, "n 2"], labels: Float[Array, "n 1"]
) -> Callable[[Float[Array, "2"], Int[Array, " b"]], Float[Array, ""]]:
    """The mean binary cross-entropy of one neuron with two weights, over chosen examples."""

    def loss(weights: Array, chosen: Array) -> Array:
        logits = dense.dense(points[chosen], weights[:, None], jnp.zeros(1))
        return jnp.mean(losses.binary_cross_entropy(logits, labels[chosen]))

    return loss


def least(loss: Loss, start: Float[Array, "2"], steps: int = 20) -> Float[Array, "2"]:
    """The weights of the least loss, by Newton's method."""

    def step(weights: Array, _: None) -> tuple[Array, None]:
        return weights - jnp.linalg.solve(jax.hessian(loss)(weights), jax.grad(loss)(weights)), None

    return lax.scan(step, start, length=steps)[0]
