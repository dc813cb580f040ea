import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from cnn_jax.ops import LOSS_OUTPUT, LOSSES, cross_entropy, error, focal, log_loss

B, C = 6, 5
_rng = np.random.default_rng(0)
LOGITS = _rng.normal(scale=3, size=(B, C))
LABELS = np.array([0, 1, 2, 3, 4, 2], dtype=np.int32)
ONE_HOT = np.eye(C)[LABELS]
SOFT = _rng.dirichlet(np.ones(C), size=B)
SOFT[0] = [0.5, 0.5, 0, 0, 0]
NUMBERS = {
    "binary_cross_entropy": {"label_smoothing": 0.2},
    "cross_entropy": {"label_smoothing": 0.2},
    "crammer_singer": {"margin": 0.7},
    "focal": {"focal_gamma": 1.5},
    "hinge": {"margin": 0.7},
    "kl_divergence": {"label_smoothing": 0.2},
    "weston_watkins": {"margin": 0.7},
}


def _binary_cross_entropy(z, t, label_smoothing):
    t = (1 - label_smoothing) * t + label_smoothing / 2
    return -(t * special.log_expit(z) + (1 - t) * special.log_expit(-z)).sum(-1)


def _cross_entropy(z, t, label_smoothing):
    t = (1 - label_smoothing) * t + label_smoothing / z.shape[-1]
    return -(t * special.log_softmax(z, axis=-1)).sum(-1)


def _kl_divergence(z, t, label_smoothing):
    t = (1 - label_smoothing) * t + label_smoothing / z.shape[-1]
    return (special.xlogy(t, t) - t * special.log_softmax(z, axis=-1)).sum(-1)


def _focal(z, t, focal_gamma):
    log_p = special.log_softmax(z, axis=-1)
    return -(t * (1 - np.exp(log_p)) ** focal_gamma * log_p).sum(-1)


def _hinge(z, t, margin):
    return (t * np.maximum(0, margin - z) + (1 - t) * np.maximum(0, margin + z)).sum(-1)


def _expected_over_rivals(z, t, margin, reduce):
    total = np.zeros(z.shape[:-1])
    for y in range(z.shape[-1]):
        slack = np.maximum(0, margin + np.delete(z, y, axis=-1) - z[..., y : y + 1])
        total += t[..., y] * reduce(slack, axis=-1)
    return total


REFERENCES = {
    "absolute_error": lambda z, t: np.abs(t - special.softmax(z, axis=-1)).sum(-1),
    "binary_cross_entropy": _binary_cross_entropy,
    "cross_entropy": _cross_entropy,
    "crammer_singer": lambda z, t, margin: _expected_over_rivals(z, t, margin, np.max),
    "focal": _focal,
    "hinge": _hinge,
    "kl_divergence": _kl_divergence,
    "squared_error": lambda z, t: ((t - special.softmax(z, axis=-1)) ** 2).sum(-1),
    "weston_watkins": lambda z, t, margin: _expected_over_rivals(z, t, margin, np.sum),
}


def _gradient(loss, z, width=1e-4):
    """Central differences in float64, one logit at a time."""
    moves = width * np.eye(z.shape[-1])
    columns = [(loss(z + move) - loss(z - move)) / (2 * width) for move in moves]
    return np.stack(columns, axis=-1)


def _value_and_gradient(name, logits, targets, numbers):
    """The loss of a batch and the gradient of its sum, with the numbers traced."""
    logits = jnp.asarray(logits, jnp.float32)

    def total(logits, numbers):
        values = LOSSES[name](logits, targets, **numbers)
        return values.sum(), values

    (_, values), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(logits, numbers)
    return values, gradient


