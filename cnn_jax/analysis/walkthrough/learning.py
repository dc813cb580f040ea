"""The stations about learning: descent, augmentation, and how many parameters there are."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax import compilation, ops
from cnn_jax.analysis.figures import image_to_png, to_svg
from cnn_jax.analysis.walkthrough import drawings
from cnn_jax.analysis.walkthrough.lecture import Station, color_smile, named
from cnn_jax.models import Architecture, build_abstract, count_parameters
from cnn_jax.models import parameters as counting
from cnn_jax.ops import Number, activations, augment, losses, updates
from cnn_jax.ops.augment import AUGMENTATIONS

Loss = Callable[[Float[Array, "2"]], Float[Array, ""]]

# How sharply the valley bends along its two directions.
CURVATURES = (1.0, 10.0)
# The weights that the labels of `noisy_examples` are drawn with.
_TRUE_WEIGHTS = (2.0, -1.0)

_START = (-4.0, 1.0)
_STEPS = 16
# As parts of the largest rate at which gradient descent on the valley does not diverge.
_RATES = {"small": 0.1, "good": 0.75, "too large": 1.03}

_EXAMPLES = 100
_DATA_START = (-2.0, 2.5)
_FULL_RATE, _SINGLE_RATE = 2.0, 0.3
_FULL_STEPS, _PASSES = 30, 3

# What is asked for, where the default is too faint or too rare to be seen in a few draws.
STRONGER = {
    "flip": "flip:1",
    "translate": "translate:10",
    "random_resized_crop": "random_resized_crop:0.4",
    "rotate": "rotate:40",
    "shear": "shear:25",
    "scale": "scale:1.5",
    "elastic": "elastic:1.5",
    "cutout": "cutout:20",
    "random_erasing": "random_erasing:1",
    "brightness": "brightness:0.5",
    "contrast": "contrast:0.6",
    "saturation": "saturation:1",
    "hue": "hue:0.4",
    "grayscale": "grayscale:0.5",
    "invert": "invert:1",
    "gaussian_noise": "gaussian_noise:0.15",
    "blur": "blur:3",
    "mixup": "mixup:1",
}
_DRAWS = 4
# Parts of the strength that it is shown at.
_SHARES = (0.25, 0.5, 0.75)
# Beside the smile as many frowns, so that it is seldom mixed with itself.
_FROWNS = 7
_SIDE = 64
_SHAPE, _CLASSES = (28, 28, 1), 10


def valley(weights: Float[Array, "2"]) -> Float[Array, ""]:
    """A loss of two weights that is steep along one and flat along the other, least at (0, 0)."""
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * weights**2)


def descend(
    loss: Loss, start: Float[Array, "2"], learning_rate: Number, steps: int
) -> Float[Array, "s 2"]:
    """The weights before the first and after each step of gradient descent."""
    return descend_by_example(
        lambda weights, _: loss(weights), start, learning_rate, jnp.arange(steps)
    )


def descend_by_example(
    loss: Callable[[Array, Array], Array],
    start: Float[Array, "2"],
    learning_rate: Number,
    order: Int[Array, " steps"],
) -> Float[Array, "s 2"]:
    """The weights before the first and after each step, each by the gradient of one example.

    Args:
        loss: of weights and the indices of the examples to take the mean over.
        start: the first weights.
        learning_rate: of all steps.
        order: the index of the example that each step looks at.
    """

    def step(weights: Array, index: Array) -> tuple[Array, Array]:
        grads = jax.grad(loss)(weights, index[None])
        moves = updates.gradient_descent(grads, (), learning_rate=learning_rate)[0]
        new = updates.apply_updates(weights, moves)
        return new, new

    _, visited = lax.scan(step, start, order)
    return jnp.concatenate([start[None], visited])


def noisy_examples(
    key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "n 2"], Float[Array, "n 1"]]:
    """Points, and labels 0 or 1 that a neuron of `_TRUE_WEIGHTS` gives them, by chance."""
    first, second = jax.random.split(key)
    points = jax.random.normal(first, (count, 2))
    probability = activations.sigmoid(points @ jnp.asarray(_TRUE_WEIGHTS))
    labels = jax.random.bernoulli(second, probability).astype(jnp.float32)
    return points, labels[:, None]


def neuron_loss(
    points: Float[Array, "n 2"], labels: Float[Array, "n 1"]
) -> Callable[[Float[Array, "2"], Int[Array, " b"]], Float[Array, ""]]:
    """The mean binary cross-entropy of one neuron with two weights, over chosen examples."""

    def loss(weights: Array, chosen: Array) -> Array:
        logits = ops.dense(points[chosen], weights[:, None], jnp.zeros(1))
        return jnp.mean(losses.binary_cross_entropy(logits, labels[chosen]))

    return loss


def least(loss: Loss, start: Float[Array, "2"], steps: int = 20) -> Float[Array, "2"]:
    """The weights of the least loss, by Newton's method."""

    def step(weights: Array, _: None) -> tuple[Array, None]:
        return weights - jnp.linalg.solve(jax.hessian(loss)(weights), jax.grad(loss)(weights)), None

    return lax.scan(step, start, length=steps)[0]


