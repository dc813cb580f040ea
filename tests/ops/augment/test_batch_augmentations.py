import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from scipy import stats

from cnn_jax.ops.augment import TEST_TIME, cutmix, mixup

N, H, W = 6, 10, 8
_rng = np.random.default_rng(0)
IMAGES = np.float32(_rng.random((N, H, W, 3)))
EYE = np.eye(N, dtype=np.float32)
KEYS = random.split(random.key(0), 400)


def _draw(function, alpha):
    """Images and targets of every key, and from the targets the share kept and the partners."""
    images, targets = jax.jit(jax.vmap(lambda key: function(key, IMAGES, EYE, alpha=alpha)))(KEYS)
    images, targets = np.asarray(images), np.asarray(targets)
    others = targets - targets * EYE
    partners = np.where(others.sum(axis=-1) > 0, others.argmax(axis=-1), np.arange(N))
    np.testing.assert_allclose(targets.sum(axis=-1), 1, rtol=1e-5)
    assert all(len(set(row)) == N for row in partners)
    shares = np.diagonal(targets, axis1=1, axis2=2)
    mixed = partners != np.arange(N)
    assert np.all(shares[~mixed] > 0.9999)
    share = np.min(np.where(mixed, shares, 2), axis=1)
    known = mixed.any(axis=1)
    return images[known], targets[known], share[known], partners[known]


def test_mixup():
    images, targets, share, partners = _draw(mixup, 0.4)
    weight = share[:, None, None, None, None]
    expected = weight * IMAGES + (1 - weight) * IMAGES[partners]
    np.testing.assert_allclose(images, expected, atol=1e-5)
    expected = share[:, None, None] * EYE + (1 - share[:, None, None]) * EYE[partners]
    np.testing.assert_allclose(targets, expected, atol=1e-5)
    assert stats.kstest(share, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_cutmix():
    images, targets, share, partners = _draw(cutmix, 1.0)
    other = np.any(images != IMAGES, axis=-1)
    swapped = np.where(other[..., None], IMAGES[partners], IMAGES)
    np.testing.assert_array_equal(images, swapped)
    moved = partners != np.arange(N)
    masks = np.stack([rows[who][0] for rows, who in zip(other, moved, strict=True)])
    np.testing.assert_array_equal(other, masks[:, None] & moved[:, :, None, None])
    np.testing.assert_allclose(share, 1 - masks.mean(axis=(1, 2)), atol=1e-5)
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None, :])
    # Inside the image, where nothing is cut off, the box has the shape of the image.
    whole = masks.any(axis=(1, 2)) & ~(rows[:, 0] | rows[:, -1] | columns[:, 0] | columns[:, -1])
    heights, widths = rows.sum(axis=1)[whole] / H, columns.sum(axis=1)[whole] / W
    assert whole.sum() > 10
    assert np.all(np.abs(heights - widths) < 1 / W)
    expected = share[:, None, None] * EYE + (1 - share[:, None, None]) * EYE[partners]
    np.testing.assert_allclose(targets, expected, atol=1e-5)


def test_cutmix_pastes_the_area_of_a_beta():
    """Uncut boxes are the law of lambda; the sides are whole pixels."""
    images = jnp.stack([jnp.zeros((64, 64, 1)), jnp.ones((64, 64, 1))])
    targets = jnp.eye(2)
    mixed, _ = jax.jit(jax.vmap(lambda key: cutmix(key, images, targets, alpha=1.0)))(KEYS)
    changed = np.asarray(mixed != images)[:, 0, ..., 0]
    swapped = changed.any(axis=(1, 2))
    # Half of the permutations of two leave both in place.
    assert 0.35 < swapped.mean() < 0.6
    rows, columns = changed.any(axis=2), changed.any(axis=1)
    sides = np.maximum(rows.sum(axis=1), columns.sum(axis=1))[swapped] / 64
    # The longer side of a box cut at the border is at most the uncut one.
    assert stats.kstest(sides**2, stats.uniform.cdf, alternative="less").pvalue > 1e-3
    assert sides.max() > 0.8


@pytest.mark.parametrize("name", TEST_TIME)
def test_views_average_to_the_recipe(name):
    def logits(images):
        """Any function of the pixels that sees where they are."""
        places = np.linspace(-1, 2, H * W * 3).reshape(H, W, 3)
        return np.tanh(np.asarray(images) * places).sum(axis=(1, 2))

    def mirrored(images):
        return (logits(images) + logits(images[:, :, ::-1])) / 2

    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = padded[:, :H, :W], padded[:, 2:, 2:]
    expected = {
        "none": logits(IMAGES),
        "flip": mirrored(IMAGES),
        "translate": logits(IMAGES) / 2 + sum(map(logits, moved)) / 4,
        "flip_translate": mirrored(IMAGES) / 2 + sum(map(mirrored, moved)) / 4,
    }
    views = TEST_TIME[name](jnp.asarray(IMAGES))
    averaged = sum(
        weight * logits(view) for weight, view in zip(views.weights, views.images, strict=True)
    )
    np.testing.assert_allclose(averaged, expected[name], rtol=1e-5)


def test_views_keep_bytes():
    for views in TEST_TIME.values():
        assert views(jnp.zeros((2, 4, 4, 1), jnp.uint8)).images.dtype == jnp.uint8
