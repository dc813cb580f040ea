"""Augmentations across a batch (mixtures of examples), and views of it to average at test time.

A mixture is `(key, images, targets, *, alpha) -> (images, targets)`. Each image is mixed with
another of the batch, and so are their targets, which are therefore one-hot or soft. As in the
papers' code the batch shares one share lambda ~ Beta(alpha, alpha) of what stays; alpha may be
traced, and 0 changes nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from cnn_jax.ops.augment.geometry import Strength
from cnn_jax.ops.augment.pixels import box
from cnn_jax.ops.hyperparameters import Number


class Views(NamedTuple):
    """Versions of a batch whose logits are averaged.

    Attributes:
        images: the versions, one after the other.
        weights: of the logits of each version in the average; their sum is 1.
    """

    images: Num[Array, "v n h w c"]
    weights: Float[Array, " v"]


def mixup(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n classes"],
    *,
    alpha: Strength = 0.2,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n classes"]]:
    """Mixes lambda of each example with 1 - lambda of another.

    Args:
        key: draws lambda and who is mixed with whom.
        images: the batch, values in [0, 1].
        targets: one row per image.
        alpha: >= 0; small ones leave most batches nearly as they are, 1 makes every share as
            likely.

    Raises:
        TypeError: if the targets are integer labels.

    References:
        Zhang et al. 2018, arXiv:1710.09412, section 2.
    """
    _require_soft(targets, "mixup")
    key_share, key_order = random.split(key)
    share = _share(key_share, alpha, images)
    order = random.permutation(key_order, images.shape[0])
    return (
        share * images + (1 - share) * _pick(images, order),
        share * targets + (1 - share) * _pick(targets, order),
    )


def cutmix(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n classes"],
    *,
    alpha: Strength = 1.0,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n classes"]]:
    """Pastes a box of another example into each, and its target in proportion to the area.

    Args:
        key: draws the box and who is mixed with whom.
        images: the batch, values in [0, 1].
        targets: one row per image.
        alpha: >= 0. The box has the shape of the image and 1 - lambda of its area; its center is
            any pixel, each as likely, and at the border part of it is lost.

    Raises:
        TypeError: if the targets are integer labels.

    References:
        Yun et al. 2019, arXiv:1905.04899, section 3.1 and algorithm A1.
    """
    _require_soft(targets, "cutmix")
    key_share, key_place, key_order = random.split(key, 3)
    height, width = images.shape[1:3]
    extent = jnp.asarray([height, width], images.dtype)
    sides = jnp.floor(extent * jnp.sqrt(1 - _share(key_share, alpha, images)))
    center = jnp.floor(random.uniform(key_place, (2,), images.dtype) * extent)
    pasted = box(height, width, center - jnp.floor(sides / 2), sides)
    order = random.permutation(key_order, images.shape[0])
    share = 1 - jnp.mean(pasted.astype(targets.dtype))
    return (
        jnp.where(pasted, _pick(images, order), images),
        share * targets + (1 - share) * _pick(targets, order),
    )


def no_views(images: Num[Array, "n h w c"]) -> Views:
    """The batch alone."""
    return Views(images[None], jnp.ones(1))


def flip_views(images: Num[Array, "n h w c"]) -> Views:
    """The batch and its mirror image, half and half."""
    return Views(jnp.stack([images, images[:, :, ::-1]]), jnp.full(2, 1 / 2))


def translate_views(images: Num[Array, "n h w c"]) -> Views:
    """The batch, and it shifted by (-1, -1) and (1, 1) pixels: half, and a quarter each.

    Reflection fills the border. For images that cannot be mirrored, as digits.
    """
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    views = jnp.stack([images, padded[:, :height, :width], padded[:, 2:, 2:]])
    return Views(views, jnp.asarray([2, 1, 1]) / 4)


def flip_translate_views(images: Num[Array, "n h w c"]) -> Views:
    """The views of `translate_views`, each with its mirror image.

    References:
        Jordan 2024, arXiv:2404.00498, section 3.5 (multi-crop evaluation).
    """
    views, weights = translate_views(images)
    mirrored = views[:, :, :, ::-1]
    return Views(jnp.concatenate([views, mirrored]), jnp.tile(weights, 2) / 2)


def _pick(rows: Num[Array, "n ..."], order: Int[Array, " n"]) -> Num[Array, "n ..."]:
    return jnp.take(rows, order, 0, mode="clip")


def _share(key: PRNGKeyArray, alpha: Number, images: Array) -> Float[Array, ""]:
    """Draws lambda ~ Beta(alpha, alpha); 1 where alpha is 0."""
    alpha = jnp.asarray(alpha, images.dtype)
    positive = jnp.where(alpha > 0, alpha, 1)
    return jnp.where(alpha > 0, random.beta(key, positive, positive, (), images.dtype), 1)


def _require_soft(targets: Array, name: str) -> None:
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise TypeError(
            f"{name} mixes targets, which must be one-hot or soft rows of floats, "
            f"got {targets.dtype} of shape {targets.shape}"
        )


TEST_TIME: dict[str, Callable[[Num[Array, "n h w c"]], Views]] = {
    "none": no_views,
    "flip": flip_views,
    "translate": translate_views,
    "flip_translate": flip_translate_views,
}
