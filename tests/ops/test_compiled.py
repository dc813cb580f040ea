"""Every operation, compiled as the project's programs are, against the same run step by step.

The reference compiles nothing as a whole, so nothing in it is fused: it runs one primitive after
the other, in float64, or in float32 where an operation draws random numbers or rounds (in float64
it would draw others, and round at other places). Shapes are generated; CASES_PER_OP=50 tries more.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_jax import native, ops
from cnn_jax.compilation import EIGEN, ONEDNN, SAFE, jit
from cnn_jax.ops import augment
from cnn_jax.ops.augment import AUGMENTATIONS

CASES = int(os.environ.get("CASES_PER_OP", "2"))


class Case(NamedTuple):
    """A function of float arrays: differentiated as well if asked, exact in float64 or not."""

    function: Callable[..., Any]
    arguments: tuple[np.ndarray, ...]
    gradient: bool = True
    float64: bool = True


class Draw:
    """Numbers and shapes for one case."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)

    def size(self, low: int, high: int) -> int:
        """A whole number, small ones more often."""
        return int(round(low * (high / low) ** self.random.random()))

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.normal(size=shape).astype(np.float32)

    def uniform(self, *shape: int) -> np.ndarray:
        return self.random.uniform(0.01, 0.99, shape).astype(np.float32)

    def labels(self, classes: int, *shape: int) -> np.ndarray:
        return self.random.integers(0, classes, shape).astype(np.int32)

    def images(self) -> np.ndarray:
        side = self.size(5, 33)
        return self.uniform(self.size(1, 17), side, self.size(5, 33), self.size(1, 48))

    def color(self) -> np.ndarray:
        return self.uniform(self.size(5, 33), self.size(5, 33), 3)


def _elementwise(function: Callable, gradient: bool = True) -> Callable[[Draw], Case]:
    return lambda draw: Case(
        function, (draw.normal(draw.size(1, 300), draw.size(1, 300)),), gradient
    )


