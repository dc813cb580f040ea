"""The first stations: how an image becomes numbers, feature maps, and one long row."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_jax import compilation, ops
from cnn_jax.analysis.figures import image_to_png, to_svg
from cnn_jax.analysis.walkthrough import drawings, lecture
from cnn_jax.analysis.walkthrough.lecture import Station, named
from cnn_jax.ops import activations, convolution, pooling
from cnn_jax.ops.augment import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BITS = np.iinfo(np.uint8).bits
_NUMBERED_SIDE = 14
_PICTURE_SIDE = 96

# Filters that everybody knows, to slide over the smile.
_FILTERS = {
    "horizontal edges": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "vertical edges": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "all edges": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
}
_BIAS = -3.0
_WINDOW = 2
_NET_INPUTS = (-3.0, -1.0, 0.0, 1.0, 3.0)


def image() -> Station:
    """Shades of gray and planes of color, as bytes."""
    small, colored = lecture.gray_smile(_NUMBERED_SIDE), lecture.color_smile(_PICTURE_SIDE)
    pink = np.array(lecture.HOT_PINK, np.uint8)
    shown = {
        "bits": _BITS,
        "shades": 2**_BITS,
        "largest": int(np.iinfo(np.uint8).max),
        "ramp": image_to_png(np.arange(256, dtype=np.uint8)[None, :, None], 256),
        "numbered": to_svg(drawings.numbered_image(small), "numbered"),
        "side": _NUMBERED_SIDE,
        "color": image_to_png(colored),
        "planes": [image_to_png(plane) for plane in lecture.planes(colored)],
        "pink": pink.tolist(),
        "pink_bits": [format(value, f"0{_BITS}b") for value in pink.tolist()],
        "pink_gray": float(pixels.luminance(jnp.asarray(pink, jnp.float32))[0]),
    }
    functions = named(lecture.color_smile, pixels.luminance)
    return Station("image", "An image is numbers", functions, shown)


def convolution_() -> Station:
    """The lecture's 5x5 example step by step, then filters that find edges."""
    feature_map = _convolve(lecture.IMAGE, lecture.FILTER)
    places = drawings.window_places(feature_map)

    def frame(place: tuple[int, int], caption: str = "") -> Any:
        return drawings.convolution_frame(
            lecture.IMAGE, lecture.FILTER, feature_map, place, caption
        )

    sums = [
        drawings.weighted_sum(lecture.IMAGE, lecture.FILTER, place, float(feature_map[place]))
        for place in places
    ]
    sizes = len(lecture.IMAGE), len(lecture.FILTER)
    smile = lecture.gray_smile(_PICTURE_SIDE)
    maps = {
        name: _convolve(smile[..., 0] / np.float32(255), np.array(kernel, np.float32))
        for name, kernel in _FILTERS.items()
    }
    shown = {
        "image": lecture.IMAGE,
        "filter": lecture.FILTER,
        "feature_map": feature_map,
        "printed_first": lecture.PRINTED_FIRST,
        "gif": drawings.to_gif(
            [frame(place, text) for place, text in zip(places, sums, strict=True)]
        ),
        "steps": [
            (to_svg(frame(place), f"step-{number}"), text)
            for number, (place, text) in enumerate(zip(places, sums, strict=True), 1)
        ],
        "output_size": convolution.output_size(*sizes, padding="VALID"),
        "same_size": convolution.output_size(*sizes, padding="SAME"),
        "smile": image_to_png(smile),
        "filtered": [
            (name, _FILTERS[name], image_to_png(lecture.signed_image(values)))
            for name, values in maps.items()
        ],
    }
    functions = named(convolution.conv2d, convolution.output_size)
    moves = {"image": lecture.IMAGE.tolist(), "filter": lecture.FILTER.tolist()}
    return Station("convolution", "A filter slides over the image", functions, shown, moves)


