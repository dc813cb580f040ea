"""Muon on the kernels of convolutions: steps along orthogonalised momentum, at constant norm."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, ScalarLike

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
    params: PyTree,
    grads: PyTree,
    velocity: PyTree,
    *,
    learning_rate: ScalarLike,
    momentum: ScalarLike = 0.6,
) -> tuple[PyTree, PyTree]:
    """One step of Muon with Nesterov's momentum, on kernels that keep their norm.

    V_new = momentum * V_old + dLoss/dW,
    W_new = sqrt(f) W_old / |W_old| - alpha * orthogonalize(dLoss/dW + momentum * V_new),
    where a kernel is a matrix of one row per filter. The size of the gradient does not matter.

    Args:
        params: any pytree of kernels, the f filters along the last axis.
        grads: the gradient of the loss, of the structure and shapes of params.
        velocity: the decaying sum of past gradients; zeros before the first step.
        learning_rate: step length alpha, positive; a kernel's norm is sqrt(f).
        momentum: how much of the velocity is kept, in [0, 1).

    Returns:
        The new params and velocity.

    References:
        Jordan 2024, `airbench94_muon.py` of github.com/KellerJordan/cifar10-airbench.
    """
    velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, grads)

    def move(kernel: Array, grad: Array, velocity: Array) -> Array:
        filters = kernel.shape[-1]
        direction = (grad + momentum * velocity).reshape(-1, filters)
        kernel = kernel * (jnp.sqrt(filters) / jnp.linalg.norm(kernel))
        return kernel - learning_rate * orthogonalize(direction.T).T.reshape(kernel.shape)

    return jax.tree.map(move, params, grads, velocity), velocity
