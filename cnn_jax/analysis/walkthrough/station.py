"""What a station of the walkthrough is, and the trained networks that two of them look at."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from cnn_jax.analysis.explain.feature_maps import Network
from cnn_jax.models import ParameterRow


class Station(NamedTuple):
    """One station: its words are in walkthrough.html, its numbers and pictures here.

    Attributes:
        anchor: where in the page it is.
        title: its heading.
        functions: the dotted names of the functions that computed it.
        shown: numbers and pictures, by the names that the page knows them by.
    """

    anchor: str
    title: str
    functions: tuple[str, ...]
    shown: dict[str, Any]


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


def named(*functions: Callable) -> tuple[str, ...]:
    """The dotted names of functions, as one imports them."""
    return tuple(f"{function.__module__}.{function.__qualname__}" for function in functions)
