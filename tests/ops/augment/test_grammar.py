"""What holds for every augmentation, the grammar, and the composition over a batch."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from cnn_jax.ops import Interval
from cnn_jax.ops.augment import (
    AUGMENTATIONS,
    apply,
    check_channels,
    describe,
    needs_soft_targets,
    numbers,
    parse,
)
from cnn_jax.ops.augment.grammar import _computed_once

N, H, W = 16, 12, 10
KEY = random.key(0)
_rng = np.random.default_rng(0)
IMAGES = jnp.float32(_rng.integers(0, 256, (2 * N, H, W, 3)) / 255)
TARGETS = jnp.float32(np.eye(2 * N))
INDICES = jnp.arange(100, 100 + 2 * N)

# The numbers at which an augmentation leaves the image as it is.
NOTHING = {
    "flip": 0,
    "translate": 0,
    "random_resized_crop": 1,
    "random_resized_crop_ratio": 1,
    "rotate": 0,
    "shear": 0,
    "scale": 1,
    "elastic": 0,
    "cutout": 0,
    "random_erasing": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "hue": 0,
    "grayscale": 0,
    "invert": 0,
    "gaussian_noise": 0,
    "blur": 0,
    "mixup": 0,
    "cutmix": 0,
}
ALWAYS_SOMETHING = {"alternating_flip", "rand_augment", "trivial_augment"}


@pytest.fixture(scope="module", params=AUGMENTATIONS)
def augmented(request):
    """An augmentation, compiled once: (indices, places, strengths) -> images and targets."""
    calls = parse(request.param)

    @jax.jit
    def run(indices, places, strengths):
        arguments = {"indices": indices, "epoch": jnp.int32(3), "numbers": strengths}
        return apply(calls, KEY, IMAGES[places], TARGETS[places], **arguments)

    return request.param, calls, run


def test_every_augmentation(augmented):
    name, calls, run = augmented
    strengths = numbers(calls) | ({name: 0.5} if name in ("grayscale", "invert") else {})
    first = jnp.arange(N)
    images, targets = run(INDICES[first], first, strengths)
    assert images.shape == (N, H, W, 3)
    assert targets.shape == (N, 2 * N)
    assert images.dtype == targets.dtype == jnp.float32
    assert jnp.min(images) >= 0
    assert jnp.max(images) <= 1
    assert not np.array_equal(images, IMAGES[:N])
    if not needs_soft_targets(calls):
        np.testing.assert_array_equal(targets, TARGETS[:N])

        same_image = jnp.zeros(N, jnp.int32)
        drawn = np.asarray(run(INDICES[first], same_image, strengths)[0])
        assert len(np.unique(drawn.reshape(N, -1), axis=0)) > 1

        # Among others and at another place, an example comes out the same.
        moved = jnp.roll(first, 1) + jnp.where(first == 0, 0, N)
        again = run(INDICES[moved], moved, strengths)[0]
        np.testing.assert_array_equal(again[0], images[N - 1])

    if name not in ALWAYS_SOMETHING:
        nothing = {key: NOTHING.get(key, value) for key, value in strengths.items()}
        images, targets = run(INDICES[first], first, jax.tree.map(float, nothing))
        np.testing.assert_array_equal(images, IMAGES[:N])
        np.testing.assert_array_equal(targets, TARGETS[:N])


def test_registry_lists_the_arguments_of_the_functions():
    for augmentation in AUGMENTATIONS.values():
        parameters = inspect.signature(augmentation.function).parameters
        taken = [name for name in parameters if name not in ("key", "image", "images", "targets")]
        assert taken == list(augmentation.arguments()) + ["epoch"] * augmentation.by_epoch
        for name, allowed in augmentation.arguments().items():
            if isinstance(allowed, Interval):
                assert allowed.low <= augmentation.defaults()[name] <= allowed.high


def test_parse():
    (flip, translate, cutout) = parse("flip, translate:4, cutout:8")
    assert flip == ("flip", (0.5,))
    assert translate == ("translate", (4.0, "zero"))
    assert cutout == ("cutout", (8.0, "zero"))
    assert parse("flip:.2+ translate : 3 : reflect +cutout:fill = mean:size=4") == (
        ("flip", (0.2,)),
        ("translate", (3.0, "reflect")),
        ("cutout", (4.0, "mean")),
    )
    assert parse("rand_augment:3:magnitude=7") == (("rand_augment", (3, 7.0)),)
    assert parse("") == parse(" none ") == ()
    assert hash(parse("flip")) == hash(parse("flip:p=0.5"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flp", "unknown augmentation 'flp': did you mean flip? Known are alternating_flip, "),
        ("MixUp", "unknown augmentation 'MixUp': did you mean mixup? Known are "),
        ("zzz", "unknown augmentation 'zzz'. Known are alternating_flip, blur, "),
        ("flip,,cutout", "a name is missing in 'flip,,cutout'"),
        ("flip, none", "none stands alone"),
        ("flip, blur, flip:0.3", "flip stands twice"),
        ("translate:x", "pixels of translate must be a number in [0, 65536], got 'x'"),
        ("translate:-1", "pixels of translate must be a number in [0, 65536], got '-1'"),
        ("translate:inf", "a number in [0, 65536], got 'inf'"),
        ("translate:nan", "a number in [0, 65536], got 'nan'"),
        ("translate:", "a number in [0, 65536], got ''"),
        ("flip:2", "p of flip must be a number in [0, 1], got '2'"),
        ("translate:4:mirror", "padding of translate must be zero or reflect, got 'mirror'"),
        ("rand_augment:1.5", "n of rand_augment must be a whole number from 1 to 16, got '1.5'"),
        ("flip:0.5:3", "too many arguments in 'flip:0.5:3': flip takes p"),
        ("trivial_augment:1", "trivial_augment takes no arguments"),
        ("translate:pading=zero", "unknown argument 'pading' in 'translate:pading=zero': did you "),
        ("translate:pixels=4:zero", "'zero' in 'translate:pixels=4:zero' needs its name"),
        ("translate:4:pixels=4", "pixels is given twice"),
        ("elastic:sigma=4:sigma=3", "sigma is given twice"),
    ],
)
def test_parse_names_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(text)


def test_describe_names_everything():
    text = describe()
    for name, augmentation in AUGMENTATIONS.items():
        assert re.search(rf"^{name} .*{re.escape(augmentation.meaning)}$", text, re.MULTILINE)
    assert "pixels=4: a number in [0, 65536]" in text
    assert "padding=zero: zero or reflect" in text
    assert max(map(len, text.splitlines())) <= 100


def test_numbers_have_names():
    calls = parse("flip, translate:4:reflect, elastic:2:sigma=3, rand_augment:2:9")
    assert numbers(calls) == {
        "flip": 0.5,
        "translate": 4.0,
        "elastic": 2.0,
        "elastic_sigma": 3.0,
        "rand_augment_magnitude": 9.0,
    }
    every = [name for spec in AUGMENTATIONS for name in numbers(parse(spec))]
    assert len(every) == len(set(every))


def test_colors_are_required_where_needed():
    for name in ("saturation", "hue", "grayscale"):
        with pytest.raises(ValueError, match=f"{name} needs color images, of 3 channels"):
            check_channels(parse(f"flip, {name}"), 1)
        with pytest.raises(ValueError, match=f"{name} needs color images"):
            apply(parse(name), KEY, IMAGES[..., :1], TARGETS)
        with pytest.raises(ValueError, match=f"{name} needs color images"):
            AUGMENTATIONS[name].function(KEY, IMAGES[0, ..., :1])
        check_channels(parse(name), 3)
    check_channels(parse("flip, brightness"), 1)


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="images must be n h w c"):
        apply((), KEY, IMAGES[0], TARGETS)
    with pytest.raises(TypeError, match="images must be floating point"):
        apply((), KEY, jnp.uint8(IMAGES), TARGETS)
    for name in ("mixup", "cutmix"):
        assert needs_soft_targets(parse(name))
        with pytest.raises(TypeError, match=f"{name} mixes targets"):
            apply(parse(name), KEY, IMAGES, jnp.arange(2 * N))
    with pytest.raises(ValueError, match="padding must be one of zero, reflect"):
        AUGMENTATIONS["translate"].function(KEY, IMAGES[0], padding="edge")
    with pytest.raises(ValueError, match="fill must be one of zero, mean, noise"):
        AUGMENTATIONS["cutout"].function(KEY, IMAGES[0], fill="edge")


def test_gray_images():
    gray = IMAGES[:N, :, :, :1]
    text = (
        "translate:2:reflect, rotate, contrast, blur, cutout:3:mean, random_erasing:fill=zero,"
        "trivial_augment"
    )
    images, _ = jax.jit(lambda images: apply(parse(text), KEY, images, TARGETS[:N]))(gray)
    assert images.shape == gray.shape
    assert images.dtype == gray.dtype
    assert jnp.min(images) >= 0
    assert jnp.max(images) <= 1


def test_apply_is_a_function_of_key_index_and_epoch():
    def run(text, key=KEY, images=IMAGES, indices=INDICES, epoch=0, **kwargs):
        result = apply(parse(text), key, images, None, indices=indices, epoch=epoch, **kwargs)
        return np.asarray(result[0])

    flip = run("flip")
    np.testing.assert_array_equal(run("flip"), flip)
    np.testing.assert_array_equal(run("flip", images=IMAGES[:1], indices=INDICES[:1]), flip[:1])
    assert not np.array_equal(run("flip", key=random.key(1)), flip)
    assert not np.array_equal(run("flip", epoch=1), flip)
    assert not np.array_equal(run("flip", indices=INDICES + 1), flip)
    # Another augmentation changes nothing of what the first one draws.
    hidden = run("flip, cutout:3")
    np.testing.assert_array_equal(np.where(hidden == 0, 0, flip), hidden)
    np.testing.assert_array_equal(run("none"), IMAGES)
    np.testing.assert_array_equal(run("flip:0, cutout", numbers={"cutout": 0}), IMAGES)
    np.testing.assert_array_equal(run("flip", numbers={"flip": 1}), IMAGES[:, :, ::-1])


def test_alternating_flip_takes_turns():
    def run(epoch):
        return apply(parse("alternating_flip"), KEY, IMAGES, None, epoch=epoch)[0]

    mirrored = np.all(run(0) == IMAGES[:, :, ::-1], axis=(1, 2, 3))
    assert 0 < mirrored.sum() < 2 * N
    np.testing.assert_array_equal(run(1), np.asarray(run(0))[:, :, ::-1])
    np.testing.assert_array_equal(run(2), run(0))


def test_numbers_are_swept_by_vmap():
    calls = parse("translate:1")

    def run(key, pixels):
        return apply(calls, key, IMAGES, None, numbers={"translate": pixels})[0]

    keys = jnp.stack([KEY, random.key(1)])
    swept = jax.jit(jax.vmap(run))(keys, jnp.asarray([0.0, 4.0]))
    np.testing.assert_array_equal(swept[0], IMAGES)
    alone, _ = jax.jit(lambda key: apply(parse("translate:4"), key, IMAGES, None))(keys[1])
    np.testing.assert_array_equal(swept[1], alone)


@pytest.mark.parametrize("level", [-3.0, 0.5, 7.9])
def test_images_of_any_range_go_on_as_they_are(level: float):
    images = jnp.full((2, 4, 4, 1), level)
    np.testing.assert_array_equal(jax.jit(_computed_once)(images), images)
