"""Gradient descent and its momenta written out: one pure step on any pytree of parameters.

Every function is `(grads, state, params, *, learning_rate, ...) -> (updates, state)`, as `update`
in Optax's protocol is; `apply_updates` adds the updates to the parameters. The numbers may be
traced, so one compiled step serves a whole sweep of learning rates.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.ops.hyperparameters import Number

# Any pytree of arrays.
Params = TypeVar("Params")
State = TypeVar("State")


def init_velocity(params: Params) -> Params:
    """The velocity before the first step: zeros of the shapes and dtypes of params."""
    return jax.tree.map(jnp.zeros_like, params)


def apply_updates(params: Params, updates: Params) -> Params:
    """The params moved by the updates, in the dtypes of params.

    Args:
        params: any pytree of arrays.
        updates: what to add, of the structure and shapes of params.
    """
    return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)


def gradient_descent(
    grads: Params, state: State, params: Params | None = None, *, learning_rate: Number
) -> tuple[Params, State]:
    """One step against the gradient: W_new = W_old - learning_rate * dLoss/dW_old.

    Gradient descent and stochastic gradient descent (SGD) are this same update. What differs is
    the examples that the gradient is of: all of them, or a batch (or one) drawn at random.

    Args:
        grads: the gradient of the loss, any pytree of arrays.
        state: nothing to remember, so returned as given; pass ().
        params: not looked at.
        learning_rate: step length alpha, positive.

    Returns:
        The updates W_new - W_old, and state.

    References:
        Robbins and Monro 1951, "A stochastic approximation method".
    """
    return _against(grads, learning_rate), state


def momentum(
    grads: Params,
    velocity: Params,
    params: Params | None = None,
    *,
    learning_rate: Number,
    momentum: Number = 0.9,
) -> tuple[Params, Params]:
    """One heavy-ball step: V_new = momentum * V_old + dLoss/dW, W_new = W_old - alpha * V_new.

    The gradient enters whole (not times 1 - momentum), as in optax and PyTorch, so in the long
    run a constant gradient is followed at learning_rate / (1 - momentum).

    Args:
        grads: the gradient of the loss, any pytree of arrays.
        velocity: the decaying sum of past gradients; `init_velocity(params)` before the first.
        params: not looked at.
        learning_rate: step length alpha, positive.
        momentum: how much of the velocity is kept, in [0, 1); 0 is gradient descent.

    Returns:
        The updates W_new - W_old, and the new velocity in the dtypes of the old.

    References:
        Polyak 1964, "Some methods of speeding up the convergence of iteration methods".
    """
    velocity = _accumulate(velocity, grads, momentum)
    return _against(velocity, learning_rate), velocity


def nesterov(
    grads: Params,
    velocity: Params,
    params: Params | None = None,
    *,
    learning_rate: Number,
    momentum: Number = 0.9,
) -> tuple[Params, Params]:
    """One step of Nesterov's momentum: the heavy ball, looking one step of velocity ahead.

    V_new = momentum * V_old + dLoss/dW, W_new = W_old - alpha * (dLoss/dW + momentum * V_new).

    Args:
        grads: the gradient of the loss, any pytree of arrays.
        velocity: the decaying sum of past gradients; `init_velocity(params)` before the first.
        params: not looked at.
        learning_rate: step length alpha, positive.
        momentum: how much of the velocity is kept, in [0, 1); 0 is gradient descent.

    Returns:
        The updates W_new - W_old, and the new velocity in the dtypes of the old.

    References:
        Nesterov 1983, "A method of solving a convex programming problem"; in this form Sutskever
        et al. 2013, "On the importance of initialization and momentum in deep learning".
    """
    velocity = _accumulate(velocity, grads, momentum)
    ahead = jax.tree.map(lambda g, v: g + momentum * v, grads, velocity)
    return _against(ahead, learning_rate), velocity


def _accumulate(velocity: Params, grads: Params, momentum: Number) -> Params:
    return jax.tree.map(lambda v, g: (momentum * v + g).astype(v.dtype), velocity, grads)


def _against(direction: Params, learning_rate: Number) -> Params:
    return jax.tree.map(lambda d: -learning_rate * d, direction)


# The quintic polynomial whose slope at zero is as large as it can be while its iterates stay
# near 1 on (0, 1]: they do not converge, and the singular values end between about 0.5 and 1.5.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(
    matrix: Float[Array, "m n"], steps: int = 3, eps: float = 1e-7
) -> Float[Array, "m n"]:
    """About the nearest matrix of orthonormal rows (or columns): all singular values go near 1.

    Newton-Schulz iterations X <- a X + (b A + c A A) X with A = X X^T, from matrix / |matrix|.

    Args:
        matrix: of any shape and scale; one of zeros stays so.
        steps: iterations. Few leave small singular values small.
        eps: added to the norm that is divided by.

    References:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    rows, columns = matrix.shape
    a, b, c = _QUINTIC
    x = matrix / (jnp.linalg.norm(matrix) + eps)
    x = x.T if rows > columns else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if rows > columns else x


def normalized_muon(
    grads: Params,
    velocity: Params,
    params: Params,
    *,
    learning_rate: Number,
    momentum: Number = 0.6,
) -> tuple[Params, Params]:
    """One step of Muon with Nesterov's momentum, on kernels that keep their norm.

    V_new = momentum * V_old + dLoss/dW,
    W_new = sqrt(f) W_old / |W_old| - alpha * orthogonalize(dLoss/dW + momentum * V_new),
    where a kernel is a matrix of one row per filter; one of zeros is not rescaled. The size of the
    gradient does not matter.

    Args:
        grads: the gradient of the loss, of the structure and shapes of params.
        velocity: the decaying sum of past gradients; zeros before the first step.
        params: any pytree of kernels, the f filters along the last axis.
        learning_rate: step length alpha, positive; a kernel's norm is sqrt(f).
        momentum: how much of the velocity is kept, in [0, 1).

    Returns:
        The updates W_new - W_old, and the new velocity.

    References:
        Jordan 2024, `airbench94_muon.py` of github.com/KellerJordan/cifar10-airbench.
    """
    velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, grads)

    def move(kernel: Array, grad: Array, velocity: Array) -> Array:
        filters = kernel.shape[-1]
        direction = (grad + momentum * velocity).reshape(-1, filters)
        norm = jnp.linalg.norm(kernel)
        rescaled = kernel * (jnp.sqrt(filters) / jnp.where(norm > 0, norm, 1.0))
        step = learning_rate * orthogonalize(direction.T).T.reshape(kernel.shape)
        return rescaled - kernel - step

    return jax.tree.map(move, params, grads, velocity), velocity
