"""Patch whitening against NumPy: covariance, uncorrelated outputs, order and signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.airnet import patch_covariance, whitening_kernel


def pictures(channels: int, count: int = 40, shape: tuple[int, int] = (9, 11)) -> np.ndarray:
    """Random images whose neighboring pixels and channels are alike, as in pictures."""
    rng = np.random.default_rng(channels)
    images = rng.normal(size=(count, *shape, channels))
    for axis in (1, 2, 3):
        images = images + 0.7 * np.roll(images, 1, axis)
    return images.astype(np.float32)


def patches(images: np.ndarray, size: int) -> np.ndarray:
    """Every patch as a row, in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, size * size * images.shape[-1]).astype(np.float64)


@pytest.mark.parametrize("channels, size", [(1, 3), (3, 2)])
def test_whitened_patches_are_uncorrelated_and_of_unit_variance(channels: int, size: int):
    images = pictures(channels)
    rows = patches(images, size)
    covariance, kernel = jax.jit(
        lambda x: (patch_covariance(x, size), whitening_kernel(x, size, eps=0))
    )(images)
    expected = rows.T @ rows / len(rows)
    np.testing.assert_allclose(covariance, expected, rtol=1e-4, atol=1e-4)

    inputs = size * size * channels
    assert kernel.shape == (size, size, channels, 2 * inputs)
    filters = np.asarray(kernel, np.float64).reshape(inputs, 2 * inputs)
    outputs = rows @ filters
    whitened = outputs[:, :inputs]
    np.testing.assert_allclose(whitened.T @ whitened / len(rows), np.eye(inputs), atol=2e-3)
    np.testing.assert_array_equal(outputs[:, inputs:], -whitened)

    # By descending eigenvalue: filters of growing norm, which is 1 / sqrt(eigenvalue).
    eigenvalues = np.linalg.eigvalsh(expected)[::-1]
    norms = np.linalg.norm(filters[:, :inputs], axis=0)
    np.testing.assert_allclose(norms, 1 / np.sqrt(eigenvalues), rtol=1e-3)


def test_signs_are_those_of_the_first_large_entry():
    kernel = np.asarray(jax.jit(whitening_kernel)(pictures(3)))
    filters = kernel.reshape(12, 24)[:, :12]
    for column in filters.T:
        large = np.abs(column) >= 0.5 * np.abs(column).max()
        assert column[np.argmax(large)] > 0


def test_what_does_not_vary_is_not_blown_up():
    images = pictures(1)
    images[:, :, 5:] = 0
    kernel = np.asarray(whitening_kernel(jnp.zeros_like(images)))
    np.testing.assert_allclose(np.linalg.norm(kernel.reshape(4, 8), axis=0), 5e-4**-0.5, rtol=1e-5)
    assert np.isfinite(jax.jit(whitening_kernel)(images)).all()


def test_kernels_of_several_sets_of_images_come_from_one_vmap():
    sets = np.stack([pictures(1, 20)[:, :, ::order] for order in (1, -1)])
    together = jax.jit(jax.vmap(whitening_kernel))(sets)
    for kernel, images in zip(together, sets, strict=True):
        np.testing.assert_allclose(kernel, jax.jit(whitening_kernel)(images), rtol=1e-3, atol=1e-4)


def test_a_patch_must_fit_the_image():
    with pytest.raises(ValueError, match="patch of 4x4 does not fit an image of 9x3"):
        patch_covariance(jnp.zeros((1, 9, 3, 1)), 4)