def gradient_descent() -> Station:
    """One valley, three learning rates."""
    start = jnp.asarray(_START)
    bends = np.linalg.eigvalsh(np.asarray(compilation.jit(jax.hessian(valley))(start)))
    limit = 2 / float(bends[-1])
    rates = {name: share * limit for name, share in _RATES.items()}
    found = compilation.jit(jax.vmap(lambda rate: descend(valley, start, rate, _STEPS)))(
        jnp.asarray(list(rates.values()))
    )
    paths = {
        f"{name}: α = {rate:.3g}": np.asarray(path)
        for (name, rate), path in zip(rates.items(), found, strict=True)
    }
    wide, high = (-4.6, 4.6), (-3, 3)
    axes = np.linspace(*wide, 93, dtype=np.float32), np.linspace(*high, 61, dtype=np.float32)
    good = found[list(rates).index("good")]
    shown = {
        "picture": to_svg(
            drawings.paths_on_contours(axes, _heights(valley, axes), paths, np.zeros(2)), "descent"
        ),
        "curvatures": CURVATURES,
        "limit": limit,
        "steps": _STEPS,
        "rows": [
            (name, rate, float(valley(path[0])), float(valley(path[-1])))
            for (name, rate), path in zip(rates.items(), found, strict=True)
        ],
        "old": good[0].tolist(),
        "gradient": jax.grad(valley)(good[0]).tolist(),
        "rate": rates["good"],
        "new": good[1].tolist(),
    }
    functions = (*named(updates.gradient_descent), "jax.grad")
    moves = {"curvatures": CURVATURES, "start": _START, "range": (wide, high), "rates": rates}
    return Station("descent", "Gradient descent and the learning rate", functions, shown, moves)


def stochastic_gradient_descent() -> Station:
    """The gradient of all examples against the gradient of one, on the loss of one neuron."""
    data_key, order_key = jax.random.split(jax.random.key(0))
    points, labels = compilation.jit(partial(noisy_examples, count=_EXAMPLES))(data_key)
    loss = neuron_loss(points, labels)
    start = jnp.asarray(_DATA_START)

    def over_all(weights: Array) -> Array:
        return loss(weights, jnp.arange(_EXAMPLES))

    passes = jax.random.split(order_key, _PASSES)
    shuffle = compilation.jit(jax.vmap(lambda key: jax.random.permutation(key, _EXAMPLES)))
    order = shuffle(passes).reshape(-1)
    full = compilation.jit(lambda: descend(over_all, start, _FULL_RATE, _FULL_STEPS))()
    single = compilation.jit(lambda: descend_by_example(loss, start, _SINGLE_RATE, order))()
    best = compilation.jit(lambda: least(over_all, jnp.zeros(2)))()
    wide, high = (-3, 4), (-3, 3.4)
    axes = np.linspace(*wide, 71, dtype=np.float32), np.linspace(*high, 65, dtype=np.float32)
    names = {
        "full": f"gradient descent, α = {_FULL_RATE:g}: {_FULL_STEPS} steps",
        "single": f"SGD, α = {_SINGLE_RATE:g}: {len(order)} steps",
    }
    paths = {names["full"]: np.asarray(full), names["single"]: np.asarray(single)}
    heights = compilation.jit(jax.vmap(over_all))
    seen = {names["full"]: _EXAMPLES, names["single"]: 1}
    curves = {
        name: (np.arange(len(path)) * seen[name], np.asarray(heights(path)))
        for name, path in paths.items()
    }
    full_loss, single_loss = (curves[name][1] for name in names.values())
    shown = {
        "picture": to_svg(
            drawings.paths_on_contours(axes, _heights(over_all, axes), paths, np.asarray(best)),
            "sgd",
        ),
        "curves": to_svg(drawings.loss_over_examples(curves), "sgd-loss"),
        "examples": _EXAMPLES,
        "passes": _PASSES,
        "start_loss": float(full_loss[0]),
        "best_loss": float(over_all(best)),
        "full_after_pass": float(full_loss[1]),
        "single_after_pass": float(single_loss[_EXAMPLES]),
        "full_steps": _FULL_STEPS,
        "full_after": float(full_loss[-1]),
        "single_after": float(single_loss[-1]),
    }
    functions = named(updates.gradient_descent, losses.binary_cross_entropy)
    moves = {
        "points": np.asarray(points, float).round(4).tolist(),
        "labels": np.asarray(labels[:, 0], int).tolist(),
        "start": _DATA_START,
        "range": (wide, high),
        "rates": {"gradient descent": _FULL_RATE, "SGD": _SINGLE_RATE},
    }
    return Station("sgd", "Stochastic gradient descent", functions, shown, moves)