def _loss(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        batch, classes = draw.size(1, 200), draw.size(2, 200)
        targets = draw.random.dirichlet(np.ones(classes), batch).astype(np.float32)
        return Case(ops.LOSSES[name], (draw.normal(batch, classes), targets))

    return case


def _convolution(draw: Draw) -> Case:
    strides, dilation = draw.size(1, 2), draw.size(1, 2)
    groups = draw.size(1, 2)
    shape = draw.size(1, 5), draw.size(1, 5), draw.size(1, 24), groups * draw.size(1, 24)
    images = draw.normal(draw.size(1, 17), draw.size(9, 33), draw.size(9, 33), shape[2] * groups)
    padding = str(draw.random.choice(["SAME", "VALID"]))

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.conv2d(
            images, kernel, strides=strides, dilation=dilation, padding=padding, groups=groups
        )

    return Case(convolve, (images, draw.normal(*shape)))


def _pool(name: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        window, strides = draw.size(1, 3), draw.size(1, 3)
        return Case(lambda x: ops.POOLINGS[name](x, window, strides=strides), (draw.images(),))

    return case


def _augmentation(name: str) -> Callable[[Draw], Case]:
    found = AUGMENTATIONS[name]

    def case(draw: Draw) -> Case:
        key, numbers = jax.random.key(draw.size(1, 10**6)), found.defaults()
        if not found.batch:
            if found.by_epoch:
                numbers["epoch"] = jnp.int32(1)
            return Case(lambda x: found.function(key, x, **numbers), (draw.color(),), False, False)
        images, targets = draw.images(), draw.uniform(17, 5)

        def mix(images: jax.Array, targets: jax.Array) -> Any:
            return found.function(key, images, targets, **numbers)

        return Case(mix, (images, targets[: len(images)]), False, False)

    return case


def _adjustment(function: Callable, *numbers: float) -> Callable[[Draw], Case]:
    return lambda draw: Case(lambda x: function(x, *numbers), (draw.color(),), False, False)


def _update(function: Callable, **numbers: float) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        shape = draw.size(1, 40), draw.size(1, 40)
        arrays = tuple(draw.normal(*shape) for _ in range(3))
        return Case(lambda g, v, p: function(g, v, p, learning_rate=0.1, **numbers), arrays, False)

    return case


def _of_labels(function: Callable) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        shape = draw.size(1, 200), draw.size(1, 40)
        targets = draw.labels(2, *shape)
        return Case(lambda scores: function(scores, targets), (draw.uniform(*shape),), False, False)

    return case


def _of_classes(function: Callable) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        batch, classes = draw.size(1, 300), draw.size(2, 100)
        labels = draw.labels(classes, batch)
        scores = draw.random.dirichlet(np.ones(classes), batch).astype(np.float32)
        return Case(lambda scores: function(scores, labels), (scores,), False, False)

    return case


def _confusion(draw: Draw) -> np.ndarray:
    classes = draw.size(2, 40)
    return draw.labels(50, classes, classes)


def _case_of_counts(draw: Draw) -> Case:
    def scores(counts: jax.Array) -> jax.Array:
        found = ops.per_class(counts.astype(jnp.int32))
        return jnp.stack([found.precision, found.recall, found.f1])

    return Case(scores, (_confusion(draw).astype(np.float32),), False, False)


def _of_channels(function: Callable, vectors: int) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        images = draw.images()
        return Case(function, (images, *(draw.uniform(images.shape[3]) for _ in range(vectors))))

    return case


MAKERS: dict[str, Callable[[Draw], Case]] = {
    **{name: _elementwise(function) for name, function in ops.ACTIVATIONS.items()},
    "sigmoid": _elementwise(ops.sigmoid),
    "softmax": _elementwise(ops.softmax),
    "flatten": lambda draw: Case(ops.flatten, (draw.images(),)),
    "prelu": lambda draw: Case(ops.prelu, (draw.images(), draw.uniform(1))),
    **{name: _loss(name) for name in ops.LOSSES},
    "error": lambda draw: Case(ops.error, (draw.uniform(9, 7), draw.uniform(9, 7))),
    "log_loss": lambda draw: Case(ops.log_loss, (draw.uniform(9, 7), draw.uniform(9, 7))),
    "conv2d": _convolution,
    "max_pool": _pool("max"),
    "avg_pool": _pool("average"),
    "global_avg_pool": lambda draw: Case(ops.global_avg_pool, (draw.images(),)),
    "add_bias": _of_channels(ops.add_bias, 1),
    "batch_norm": _of_channels(ops.batch_norm, 4),
    "batch_norm_in_training": _of_channels(ops.batch_norm_in_training, 2),
    "batch_statistics": _of_channels(ops.batch_statistics, 0),
    "channel_sums": _of_channels(ops.channel_sums, 0),
    "dense": lambda draw: Case(
        ops.dense,
        (draw.normal(draw.size(1, 300), 77), draw.normal(77, classes := draw.size(1, 99)),
         draw.normal(classes)),
    ),  # fmt: skip
    "dropout": lambda draw: Case(
        lambda x: ops.dropout(jax.random.key(0), x, 0.3), (draw.images(),), float64=False
    ),
    "gradient_descent": _update(ops.gradient_descent),
    "momentum": _update(ops.momentum),
    "nesterov": _update(ops.nesterov),
    "apply_updates": lambda draw: Case(ops.apply_updates, (draw.normal(9), draw.normal(9)), False),
    "init_velocity": lambda draw: Case(ops.init_velocity, (draw.normal(9),), False),
    "orthogonalize": lambda draw: Case(
        ops.orthogonalize, (draw.normal(draw.size(2, 64), draw.size(2, 64)),), False
    ),
    "normalized_muon": lambda draw: Case(
        lambda g, v, p: ops.normalized_muon(g, v, p, learning_rate=0.1),
        tuple(draw.normal(3, 3, 8, 16) for _ in range(3)),
        False,
    ),
    "accuracy": _of_classes(ops.accuracy),
    "correct": _of_classes(ops.correct),
    "top_k_accuracy": _of_classes(lambda scores, labels: ops.top_k_accuracy(scores, labels, 2)),
    "confusion_matrix": _of_classes(
        lambda scores, labels: ops.confusion_matrix(labels, scores.argmax(-1), scores.shape[-1])
    ),
    "per_class": _case_of_counts,
    "expected_calibration_error": _of_classes(ops.expected_calibration_error),
    **{
        name: _of_labels(getattr(ops, name))
        for name in (
            "average_precision", "best_thresholds", "label_accuracy", "label_confusion",
            "label_correct", "label_f1",
        )
    },
    **{f"augment.{name}": _augmentation(name) for name in AUGMENTATIONS},
    "augment.adjust_blur": _adjustment(augment.adjust_blur, 1.3),
    "augment.adjust_brightness": _adjustment(augment.adjust_brightness, 0.7),
    "augment.adjust_contrast": _adjustment(augment.adjust_contrast, 0.7),
    "augment.adjust_hue": _adjustment(augment.adjust_hue, 0.2),
    "augment.adjust_saturation": _adjustment(augment.adjust_saturation, 0.7),
    "augment.adjust_sharpness": _adjustment(augment.adjust_sharpness, 1.7),
    "augment.luminance": _adjustment(augment.luminance),
    "augment.autocontrast": _adjustment(augment.autocontrast),
    "augment.equalize": _adjustment(augment.equalize),
    "augment.posterize": _adjustment(augment.posterize, 3.0),
    "augment.solarize": _adjustment(augment.solarize, 0.6),
    "augment.shift": _adjustment(augment.shift, 2, -1),
    "augment.affine": _adjustment(
        lambda image: augment.affine(image, jnp.array([[0.9, 0.2], [-0.1, 1.1]]))
    ),
    **{
        f"augment.{name}": lambda draw, name=name: Case(
            lambda x: [views(x) for views in [getattr(augment, name)]], (draw.images(),), False
        )
        for name in ("no_views", "flip_views", "translate_views", "flip_translate_views")
    },
}  # fmt: skip
ALIASES = {
    "horizontal_flip": "flip", "conv_general_dilated": "conv2d",
}  # fmt: skip
NOT_OF_ARRAYS = {
    "lowering_on_accelerators", "lowering_on_cpu", "output_size", "register_direct",
    "unregister_direct", "apply", "check_channels", "describe", "needs_soft_targets", "numbers",
    "parse", "without_numbers",
}  # fmt: skip


def test_every_public_operation_has_a_case():
    def public(room: Any) -> set[str]:
        return {
            ALIASES.get(name, name)
            for name in room.__all__
            if callable(value := getattr(room, name))
            and not isinstance(value, type)
            and getattr(value, "__module__", "").startswith("cnn_jax")
        }

    names = {name.removeprefix("augment.") for name in MAKERS}
    assert public(ops) | public(augment) <= names | NOT_OF_ARRAYS


def _program(case: Case) -> Callable[..., Any]:
    """The values, and the gradient of a weighted sum of them."""

    def weighted(*arguments: Any) -> Any:
        values = case.function(*arguments)
        return sum(
            jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape))
            for leaf in jax.tree.leaves(values)
        )

    if not case.gradient:
        return case.function
    numbers = tuple(range(len(case.arguments)))
    return lambda *arguments: (case.function(*arguments), jax.grad(weighted, numbers)(*arguments))


