"""How kernels begin: draws that keep the size of what passes through, by the activation's gain."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_jax.ops import ACTIVATIONS, PARAMETRIC_ACTIVATIONS

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(200)


def gain(activation: str) -> float:
    """How much larger than for the identity the kernels before an activation must be.

    A layer keeps the mean square of what passes through it if its kernel's deviation is LeCun's
    (1 / sqrt(inputs)) times 1 / sqrt(E[f(z)^2]), z standard normal: the square root of 2 for ReLU
    (He et al. 2015), 1 for the identity, 1.6 for tanh.

    Args:
        activation: a key of `ACTIVATIONS` or `PARAMETRIC_ACTIVATIONS`, with its initial slope.
    """
    with jax.ensure_compile_time_eval():
        z = jnp.asarray(_NODES, jnp.float32)
        if activation in PARAMETRIC_ACTIVATIONS:
            found = PARAMETRIC_ACTIVATIONS[activation]
            values = found.function(z, jnp.float32(found.initial))
        else:
            values = ACTIVATIONS[activation](z)
        squares = np.asarray(values, float) ** 2
    return float((squares @ _WEIGHTS / _WEIGHTS.sum()) ** -0.5)


INITIALIZATIONS: dict[str, Callable[[str], nnx.Initializer]] = {
    "auto": lambda activation: nnx.initializers.variance_scaling(
        gain(activation) ** 2, "fan_in", "truncated_normal"
    ),
    "glorot": lambda activation: nnx.initializers.glorot_normal(),
    "he": lambda activation: nnx.initializers.he_normal(),
    "lecun": lambda activation: nnx.initializers.lecun_normal(),
    "orthogonal": lambda activation: nnx.initializers.orthogonal(gain(activation)),
}
