"""Classification losses: how wrong the logits of an example are.

Every loss of the registry is `(logits, targets, *, numbers) -> one value per example`, where

* logits are raw scores, `Float[Array, "*b c"]` with the c classes (or labels) last;
* targets are integer labels `Int[Array, "*b"]` in 0 .. c-1, or a float array of the shape of the
  logits: a distribution over the classes (one-hot or soft), or a multi-hot vector for the losses
  that treat each label by itself (binary_cross_entropy, hinge);
* the keyword numbers may be traced, so that one compiled program sweeps over them.

The forms are stable: values and gradients are finite and right at logits of +-1e4. They are
computed in the dtype of the logits: cast half-precision logits to float32 first. Targets of the
wrong type raise TypeError, of the wrong shape ValueError. The values of labels cannot be checked
under jit: a label outside 0 .. c-1 is a target of zeros.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from cnn_jax.ops.activations import relu, softmax, softplus
from cnn_jax.ops.hyperparameters import Interval, Number

Targets = Int[Array, "*b"] | Float[Array, "*b c"]
LabelSmoothing = Annotated[
    Number, Interval("[0, 1)"), "weight of the uniform distribution in the targets"
]
Margin = Annotated[Number, Interval("(0, inf)"), "of the hinge losses"]


def error(labels: Targets, probabilities: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """The plain error p - p_hat: actual minus predicted probability, in [-1, 1].

    It has a sign, so its mean can be zero for a bad model: a thing to look at, not to minimize.
    It is also minus the gradient of cross_entropy with respect to the logits.
    """
    return _target_rows(probabilities, labels) - probabilities


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> Float[Array, "..."]:
    """-(y log p + (1 - y) log(1 - p)) for each predicted probability, in nats.

    0 for a perfect prediction; -log(.011) = 4.51 where .011 was predicted for a true label. This
    is for looking at probabilities; `binary_cross_entropy` trains, as it sees the logits.

    Args:
        labels: y, 0 or 1 (or in between), of a shape that broadcasts with probabilities.
        probabilities: p in [0, 1]. Where the log of 0 would be taken, the smallest normal number
            is, so that the loss is at most 87.3 in float32.

    Returns:
        One value >= 0 per prediction; their sum is the loss of the model.
    """
    p = jnp.asarray(probabilities, dtype=jnp.result_type(float, probabilities))
    y = jnp.asarray(labels, dtype=p.dtype)
    tiny = jnp.finfo(p.dtype).tiny
    if_true, if_false = -jnp.log(jnp.maximum(p, tiny)), -jnp.log(jnp.maximum(1 - p, tiny))
    return y * if_true + (1 - y) * if_false


def absolute_error(logits: Float[Array, "*b c"], targets: Targets) -> Float[Array, "*b"]:
    """Sum over classes of |target - softmax(logits)|, in [0, 2].

    Robust to wrong labels, and slow to learn: its gradient vanishes where the model is sure,
    rightly or not.

    References:
        Ghosh et al. 2017, arXiv:1712.09482.
    """
    return jnp.sum(jnp.abs(error(targets, softmax(logits))), axis=-1)


def squared_error(logits: Float[Array, "*b c"], targets: Targets) -> Float[Array, "*b"]:
    """Sum over classes of (target - softmax(logits))^2, in [0, 2]: the Brier score.

    As with absolute_error, the gradient vanishes where the model is sure.

    References:
        Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    return jnp.sum(jnp.square(error(targets, softmax(logits))), axis=-1)


def binary_cross_entropy(
    logits: Float[Array, "*b c"], targets: Targets, *, label_smoothing: LabelSmoothing = 0.0
) -> Float[Array, "*b"]:
    """-sum_i (t_i log sigmoid(z_i) + (1 - t_i) log(1 - sigmoid(z_i))), summed over the c outputs.

    Args:
        logits: one per label.
        targets: multi-hot (multi-label); or integer labels, and then it is the one-versus-all
            use: c yes-no questions, of which exactly one has the answer yes.
        label_smoothing: in [0, 1]; each target moves that fraction of the way to 1/2.

    Returns:
        Nats per example, >= 0.
    """
    target = _target_rows(logits, targets)
    target = target + label_smoothing * (0.5 - target)
    return jnp.sum(target * softplus(-logits) + (1 - target) * softplus(logits), axis=-1)


