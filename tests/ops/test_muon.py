"""Muon against singular value decompositions and the recipe's update written out in numpy."""

import jax
import numpy as np
import pytest

from cnn_jax.ops import apply_updates, normalized_muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (7, 7)])
def test_singular_values_go_near_one_and_the_vectors_stay(shape: tuple[int, int]):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    # The same polynomial on the singular values alone.
    expected = values / np.linalg.norm(matrix)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    found = np.asarray(jax.jit(orthogonalize, static_argnums=1)(1e3 * matrix, 5))
    np.testing.assert_allclose(found, (left * expected) @ right, atol=1e-4)
    assert expected.min() > 0.4 and expected.max() < 1.3


def test_zeros_stay():
    assert not np.any(orthogonalize(np.zeros((3, 5), np.float32)))


def test_steps_are_those_of_the_recipe():
    """Two steps, against the recipe's formulas on matrices of one row per filter."""
    rng = np.random.default_rng(0)
    kernel, *grads = rng.normal(size=(3, 3, 3, 4, 5)).astype(np.float32)
    expected, buffer = kernel.reshape(-1, 5).T, np.zeros((5, 36))
    ours, velocity = {"kernel": kernel}, {"kernel": np.zeros_like(kernel)}
    for grad in grads:
        updates, velocity = normalized_muon(
            {"kernel": grad}, velocity, ours, learning_rate=0.3, momentum=0.6
        )
        ours = apply_updates(ours, updates)
        rows = grad.reshape(-1, 5).T
        buffer = 0.6 * buffer + rows
        left, values, right = np.linalg.svd(rows + 0.6 * buffer, full_matrices=False)
        values /= np.linalg.norm(values)
        for _ in range(3):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        expected = expected * np.sqrt(5) / np.linalg.norm(expected) - 0.3 * (left * values) @ right
    np.testing.assert_allclose(ours["kernel"].reshape(-1, 5).T, expected, atol=1e-4)


def test_a_kernel_of_zeros_moves_by_the_step_alone():
    rng = np.random.default_rng(0)
    grad, zeros = rng.normal(size=(3, 3, 2, 4)).astype(np.float32), np.zeros((3, 3, 2, 4))
    updates, _ = normalized_muon(grad, zeros, zeros, learning_rate=0.3)
    rows = (grad + 0.6 * grad).reshape(-1, 4).T
    expected = -0.3 * np.asarray(orthogonalize(rows)).T
    np.testing.assert_allclose(np.asarray(updates).reshape(-1, 4), expected, atol=1e-5)