def test_registries_agree():
    assert set(LOSSES) == set(REFERENCES) == set(LOSS_OUTPUT)
    assert set(LOSS_OUTPUT.values()) == {"sigmoid", "softmax"}
    for name, loss in LOSSES.items():
        _, _, *numbers = inspect.signature(loss).parameters.values()
        assert {number.name for number in numbers} == set(NUMBERS.get(name, {}))
        assert all(number.kind is number.KEYWORD_ONLY for number in numbers)


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients(name):
    numbers = NUMBERS.get(name, {})
    z, t = np.concatenate([LOGITS, LOGITS]), np.concatenate([ONE_HOT, SOFT])
    values, gradient = _value_and_gradient(name, z, t, numbers)
    assert values.shape == (2 * B,)
    np.testing.assert_allclose(values, REFERENCES[name](z, t, **numbers), rtol=1e-5, atol=1e-6)
    expected = _gradient(lambda z: REFERENCES[name](z, t, **numbers), z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_are_one_hot_targets(name):
    numbers = NUMBERS.get(name, {})
    by_label = _value_and_gradient(name, LOGITS, LABELS, numbers)
    by_row = _value_and_gradient(name, LOGITS, ONE_HOT, numbers)
    np.testing.assert_allclose(by_label[0], by_row[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(by_label[1], by_row[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_large_logits(name, scale):
    numbers = {key: scale * number for key, number in NUMBERS.get(name, {}).items()}
    z = 1e4 * np.array([[1, -1, -0.5], [-1, 1, -0.5], [-1, -1, -1], [1, 1, 1], [0.5, 1, -1]])
    t = np.eye(3)[[0, 0, 1, 1, 2]]
    values, gradient = _value_and_gradient(name, z, t, numbers)
    np.testing.assert_allclose(values, REFERENCES[name](z, t, **numbers), rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(gradient))
    # Where rivals tie, the hinges have a kink and no single gradient.
    clear = [0, 1, 4] if name in ("crammer_singer", "weston_watkins") else slice(None)
    expected = _gradient(lambda z: REFERENCES[name](z, t, **numbers), z)
    np.testing.assert_allclose(np.asarray(gradient)[clear], expected[clear], atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_a_sure_model(gamma):
    values, gradient = _value_and_gradient(
        "focal", [[1e4, 0.0], [0.0, 1e4]], jnp.array([0, 0]), {"focal_gamma": gamma}
    )
    np.testing.assert_allclose(values, [0, 1e4], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0], [-1, 1]], atol=1e-6)


def test_focal_with_gamma_zero_is_cross_entropy():
    z = jnp.float32(LOGITS)
    np.testing.assert_allclose(
        focal(z, LABELS, focal_gamma=0.0), cross_entropy(z, LABELS), rtol=1e-5
    )


def test_agree_with_optax():
    z, y = jnp.float32(LOGITS), jnp.asarray(LABELS)
    np.testing.assert_allclose(
        cross_entropy(z, y), optax.softmax_cross_entropy_with_integer_labels(z, y), rtol=1e-6
    )
    np.testing.assert_allclose(
        LOSSES["binary_cross_entropy"](z, y),
        optax.sigmoid_binary_cross_entropy(z, ONE_HOT).sum(-1),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        LOSSES["crammer_singer"](z, y), optax.losses.multiclass_hinge_loss(z, y), rtol=1e-5
    )


def test_multi_hot_targets():
    t = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=np.float64)
    z = LOGITS[:2]
    for name in ("binary_cross_entropy", "hinge"):
        values = LOSSES[name](jnp.float32(z), t, **NUMBERS[name])
        np.testing.assert_allclose(values, REFERENCES[name](z, t, **NUMBERS[name]), rtol=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "weston_watkins"])
def test_a_label_outside_the_classes_is_a_target_of_zeros(name):
    assert LOSSES[name](jnp.float32(LOGITS[0]), jnp.int32(-1)) == 0


def test_kl_divergence_of_the_target_itself_is_zero():
    values = LOSSES["kl_divergence"](jnp.log(jnp.float32(SOFT[1:])), SOFT[1:])
    np.testing.assert_allclose(values, np.zeros(B - 1), atol=1e-6)


def test_vmap_over_numbers_and_one_example():
    smoothing = jnp.array([0.0, 0.1])
    z, label = jnp.float32(LOGITS[0]), jnp.int32(1)
    swept = jax.vmap(lambda s: cross_entropy(z, label, label_smoothing=s))(smoothing)
    expected = [_cross_entropy(LOGITS[0], np.eye(C)[1], s) for s in (0.0, 0.1)]
    np.testing.assert_allclose(swept, expected, rtol=1e-5)


def test_error_is_actual_less_predicted():
    p = jnp.array([[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_allclose(error(jnp.array([1, 0]), p), [[-0.2, 0.2], [0.5, -0.5]])


def test_error_is_minus_the_gradient_of_cross_entropy():
    _, gradient = _value_and_gradient("cross_entropy", LOGITS, LABELS, {})
    p = jnp.float32(special.softmax(LOGITS, axis=-1))
    np.testing.assert_allclose(gradient, -error(LABELS, p), atol=1e-6)


def test_log_loss_of_an_unlikely_truth_is_high():
    np.testing.assert_allclose(log_loss(1, 0.011), -math.log(0.011), rtol=1e-6)
    np.testing.assert_allclose(log_loss(1, 0.011), 4.51, atol=0.005)
    logits = jnp.log(jnp.array([0.011, 0.989]))
    np.testing.assert_allclose(cross_entropy(logits, jnp.int32(0)), 4.51, atol=0.005)


def test_log_loss_of_a_perfect_prediction_is_zero():
    values = log_loss(jnp.array([1, 0]), jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(values, [0, 0])
    assert not np.any(np.signbit(values))


def test_log_loss_rises_as_the_prediction_diverges_and_stays_finite():
    values = log_loss(jnp.ones(5), jnp.array([1.0, 0.9, 0.5, 0.011, 0.0]))
    assert np.all(np.diff(values) > 0)
    np.testing.assert_allclose(values[-1], -math.log(np.finfo(np.float32).tiny), rtol=1e-6)


@pytest.mark.parametrize(
    ("targets", "exception", "message"),
    [
        (np.zeros((B, C), np.int32), ValueError, r"class labels and must have shape \(6,\)"),
        (np.zeros(B, np.float32), ValueError, r"must have the shape of the logits, \(6, 5\)"),
        (np.zeros((B, C + 1), np.float32), ValueError, r"got \(6, 6\)"),
        (np.zeros((B, C), bool), TypeError, "integer labels or a float distribution, got bool"),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_bad_targets_are_refused(name, targets, exception, message):
    with pytest.raises(exception, match=message):
        LOSSES[name](jnp.float32(LOGITS), targets)


def test_integer_logits_are_refused():
    with pytest.raises(TypeError, match="logits must be floating point, got int32"):
        cross_entropy(jnp.zeros((B, C), jnp.int32), LABELS)