def _heights(
    loss: Loss, axes: tuple[Float[np.ndarray, "nx"], Float[np.ndarray, "ny"]]
) -> Float[np.ndarray, "ny nx"]:
    first, second = np.meshgrid(*axes)
    return np.asarray(
        compilation.jit(jax.vmap(jax.vmap(loss)))(jnp.stack([first, second], axis=-1))
    )


def augmentation() -> Station:
    """One image as every augmentation changes it."""
    smile, frown = color_smile(_SIDE), color_smile(_SIDE, happy=False)
    images = jnp.asarray(np.stack([smile, *[frown] * _FROWNS])) / 255
    targets = jnp.eye(2)[jnp.asarray([0] + [1] * _FROWNS)]
    cards = {name: _augmented(name, images, targets) for name in AUGMENTATIONS}
    shown = {
        "original": image_to_png(smile),
        "other": image_to_png(frown),
        "cards": list(cards.values()),
        "draws": _DRAWS,
    }
    moves = {name: {"strengths": card["weaker"]} for name, card in cards.items() if card["weaker"]}
    functions = named(augment.parse, augment.apply)
    return Station("augmentation", "Augmentation", functions, shown, moves)


def _augmented(
    name: str, images: Float[Array, "n h w c"], targets: Float[Array, "n 2"]
) -> Mapping[str, Any]:
    """The draws of one augmentation, and for a mixture the targets that it mixes."""
    text = STRONGER.get(name, name)
    calls = augment.parse(text)
    mixes = AUGMENTATIONS[name].batch
    given = images if mixes else images[:1]

    @compilation.jit
    def draw(numbers: dict[str, Array]) -> tuple[Array, Array]:
        def epoch(number: Array) -> tuple[Array, Array]:
            key, some = jax.random.key(3), targets[: len(given)]
            changed, soft = augment.apply(calls, key, given, some, epoch=number, numbers=numbers)
            return changed[0], soft[0]

        return jax.lax.map(epoch, jnp.arange(_DRAWS))

    def pictures(drawn: Array) -> list[str]:
        return [image_to_png(image) for image in np.asarray(jnp.round(255 * drawn), np.uint8)]

    drawn, soft = draw(augment.numbers(calls))
    return {
        "name": name,
        "text": text,
        "meaning": AUGMENTATIONS[name].meaning,
        "pictures": pictures(drawn),
        "targets": np.asarray(soft)[:, 0].tolist() if mixes else None,
        "weaker": []
        if mixes
        else [
            {"text": weak, "pictures": pictures(draw(augment.numbers(augment.parse(weak)))[0])}
            for weak in _weaker(name, augment.numbers(calls))
        ],
    }


def _weaker(name: str, numbers: Mapping[str, float]) -> list[str]:
    """The augmentation at parts of its strength, where it has one and they are allowed."""
    texts = []
    for share in _SHARES if name in numbers else ():
        text = f"{name}:{numbers[name] * share:.3g}"
        try:
            augment.parse(text)
        except ValueError:
            continue
        texts.append(text)
    return texts


def parameters() -> Station:
    """LeNet-5, layer by layer."""
    model = build_abstract(Architecture(model="lenet5"), _SHAPE, _CLASSES)
    rows = count_parameters(model, _SHAPE)
    total = sum(row.count for row in rows)
    shown = {
        "rows": rows,
        "total": total,
        "counted": sum(row.counted for row in rows),
        "dense_share": sum(row.count for row in rows if row.kind == "dense") / total,
        "shape": _SHAPE,
    }
    return Station("parameters", "Counting parameters", named(counting.count_parameters), shown)