def cross_entropy(
    logits: Float[Array, "*b c"], targets: Targets, *, label_smoothing: LabelSmoothing = 0.0
) -> Float[Array, "*b"]:
    """Categorical cross-entropy, -sum_i t_i log softmax(z)_i.

    Args:
        logits: one per class.
        targets: integer labels, or a distribution over the classes.
        label_smoothing: in [0, 1]; the target moves that fraction of the way to uniform
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    Returns:
        Nats per example, >= 0; log c for a model that knows nothing.
    """
    target = _smooth(_target_rows(logits, targets), label_smoothing)
    return jnp.sum(target * -jax.nn.log_softmax(logits), axis=-1)


def kl_divergence(
    logits: Float[Array, "*b c"], targets: Targets, *, label_smoothing: LabelSmoothing = 0.0
) -> Float[Array, "*b"]:
    """KL(target || softmax(logits)) = sum_i t_i (log t_i - log softmax(z)_i), with 0 log 0 = 0.

    It is cross_entropy less the entropy of the target: the same gradient, and the same value for
    hard labels; for soft ones it is 0 when the model is exactly right.

    Args:
        logits: one per class.
        targets: integer labels, or a distribution over the classes.
        label_smoothing: in [0, 1]; as in cross_entropy.

    Returns:
        Nats per example, >= 0.

    References:
        Kullback and Leibler 1951, "On information and sufficiency".
    """
    target = _smooth(_target_rows(logits, targets), label_smoothing)
    log_target = jnp.log(jnp.where(target > 0, target, 1))
    return jnp.sum(target * (log_target - jax.nn.log_softmax(logits)), axis=-1)


def focal(
    logits: Float[Array, "*b c"],
    targets: Targets,
    *,
    focal_gamma: Annotated[
        Number, Interval("[0, inf)"), "how much the focal loss turns from what is easy"
    ] = 2.0,
) -> Float[Array, "*b"]:
    """Cross-entropy where easy examples weigh little: -sum_i t_i (1 - p_i)^gamma log p_i.

    Args:
        logits: one per class; p = softmax(logits).
        targets: integer labels, or a distribution over the classes.
        focal_gamma: >= 0; 0 is cross_entropy.

    Returns:
        One value >= 0 per example.

    References:
        Lin et al. 2017, arXiv:1708.02002, equation 4 (there for two classes).
    """
    log_p = jax.nn.log_softmax(logits)
    # A power below one has an infinite slope at zero: 0 * inf would be the gradient there.
    miss = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)
    return jnp.sum(_target_rows(logits, targets) * miss**focal_gamma * -log_p, axis=-1)


def hinge(
    logits: Float[Array, "*b c"], targets: Targets, *, margin: Margin = 1.0
) -> Float[Array, "*b"]:
    """Binary hinge, one versus all: sum_i max(0, margin - y_i z_i), y_i = +1 or -1.

    Args:
        logits: one score per class, or per label.
        targets: integer labels (y = +1 for that class alone), or multi-hot; a soft target t gives
            the expectation over y = +1 with probability t.
        margin: >= 0; scores beyond it on the right side cost nothing.

    Returns:
        One value >= 0 per example.

    References:
        Rifkin and Klautau 2004, "In defense of one-vs-all classification".
    """
    target = _target_rows(logits, targets)
    return jnp.sum(target * relu(margin - logits) + (1 - target) * relu(margin + logits), axis=-1)


def crammer_singer(
    logits: Float[Array, "*b c"], targets: Targets, *, margin: Margin = 1.0
) -> Float[Array, "*b"]:
    """Multi-class hinge against the best rival: max(0, margin + max_{j != y} z_j - z_y).

    Args:
        logits: one score per class.
        targets: integer labels y; a soft target gives the expectation over y drawn from it.
        margin: >= 0; how far the true class must lead.

    Returns:
        One value >= 0 per example.

    References:
        Crammer and Singer 2001, "On the algorithmic implementation of multiclass kernel-based
        vector machines".
    """
    target = _target_rows(logits, targets)
    leads = _one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
    first = jnp.max(logits, axis=-1, keepdims=True)
    second = jnp.max(jnp.where(leads, -jnp.inf, logits), axis=-1, keepdims=True)
    rival = jnp.where(leads, second, first)
    return jnp.sum(target * relu(margin + (rival - logits)), axis=-1)


