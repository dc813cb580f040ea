"""Patch whitening: filters whose outputs over the images are uncorrelated and of unit variance."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def patch_covariance(images: Float[Array, "n h w c"], size: int) -> Float[Array, "k k"]:
    """The mean of p p^T over all patches p of `size` x `size` pixels, k = size * size * c.

    The mean patch is not subtracted: the images are normalised, so that it is close to zero.

    Args:
      images: normalised images.
      size: height and width of a patch in pixels.

    Returns:
      A symmetric matrix. A patch is flattened in reading order: row, column, channel.

    Raises:
      ValueError: if the images are smaller than a patch.
    """
    _, height, width, _ = images.shape
    rows, columns = height - size + 1, width - size + 1
    if min(rows, columns) < 1:
        raise ValueError(f"a patch of {size}x{size} does not fit an image of {height}x{width}")
    patches = jnp.concatenate(
        [images[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)], -1
    )
    flat = patches.reshape(-1, patches.shape[-1])
    # Accelerators round the factors of a product unless told otherwise; small eigenvalues mind.
    return jnp.matmul(flat.T, flat, precision=lax.Precision.HIGHEST) / flat.shape[0]


def whitening_kernel(
    images: Float[Array, "n h w c"], size: int = 2, eps: float = 5e-4
) -> Float[Array, "kh kw c f"]:
    """The kernel of a convolution that whitens patches: f = 2 * kh * kw * c filters.

    With the eigenvalues l_i and the eigenvectors v_i of the patches' covariance, filter i is
    v_i / sqrt(l_i + eps), by descending eigenvalue, and filter i + f / 2 is the negative of filter
    i. The covariance of the first f / 2 outputs over the images is the identity, up to eps.

    An eigenvector's sign is arbitrary. Here its first entry (row, column, channel) of at least
    half the largest magnitude is positive; entries of equal magnitude, common among patches of
    pictures, so do not make the sign a matter of rounding. Where eigenvalues are equal, any basis
    of their space may come back. Works under `jit` and `vmap`.

    Args:
      images: normalised images, some thousand are enough.
      size: height and width of the kernel in pixels.
      eps: added to the eigenvalues, so that what hardly varies is not blown up.

    Raises:
      ValueError: if the images are smaller than the kernel.

    References:
      Page 2019, "How to train your ResNet 8"; Jordan 2024, arXiv:2404.00498, section 3.2.
    """
    eigenvalues, eigenvectors = jnp.linalg.eigh(patch_covariance(images, size))
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    magnitudes = jnp.abs(eigenvectors)
    first = jnp.argmax(magnitudes >= 0.5 * jnp.max(magnitudes, axis=0), axis=0, keepdims=True)
    signs = jnp.sign(jnp.take_along_axis(eigenvectors, first, axis=0))
    # Rounding may take an eigenvalue of zero below it.
    filters = signs * eigenvectors / jnp.sqrt(jnp.maximum(eigenvalues, 0) + eps)
    channels = images.shape[-1]
    return jnp.concatenate([filters, -filters], axis=1).reshape(size, size, channels, -1)
