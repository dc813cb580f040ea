"""Explanations of outputs: against differences, sums that must hold, and planted features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_jax.analysis import explain
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture, Classifier, build_abstract

KEY = jax.random.key(0)
SIZE = 12
CLASSES = 4
BASELINE = -0.5


class Case(NamedTuple):
    architecture: Architecture
    channels: int
    last_maps: str


# A smooth activation, so that differences and quadrature are exact and tolerances tight.
SMOOTH = {"activation": "gelu", "pooling": "average"}
CASES = {
    "cnn": Case(Architecture(filters=(4, 6), hidden=(8,), **SMOOTH), 1, "activation2"),
    "lenet5": Case(Architecture(model="lenet5", **SMOOTH), 3, "pool2"),
    "resnet20": Case(
        Architecture(model="resnet20", normalization="batch", activation="gelu"),
        3,
        "block3_3_activation",
    ),
}


def classifier(architecture: Architecture, channels: int) -> Classifier:
    """The network with random parameters and statistics from NumPy, which compiles nothing."""
    skeleton, state = nnx.split(build_abstract(architecture, (SIZE, SIZE, channels), CLASSES))
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) < 2:  # Positive, as a variance has to be.
            return jnp.asarray(rng.uniform(0.1, 1, leaf.shape), leaf.dtype)
        scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(rng.normal(0, scale, leaf.shape), leaf.dtype)

    return nnx.merge(skeleton, jax.tree.map(fill, state))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_method_on_every_network(case: Case):
    model = classifier(case.architecture, case.channels)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(3, SIZE, SIZE, case.channels)).astype(np.float32)
    step = 3e-3 * rng.normal(size=images.shape).astype(np.float32)
    labels = jnp.array([2, 0, 3])

    def tapped(images: jax.Array, tap: explain.Tap) -> jax.Array:
        return model(images, tap=tap)

    @jax.jit
    def explanations(images: jax.Array, labels: jax.Array) -> dict:
        target = explain.output(labels)
        ahead, behind, here, nothing = (
            target(model(x))
            for x in (images + step, images - step, images, jnp.full_like(images, BASELINE))
        )
        return {
            "saliency": explain.saliency(model, images, target),
            "slope": (ahead - behind) / 2,
            "integrated": explain.integrated_gradients(model, images, target, BASELINE),
            "gain": here - nothing,
            "smooth": explain.smooth_grad(model, images, target, KEY, samples=2),
            "occlusion": explain.occlusion(model, images, target, 6, 6).heat,
            "grad_cam": explain.grad_cam(tapped, images, target, case.last_maps),
            "features": explain.features(tapped, images),
            "logits": model(images),
            "scores": here,
        }

    found = explanations(images, labels)
    np.testing.assert_array_equal(found["scores"], found["logits"][jnp.arange(3), labels])
    contributed = jnp.sum(found["integrated"], axis=(1, 2, 3))
    slope = jnp.sum(found["saliency"] * step, axis=(1, 2, 3))
    np.testing.assert_allclose(slope, found["slope"], rtol=1e-2, atol=1e-5)
    # Contributions of either sign may cancel, and leave the rounding of each.
    np.testing.assert_allclose(contributed, found["gain"], rtol=1e-3, atol=1e-5)
    assert found["smooth"].shape == images.shape
    for name in ("occlusion", "grad_cam"):
        assert found[name].shape == images.shape[:3]
        assert np.isfinite(found[name]).all()
    assert found["grad_cam"].min() >= 0
    layer = model.network.output
    logits = found["features"] @ layer.kernel[...] + layer.bias[...]
    np.testing.assert_allclose(logits, found["logits"], rtol=1e-4, atol=1e-4)


def bars(images: jax.Array, tap: explain.Tap) -> jax.Array:
    """A network that knows upright bars (output 0) and lying ones (output 1), three pixels long."""
    upright = np.array([[-1, 2, -1]] * 3, np.float32)
    kernel = np.stack([upright, upright.T], axis=-1)[:, :, None]
    maps = jax.lax.conv_general_dilated(
        images.mean(-1, keepdims=True), kernel, (1, 1), "SAME", None, None, ("NHWC", "HWIO", "NHWC")
    )
    maps = tap("activation", jax.nn.relu(tap("conv", maps) - 1))
    return tap("output", tap("pool", maps.sum((1, 2))))


def bars_alone(images: jax.Array) -> jax.Array:
    return bars(images, lambda name, value: value)


UPRIGHT = (slice(2, 5), slice(3, 6))
LYING = (slice(12, 15), slice(11, 14))


def image_of_bars(channels: int) -> np.ndarray:
    """Both bars, each in the middle of its place."""
    image = np.zeros((1, 18, 18, channels), np.float32)
    image[0, UPRIGHT[0], 4] = 1
    image[0, 13, LYING[1]] = 1
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_methods_point_at_the_planted_feature(channels: int):
    image = image_of_bars(channels)
    image = np.concatenate([image, image])

    @jax.jit
    def explanations(images: jax.Array, outputs: jax.Array) -> dict:
        target = explain.output(outputs)
        covered = explain.occlusion(bars_alone, images, target, 3, 1)
        return {
            "occlusion": covered.heat,
            "Grad-CAM": explain.grad_cam(bars, images, target, "activation"),
            "saliency": explain.strength(explain.saliency(bars_alone, images, target)),
            "integrated": explain.evidence(
                explain.integrated_gradients(bars_alone, images, target, 0.0)
            ),
            "corners": explain.first_seen(covered),
        }

    # The same image twice: why upright, and why lying?
    found = explanations(image, jnp.array([0, 1]))
    # What was seen first is the first patch that covers the whole bar.
    np.testing.assert_array_equal(found.pop("corners"), [[2, 2], [11, 11]])
    for method, heat in found.items():
        for row, place in zip(heat, (UPRIGHT, LYING), strict=True):
            elsewhere = np.array(row)
            elsewhere[place] = -np.inf
            assert row[place].max() > elsewhere.max() + 1e-3, method


def test_a_difference_speaks_for_one_and_against_the_other():
    image = image_of_bars(1)
    target = explain.difference(0, 1)
    covered = explain.occlusion(bars_alone, image, target, 3, 3)
    heat = np.asarray(covered.heat[0])
    assert heat[UPRIGHT].mean() > 0 > heat[LYING].mean()
    np.testing.assert_allclose(
        explain.occlusion(bars_alone, image, explain.difference(1, 0), 3, 3).heat, -covered.heat
    )


@pytest.mark.parametrize(("patch", "stride"), [(4, 3), (5, 5), (18, 1)])
def test_occlusion_is_that_of_a_plain_loop(patch: int, stride: int):
    rng = np.random.default_rng(0)
    images, weights = rng.normal(size=(2, 2, 18, 20, 3)).astype(np.float32)
    fill = np.array([0.5, -1, 2], np.float32)

    def logits_of(images: jax.Array) -> jax.Array:
        return jnp.sum(images * weights, axis=(1, 2))

    found = explain.occlusion(logits_of, images, explain.output(2), patch, stride, fill)
    tops = sorted({*range(0, 18 - patch, stride), 18 - patch})
    lefts = sorted({*range(0, 20 - patch, stride), 20 - patch})
    np.testing.assert_array_equal(found.tops, tops)
    np.testing.assert_array_equal(found.lefts, lefts)
    total, count = np.zeros((2, 18, 20)), np.zeros((18, 20))
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            place = (slice(top, top + patch), slice(left, left + patch))
            lost = ((images - fill) * weights)[:, place[0], place[1], 2].sum((1, 2))
            np.testing.assert_allclose(found.drops[:, row, column], lost, rtol=1e-3, atol=1e-3)
            total[:, place[0], place[1]] += lost[:, None, None]
            count[place] += 1
    np.testing.assert_allclose(found.heat, total / count, rtol=1e-3, atol=1e-3)


def test_smooth_grad_of_a_quadratic_is_its_gradient_at_the_image():
    images = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype(np.float32)
    images[1] *= 10

    def logits_of(images: jax.Array) -> jax.Array:
        return jnp.sum(images**2, axis=(1, 2))

    found = explain.smooth_grad(logits_of, images, explain.output(0), KEY, 0.1, 2000)
    # The mean over samples is off by 2 * noise / sqrt(samples), in units of the image's range.
    off = np.asarray(found - 2 * images).std(axis=(1, 2, 3)) / np.ptp(images, axis=(1, 2, 3))
    np.testing.assert_allclose(off, 2 * 0.1 / np.sqrt(2000), rtol=0.6)
    none = explain.smooth_grad(logits_of, images, explain.output(0), KEY, 0.0, 1)
    np.testing.assert_allclose(none, 2 * images, rtol=1e-6)


def test_pixels_of_attributions():
    attributions = np.array([[[[1.0, -3.0, 0.5]]]])
    assert explain.strength(attributions) == 3
    assert explain.evidence(attributions) == -1.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: explain.output(4)(x[:, :, 0, 0]), "no output 4; give 0 to 3"),
        (lambda x: explain.output(np.array([0, -1]))(x[:, :, 0, 0]), "give 0 to 3"),
        (lambda x: explain.occlusion(None, x, None, 5), r"patch=5 does not fit; give 1 to 4"),
        (lambda x: explain.occlusion(None, x, None, 2, 3), r"stride=3 leaves gaps; give 1 to 2"),
        (
            lambda x: explain.grad_cam(bars, x, explain.output(0), "conv9"),
            "no layer 'conv9'; give one of conv, activation, pool, output",
        ),
        (
            lambda x: explain.grad_cam(bars, x, explain.output(0), "pool"),
            "'pool' has no feature maps",
        ),
        (lambda x: explain.features(bars, x, "conv"), "no layer 'conv'; give one of act"),
        (lambda x: explain.first_kernel({"dense": x[0, 0]}, 1), "no convolution"),
    ],
)
def test_what_cannot_be_explained_is_refused(call, message: str):
    with pytest.raises(UsageError, match=message):
        call(jnp.zeros((2, 4, 4, 1)))
