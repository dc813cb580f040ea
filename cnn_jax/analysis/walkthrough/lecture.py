"""The lecture: what a station of it is, its own numbers, and its smile."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from cnn_jax.analysis.explain import Network, colors
from cnn_jax.analysis.live import Live
from cnn_jax.models import ParameterRow
from cnn_jax.ops.augment import pixels


class Station(NamedTuple):
    """One station: its words are in the templates, its numbers and pictures here.

    Attributes:
        anchor: where in the page it is.
        title: its heading.
        functions: the dotted names of the functions that computed it.
        shown: numbers and pictures, by the names that the page knows them by.
        moves: what its script is given, as JSON can hold it; None: nothing moves there.
    """

    anchor: str
    title: str
    functions: tuple[str, ...]
    shown: dict[str, Any]
    moves: dict[str, Any] | None = None


class Trained(NamedTuple):
    """A trained network and test images that it has been asked about.

    Attributes:
        model: its name.
        dataset: the name of what it was trained on.
        train_examples: how many images it was trained on.
        class_names: one for each output.
        network: normalized images and a tap to logits.
        normalize: from bytes to what the network takes.
        parameters: its layers.
        images: test images.
        labels: their true classes; multi-hot rows where an image has several labels.
        probabilities: what the network says of them.
        calibrated: whether its outputs are meant as probabilities.
        live: the network for the page to run.
    """

    model: str
    dataset: str
    train_examples: int
    class_names: Sequence[str]
    network: Network
    normalize: Callable[[Array], Array]
    parameters: Sequence[ParameterRow]
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]
    probabilities: Float[np.ndarray, "n classes"]
    calibrated: bool
    live: Live = Live(None)


def named(*functions: Callable) -> tuple[str, ...]:
    """The dotted names of functions, as one imports them."""
    return tuple(f"{_home(function)}.{function.__qualname__}" for function in functions)


def _home(function: Callable) -> str:
    """The room that shows a function, or else its module."""
    room = function.__module__.rpartition(".")[0]
    shown = getattr(sys.modules.get(room), "__all__", ())
    return room if function.__qualname__ in shown else function.__module__


HOT_PINK = (255, 105, 180)

# The sliding filter, and the first number of its feature map.
IMAGE = np.array(
    [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]],
    np.float32,
)
FILTER = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)
PRINTED_FIRST = 4

# Pooling with a 2x2 window that moves by 2.
FEATURE_MAP = np.array([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]], np.float32)
PRINTED_MAXIMA = ((9, 7), (8, 6))
PRINTED_MEANS = ((4.25, 4.25), (4.25, 3.5))

# Flattening.
POOLED_MAP = np.array([[1, 1, 0], [4, 2, 1], [0, 2, 1]], np.float32)
PRINTED_COLUMN = (1, 1, 0, 4, 2, 1, 0, 2, 1)

# Sigmoid against softmax.
VEHICLES = ("bus", "car", "truck", "train")
SCORES = np.array([-0.5, 1.2, -0.1, 2.4], np.float32)
PRINTED_SIGMOID = ("0.37", "0.77", "0.48", "0.91")
PRINTED_SIGMOID_SUM = "2.53"
PRINTED_SOFTMAX = ("0.04", "0.21", "0.05", "0.70")
PRINTED_SOFTMAX_SUM = "1.00"

# "Predicting a probability of .011 when the actual observation label is 1."
CONFIDENTLY_WRONG = 0.011


_FACE = (255, 214, 70)
_INK = (40, 30, 40)
# Each pixel is the mean of so many points along each side, which makes the edges smooth.
_POINTS = 8


def color_smile(side: int, happy: bool = True) -> UInt8[np.ndarray, "side side 3"]:
    """A winking face on hot pink; it is no mirror image of itself, so that a flip shows.

    Args:
        side: in pixels.
        happy: whether its mouth is a smile or a frown.
    """
    # Coordinates from -1 to 1, to the right and down.
    axis = (np.arange(side * _POINTS) + 0.5) / (side * _POINTS) * 2 - 1
    x, y = np.meshgrid(axis, axis)
    picture = np.empty((*x.shape, 3), np.float32)
    picture[:] = HOT_PINK
    picture[x**2 + y**2 < 0.9**2] = _FACE
    picture[_features(x, y, happy)] = _INK
    means = picture.reshape(side, _POINTS, side, _POINTS, 3).mean((1, 3))
    return np.round(means).astype(np.uint8)


def gray_smile(side: int) -> UInt8[np.ndarray, "side side 1"]:
    """The same in shades of gray."""
    gray = pixels.luminance(jnp.asarray(color_smile(side), jnp.float32))
    return np.asarray(jnp.round(gray)).astype(np.uint8)


def planes(image: UInt8[np.ndarray, "h w 3"]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Its red, its green and its blue part, each in its own color."""
    return [image * np.eye(3, dtype=np.uint8)[channel] for channel in range(3)]


def signed_image(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A map of numbers as a picture: positive ones blue, negative ones vermilion, zero white."""
    scale = np.abs(values).max() or 1.0
    shades = colors(signed=True)((values / scale + 1) / 2)
    return np.round(255 * shades[..., :3]).astype(np.uint8)


def _features(x: np.ndarray, y: np.ndarray, happy: bool) -> Bool[np.ndarray, "h w"]:
    open_eye = ((x + 0.33) / 0.12) ** 2 + ((y + 0.28) / 0.2) ** 2 < 1
    wink = (np.abs(y + 0.26) < 0.07) & (np.abs(x - 0.35) < 0.2)
    # An arc of a circle: its lower part smiles, its upper part frowns.
    center, below = (0.05, 1) if happy else (0.8, -1)
    from_center = np.hypot(x, y - center)
    mouth = (np.abs(from_center - 0.5) < 0.085) & (below * (y - center) > 0.18)
    return open_eye | wink | mouth