def _convolve(image: Float[np.ndarray, "h w"], kernel: Float[np.ndarray, "kh kw"]) -> np.ndarray:
    convolve = compilation.jit(partial(convolution.conv2d, padding="VALID"))
    return np.asarray(convolve(image[None, :, :, None], kernel[:, :, None, None])[0, :, :, 0])


def activation() -> Station:
    """A neuron's weighted sum, and five functions of it with their derivatives."""
    functions: dict[str, Callable[[Array], Array]] = {
        "step": activations.step,
        "sigmoid": activations.sigmoid,
        "tanh": activations.tanh,
        "ReLU": activations.relu,
        "leaky ReLU": activations.leaky_relu,
    }
    kinks = [(name, functions[name]) for name in ("ReLU", "leaky ReLU")]
    window = jnp.asarray(lecture.IMAGE[:3, :3].reshape(1, -1))
    kernel = jnp.asarray(lecture.FILTER.reshape(-1, 1))
    net_input = ops.dense(window, kernel, jnp.full(1, _BIAS))[0, 0]
    x = np.linspace(-4, 4, 321, dtype=np.float32)
    points = np.array(_NET_INPUTS, np.float32)
    drawn = {name: _drawn(name, function, x) for name, function in functions.items()}
    shown = {
        "bias": _BIAS,
        "weighted_sum": float(net_input) - _BIAS,
        "net_input": float(net_input),
        "slope": inspect.signature(activations.leaky_relu).parameters["negative_slope"].default,
        "curves": [
            (name, to_svg(drawing, name.replace(" ", "-"))) for name, drawing in drawn.items()
        ],
        "points": _NET_INPUTS,
        "rows": [
            (name, *(values.tolist() for values in _both(function, points)))
            for name, function in functions.items()
        ],
        "at_zero": {name: float(_both(f, np.zeros(1, np.float32))[1][0]) for name, f in kinks},
        "outputs": {name: float(function(net_input)) for name, function in functions.items()},
    }
    named_functions = (*named(ops.dense, *functions.values()), "jax.grad")
    moves = {"names": [*activations.ACTIVATIONS, *activations.PARAMETRIC_ACTIVATIONS]}
    return Station("activation", "Activation functions", named_functions, shown, moves)


def _drawn(name: str, function: Callable[[Array], Array], x: np.ndarray) -> "Figure":
    """The curve of a function and of its derivative; the step's true one is 0."""
    value, derivative = _both(function, x)
    if function is not activations.step:
        return drawings.value_and_derivative(x, value, derivative, name)
    return drawings.value_and_derivative(x, value, np.zeros_like(x), name, derivative)


def _both(function: Callable[[Array], Array], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a function and of its derivative."""
    value, derivative = compilation.jit(jax.vmap(jax.value_and_grad(function)))(x)
    return np.asarray(value), np.asarray(derivative)


def pooling_() -> Station:
    """The lecture's 4x4 feature map, summarized by its largest values and by its means."""
    maps = jnp.asarray(lecture.FEATURE_MAP)[None, :, :, None]
    shown = {
        "window": _WINDOW,
        "feature_map": lecture.FEATURE_MAP,
        "maxima": np.asarray(pooling.max_pool(maps, _WINDOW)[0, :, :, 0]),
        "means": np.asarray(pooling.avg_pool(maps, _WINDOW)[0, :, :, 0]),
        "printed_maxima": lecture.PRINTED_MAXIMA,
        "printed_means": lecture.PRINTED_MEANS,
    }
    functions = named(pooling.max_pool, pooling.avg_pool)
    moves = {"map": lecture.FEATURE_MAP.tolist(), "window": _WINDOW}
    return Station("pooling", "Pooling", functions, shown, moves)


def flattening() -> Station:
    """The lecture's pooled map as one column."""
    column = ops.flatten(jnp.asarray(lecture.POOLED_MAP)[None])[0]
    shown = {
        "pooled": lecture.POOLED_MAP,
        "column": np.asarray(column),
        "printed": lecture.PRINTED_COLUMN,
    }
    return Station("flattening", "Flattening", named(ops.flatten), shown)