def weston_watkins(
    logits: Float[Array, "*b c"], targets: Targets, *, margin: Margin = 1.0
) -> Float[Array, "*b"]:
    """Multi-class hinge against every rival: sum_{j != y} max(0, margin + z_j - z_y).

    Args:
        logits: one score per class.
        targets: integer labels y; a soft target gives the expectation over y drawn from it, in
            time and memory c times as large.
        margin: >= 0; how far the true class must lead.

    Returns:
        One value >= 0 per example.

    References:
        Weston and Watkins 1999, "Support vector machines for multi-class pattern recognition".
    """
    target = _target_rows(logits, targets)
    if jnp.issubdtype(jnp.result_type(targets), jnp.integer):
        true_logits = jnp.sum(target * logits, axis=-1, keepdims=True)
        weights = jnp.sum(target, axis=-1, keepdims=True)
    else:
        true_logits, weights = logits, target
    gaps = logits[..., None, :] - true_logits[..., :, None]
    # Each sum holds the true class against itself, which costs the bare margin.
    return jnp.sum(weights * (jnp.sum(relu(margin + gaps), axis=-1) - margin), axis=-1)


def _target_rows(logits: Float[Array, "*b c"], targets: Targets) -> Float[Array, "*b c"]:
    """Targets as rows of c numbers, checked."""
    if not jnp.issubdtype(jnp.result_type(logits), jnp.floating):
        raise TypeError(f"logits must be floating point, got {jnp.result_type(logits)}")
    shape, dtype = jnp.shape(targets), jnp.result_type(targets)
    if jnp.issubdtype(dtype, jnp.integer):
        if shape != logits.shape[:-1]:
            raise ValueError(
                f"targets of {dtype} are class labels and must have shape {logits.shape[:-1]} for "
                f"logits of shape {logits.shape}, got {shape}; one-hot targets must be float"
            )
        return _one_hot(targets, logits.shape[-1]).astype(logits.dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"targets must be integer labels or a float distribution, got {dtype}")
    if shape != logits.shape:
        raise ValueError(
            f"targets of {dtype} are distributions and must have the shape of the logits, "
            f"{logits.shape}, got {shape}; class labels must be integers"
        )
    return jnp.asarray(targets, dtype=logits.dtype)


def _one_hot(labels: Int[Array, "*b"], num_classes: int) -> Array:
    return jnp.asarray(labels)[..., None] == jnp.arange(num_classes)


def _smooth(target: Float[Array, "*b c"], label_smoothing: Number) -> Float[Array, "*b c"]:
    return target + label_smoothing * (1 / target.shape[-1] - target)


LOSSES: dict[str, Callable[[Float[Array, "*b c"], Targets], Float[Array, "*b"]]] = {
    "absolute_error": absolute_error,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "crammer_singer": crammer_singer,
    "focal": focal,
    "hinge": hinge,
    "kl_divergence": kl_divergence,
    "squared_error": squared_error,
    "weston_watkins": weston_watkins,
}

# The losses that ask of each output by itself whether it is there: the ones for images with several
# labels, whose targets are multi-hot. The others choose one class.
PER_LABEL: set[str] = {"binary_cross_entropy", "hinge"}

# Which output activation turns the logits trained with a loss into the probabilities to report.
# The hinge family learns scores, not probabilities: their softmax ranks classes as the scores do,
# but is not calibrated. With several labels per image it is the sigmoid whatever the loss.
LOSS_OUTPUT: dict[str, str] = {
    name: "sigmoid" if name == "binary_cross_entropy" else "softmax" for name in LOSSES
}

# The losses whose minimum is at the true probabilities (proper scoring rules): what their output
# activation gives may be read as probabilities. The hinges learn scores only, the focal loss is
# drawn to less confidence and the absolute error to more.
CALIBRATED: set[str] = {"binary_cross_entropy", "cross_entropy", "kl_divergence", "squared_error"}
