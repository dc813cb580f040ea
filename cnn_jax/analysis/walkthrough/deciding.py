"""The stations about what the network says, and how wrong that is."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_jax import compilation
from cnn_jax.analysis.figures import to_svg
from cnn_jax.analysis.walkthrough import drawings, lecture
from cnn_jax.analysis.walkthrough.lecture import Station, named
from cnn_jax.ops import activations, losses

# An output says "there" from here on.
_THRESHOLD = 0.5
# How much the second experiment adds to the score of the bus.
_RAISE = 2.0
_SOFT_TARGET = 0.7
_LARGEST_LOSS = 5.0


def sigmoid_or_softmax() -> Station:
    """The lecture's four scores as four answers, and as one."""
    scores = jnp.asarray(lecture.SCORES)
    raised = scores.at[0].add(_RAISE)
    tables, found = {}, {}
    for name, function, printed in (
        ("sigmoid", activations.sigmoid, lecture.PRINTED_SIGMOID),
        ("softmax", activations.softmax, lecture.PRINTED_SOFTMAX),
    ):
        found[name] = values = np.asarray(function(scores))
        after = np.asarray(function(raised))
        columns = (lecture.SCORES.tolist(), values.tolist(), printed, after.tolist())
        tables[name] = {
            "rows": list(zip(lecture.VEHICLES, *columns, strict=True)),
            "sum": float(values.sum()),
            "sum_after": float(after.sum()),
        }
    shown = {
        "tables": tables,
        "printed_sums": {
            "sigmoid": lecture.PRINTED_SIGMOID_SUM,
            "softmax": lecture.PRINTED_SOFTMAX_SUM,
        },
        "threshold": _THRESHOLD,
        "raise": _RAISE,
        "raised": lecture.VEHICLES[0],
        "there": [
            name
            for name, probability in zip(lecture.VEHICLES, found["sigmoid"], strict=True)
            if probability >= _THRESHOLD
        ],
        "chosen": lecture.VEHICLES[int(found["softmax"].argmax())],
    }
    functions = named(activations.sigmoid, activations.softmax)
    moves = {"names": lecture.VEHICLES, "scores": lecture.SCORES.round(3).astype(float).tolist()}
    return Station("outputs", "Sigmoid or softmax", functions, shown, moves)


def loss() -> Station:
    """The plain error, the log loss of the lecture's example, and every loss as a curve."""
    truth = len(lecture.VEHICLES) - 1
    probabilities = activations.softmax(jnp.asarray(lecture.SCORES))
    errors = losses.error(jnp.int32(truth), probabilities)
    p = np.linspace(0.002, 0.998, 250, dtype=np.float32)
    wrong = lecture.CONFIDENTLY_WRONG
    wrong_loss = float(losses.log_loss(1, wrong))
    both = np.linspace(1e-4, 1 - 1e-4, 400, dtype=np.float32)
    log_loss = to_svg(
        drawings.log_loss_curves(
            both,
            np.asarray(losses.log_loss(1, both)),
            np.asarray(losses.log_loss(0, both)),
            (wrong, wrong_loss),
        ),
        "log-loss",
    )
    predictions, labels = (0.9, 0.2, 0.6, wrong), (1, 0, 1, 1)
    each = np.asarray(
        losses.log_loss(np.array(labels, np.float32), np.array(predictions, np.float32))
    )
    functions = named(losses.error, losses.log_loss, *losses.LOSSES.values())
    curves = _compiled(_losses, p)
    shown = {
        "truth": lecture.VEHICLES[truth],
        "errors": [
            (name, int(index == truth), float(probabilities[index]), float(errors[index]))
            for index, name in enumerate(lecture.VEHICLES)
        ],
        "error_sum": float(errors.sum()),
        "wrong": wrong,
        "wrong_loss": wrong_loss,
        "perfect_loss": float(losses.log_loss(1, 1.0)),
        "half_loss": float(losses.log_loss(1, 0.5)),
        "log_loss": log_loss,
        "batch": list(zip(labels, predictions, each.tolist(), strict=True)),
        "batch_sum": float(each.sum()),
        "curves": [
            (name, to_svg(drawings.loss_curve(p, values, name, _LARGEST_LOSS), f"loss-{name}"))
            for name, values in curves.items()
        ],
        "soft_target": _SOFT_TARGET,
        "soft": _soft_targets(p),
    }

    def some(values: np.ndarray) -> list[float]:
        return values[::3].astype(float).round(4).tolist()

    moves = {"p": some(p), "curves": {name: some(values) for name, values in curves.items()}}
    return Station("loss", "Error and loss", functions, shown, moves)


def two_class_logits(p: Float[Array, "n"]) -> Float[Array, "n 2"]:
    """Logits whose softmax is (p, 1 - p), and whose mean is 0."""
    half = (jnp.log(p) - jnp.log1p(-p)) / 2
    return jnp.stack([half, -half], axis=-1)


def _losses(p: Float[Array, "n"]) -> dict[str, Float[Array, "n"]]:
    """Every loss where the truth is the first of two classes, or the one label there is."""
    logits, first = two_class_logits(p), jnp.zeros(p.shape, jnp.int32)
    # The sigmoid of one yes-no question is p where its logit is twice the half.
    question, yes = 2 * logits[:, :1], jnp.ones((*p.shape, 1))
    return {
        name: function(question, yes) if name in losses.PER_LABEL else function(logits, first)
        for name, function in losses.LOSSES.items()
    }


def _soft_targets(p: np.ndarray) -> str:
    """Cross-entropy and KL divergence where the target is itself a probability."""

    def curves(p: Array) -> dict[str, Array]:
        logits = two_class_logits(p)
        targets = jnp.broadcast_to(jnp.array([_SOFT_TARGET, 1 - _SOFT_TARGET]), logits.shape)
        return {
            "cross-entropy": losses.cross_entropy(logits, targets),
            "KL divergence": losses.kl_divergence(logits, targets),
        }

    return to_svg(drawings.soft_target_curves(p, _compiled(curves, p), _SOFT_TARGET), "soft-target")


def _compiled(
    curves: Callable[[Array], dict[str, Array]], p: Float[np.ndarray, "n"]
) -> dict[str, Float[np.ndarray, "n"]]:
    """The curves by name, computed by one program and not one operation at a time."""
    # A function of its own: the program of one that was compiled before would not see that what
    # it calls has been replaced.
    compiled = compilation.jit(lambda p: curves(p))
    return {name: np.asarray(values) for name, values in compiled(p).items()}
