"""The lecture in its own order, each station computed by this package's functions and drawn.

Here are also the two stations that look at trained networks: all stages of one image, and guesses.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnn_jax import compilation
from cnn_jax.analysis import predictions
from cnn_jax.analysis.explain import feature_map_strips, feature_maps, layer_outputs
from cnn_jax.analysis.figures import image_to_png, to_png
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.walkthrough import deciding, learning, seeing
from cnn_jax.analysis.walkthrough.lecture import Station, Trained, named, signed_image

_MAPS = 4
_GUESSES = 5
_AT_RANDOM = 8
_AMBIGUOUS = 4

STATIONS: tuple[Callable[[], Station], ...] = (
    seeing.image,
    seeing.convolution_,
    seeing.activation,
    seeing.pooling_,
    seeing.flattening,
)
"""Those before the whole network is looked at; `LATER_STATIONS` are those after it."""

LATER_STATIONS: tuple[Callable[[], Station], ...] = (
    deciding.sigmoid_or_softmax,
    deciding.loss,
    learning.gradient_descent,
    learning.stochastic_gradient_descent,
    learning.augmentation,
    learning.parameters,
)


def render_walkthrough(smiles: Trained, guesser: Trained) -> str:
    """The page, self-contained: it opens offline and asks for nothing from outside.

    Args:
        smiles: a network that tells smiles, to look into; its first example is the image that is
            followed through it.
        guesser: the network whose ranked guesses are shown.
    """
    stations = [
        *(make() for make in STATIONS),
        network(smiles),
        *(make() for make in LATER_STATIONS),
        guesses(guesser),
    ]
    return page_template("walkthrough/page.html").render(
        stations=stations,
        part={station.anchor: station for station in stations},
        moves={station.anchor: station.moves for station in stations if station.moves is not None},
        live=smiles.live,
    )


def network(trained: Trained) -> Station:
    """The first image of the trained network at each of its stages."""
    image = trained.images[0]
    given = trained.normalize(jnp.asarray(image[None], jnp.float32))
    maps, outputs = compilation.jit(
        lambda images: (
            feature_maps(trained.network, images),
            layer_outputs(trained.network, images),
        )
    )(given)
    strips = feature_map_strips(image, {name: np.asarray(v[0]) for name, v in maps.items()}, _MAPS)
    shown = {
        "image": image_to_png(image),
        "strips": to_png(strips, 160),
        "vectors": [
            (name, values.size, image_to_png(signed_image(np.asarray(values)), values.size))
            for name, values in outputs.items()
            if values.ndim == 2
        ],
        "rows": trained.parameters,
        "parameters": sum(row.count for row in trained.parameters),
        "guesses": _guesses(trained, 0),
        "train_examples": trained.train_examples,
        "test_examples": len(trained.images),
        "accuracy": float(np.mean(trained.probabilities.argmax(1) == trained.labels)),
    }
    functions = named(feature_maps, feature_map_strips)
    return Station("network", "The whole network reads a smile", functions, shown)


def guesses(trained: Trained) -> Station:
    """Images drawn at random, and the ones that it is torn on, each with its ranked guesses."""
    drawn = np.sort(np.random.default_rng(0).permutation(len(trained.images))[:_AT_RANDOM])
    torn = predictions.most_ambiguous(trained.probabilities, _AMBIGUOUS)
    shown: dict[str, Any] = {
        "model": trained.model,
        "dataset": trained.dataset,
        "train_examples": trained.train_examples,
        "test_examples": len(trained.images),
        "classes": len(trained.class_names),
        "several": trained.labels.ndim == 2,
        "calibrated": trained.calibrated,
        "drawn": [_card(trained, index) for index in drawn],
        "torn": [_card(trained, index) for index in torn],
    }
    if trained.labels.ndim == 1:
        shown["accuracy"] = float(np.mean(trained.probabilities.argmax(1) == trained.labels))
    functions = named(predictions.ranked, predictions.most_ambiguous)
    return Station("guesses", "Ranked guesses", functions, shown)


def _card(trained: Trained, index: int) -> dict[str, Any]:
    return {
        "number": int(index),
        "image": image_to_png(trained.images[index]),
        "truth": ", ".join(trained.class_names[label] for label in _true(trained, index)),
        "guesses": _guesses(trained, index),
    }


def _guesses(trained: Trained, index: int) -> list[dict[str, Any]]:
    true = {trained.class_names[label] for label in _true(trained, index)}
    (ranked,) = predictions.ranked(
        trained.probabilities[index : index + 1], trained.class_names, _GUESSES
    )
    return [guess._asdict() | {"right": guess.name in true} for guess in ranked]


def _true(trained: Trained, index: int) -> list[int]:
    """The class of an image, or those of its labels that are there."""
    label = trained.labels[index]
    return [int(label)] if np.ndim(label) == 0 else np.flatnonzero(label).tolist()