def _expected(case: Case) -> Any:
    with jax.disable_jit():
        if not case.float64:
            return jax.tree.map(np.asarray, _program(case)(*map(jnp.asarray, case.arguments)))
        with jax.enable_x64(True):
            exact = (jnp.asarray(argument, jnp.float64) for argument in case.arguments)
            return jax.tree.map(np.asarray, _program(case)(*exact))


def _check(compiled: Any, expected: Any, words: str) -> None:
    for found, right in zip(jax.tree.leaves(compiled), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(np.max(np.abs(right), initial=0)))
        np.testing.assert_allclose(
            np.asarray(found, np.float64), right, rtol=3e-4, atol=2e-5 * scale, err_msg=words
        )


@pytest.mark.parametrize("name", MAKERS)
@settings(
    max_examples=CASES, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(seed=st.integers(0, 2**31))
def test_compiled_as_run_step_by_step(name: str, seed: int):
    case = MAKERS[name](Draw(seed))
    expected = _expected(case)
    for wanted in (SAFE, EIGEN, ONEDNN):
        _check(jit(_program(case), wanted=wanted)(*case.arguments), expected, f"{name}, {wanted}")
    if name == "conv2d" and native.load():
        direct = jit(_program(case), lowering="direct")
        _check(direct(*case.arguments), expected, f"{name}, direct")
