"""Activation functions: what a neuron does to its weighted sum of inputs.

All are pure and, softmax apart, elementwise; they keep the shape and the dtype, let NaN through
(a diverged run must stay visible) and have finite derivatives at any finite float32 or bfloat16
input that does not itself overflow the result.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# The fixed point of Klambauer et al. 2017 (arXiv:1706.02515), equation 14.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Identity, also called linear: x itself, to show what a non-linearity brings."""
    return x


def step(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Heaviside step: 1 where x >= 0, so at 0 too, else 0.

    Its plain derivative is zero everywhere (undefined at 0), so gradient descent would never move
    a weight below it. Differentiating this function therefore gives a surrogate instead,
    1 / (1 + |x|)^2: the derivative of the fast sigmoid x / (1 + |x|), largest (1) at the threshold
    and nowhere zero, so that no unit is lost for good.

    References:
        Bengio et al. 2013, arXiv:1308.3432 (straight-through estimators, after Hinton 2012);
        Neftci et al. 2019, arXiv:1901.09948 (surrogate gradients);
        Zenke and Ganguli 2018, arXiv:1705.11146 (this surrogate).
    """
    return _step(x)


_step = jax.custom_jvp(lambda x: jnp.heaviside(x, 1))
_step.defjvps(lambda tangent, _, x: tangent / jnp.square(1 + jnp.abs(x)))


def sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Sigmoid 1 / (1 + exp(-x)), in [0, 1]: a probability for each logit (multi-label)."""
    return lax.logistic(x)


def tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Hyperbolic tangent, in [-1, 1]: a sigmoid centered on zero, 2 sigmoid(2x) - 1."""
    return jnp.tanh(x)


def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Rectified linear unit: max(0, x), with derivative 0 at 0.

    References:
        Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return jnp.where(x <= 0, 0, x)


def prelu(x: Float[Array, "..."], slope: Float[Array, "..."]) -> Float[Array, "..."]:
    """Parametric ReLU: x where x >= 0, else slope * x: a leaky ReLU whose slope is learned.

    Args:
        x: any shape; the derivative at 0 is 1.
        slope: a scalar, or one slope per channel (broadcast over the leading axes of x).

    Returns:
        The shape of x.

    References:
        He et al. 2015, arXiv:1502.01852, equation 1.
    """
    return jnp.where(x >= 0, x, slope * x)


def leaky_relu(x: Float[Array, "..."], negative_slope: float = 0.01) -> Float[Array, "..."]:
    """Leaky ReLU: x where x >= 0, else negative_slope * x; the derivative at 0 is 1.

    References:
        Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """
    return jnp.where(x >= 0, x, negative_slope * x)


def elu(x: Float[Array, "..."], alpha: float = 1.0) -> Float[Array, "..."]:
    """Exponential linear unit: x where x > 0, else alpha (exp(x) - 1); derivative alpha at 0.

    References:
        Clevert et al. 2016, arXiv:1511.07289.
    """
    # The discarded branch must not overflow: its gradient would be 0 * inf.
    below = jnp.where(x > 0, 0, x)
    return jnp.where(x > 0, x, alpha * jnp.expm1(below))


def selu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Scaled ELU, whose constants keep mean 0 and variance 1 from layer to layer.

    References:
        Klambauer et al. 2017, arXiv:1706.02515, equation 2.
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Gaussian error linear unit: x * Phi(x), Phi the standard normal distribution, exactly by erf.

    The tanh approximation differs by up to 5e-4 (`jax.nn.gelu` takes it unless told otherwise).

    References:
        Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    return x * (0.5 + 0.5 * lax.erf(x * math.sqrt(0.5)))


def silu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Sigmoid linear unit: x * sigmoid(x), also called swish.

    References:
        Elfwing et al. 2018, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941.
    """
    return x * lax.logistic(x)


def softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Softplus log(1 + exp(x)): a smooth ReLU; at -x it is -log sigmoid(x), with no overflow.

    References:
        Dugas et al. 2001, "Incorporating second-order functional knowledge".
    """
    return _softplus(x)


_softplus = jax.custom_jvp(lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))))
# The derivative of the stable form has a tie at 0, and costs three times this one.
_softplus.defjvps(lambda tangent, _, x: tangent * lax.logistic(x))


def mish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Mish x * tanh(softplus(x)), computed as x * n / (n + 2) with n = exp(x) * (exp(x) + 2).

    References:
        Misra 2020, arXiv:1908.08681.
    """
    # The ratio needs one exp, and is several times faster. From 20 on it is 1 to the last digit.
    e = jnp.exp(jnp.minimum(x, 20))
    n = e * (e + 2)
    return x * (n / (n + 2))


def hard_swish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Hard swish x * clip(x + 3, 0, 6) / 6: the silu in straight lines, cheap where exp is not.

    References:
        Howard et al. 2019, arXiv:1905.02244.
    """
    return x * (jnp.clip(x + 3, 0, 6) / 6)


def softmax(logits: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Softmax: exp(logits) over its sum along an axis: one probability distribution (multi-class).

    Args:
        logits: any shape.
        axis: the axis of the classes.

    Returns:
        The shape of logits; in [0, 1], summing to one along the axis. A constant added to all
        logits of an example changes nothing, which is why the maximum may be taken off first.
    """
    shifted = logits - lax.stop_gradient(jnp.max(logits, axis=axis, keepdims=True))
    unnormalized = jnp.exp(shifted)
    return unnormalized / jnp.sum(unnormalized, axis=axis, keepdims=True)


class ParametricActivation(NamedTuple):
    """An activation (x, slope) -> y with a learned slope, and the value the slope starts from."""

    function: Callable[[Array, Array], Array]
    initial: float


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": elu,
    "gelu": gelu,
    "hard_swish": hard_swish,
    "identity": identity,
    "leaky_relu": leaky_relu,
    "mish": mish,
    "relu": relu,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "step": step,
    "tanh": tanh,
}

PARAMETRIC_ACTIVATIONS: dict[str, ParametricActivation] = {
    "prelu": ParametricActivation(prelu, initial=0.25)
}

OUTPUT_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"sigmoid": sigmoid, "softmax": softmax}
