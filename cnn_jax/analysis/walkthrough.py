"""The lecture in its own order, each station computed by this package's functions and drawn."""

from collections.abc import Callable

from cnn_jax.analysis import (
    walkthrough_deciding,
    walkthrough_learning,
    walkthrough_seeing,
    walkthrough_trained,
)
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.walkthrough_station import Station, Trained

STATIONS: tuple[Callable[[], Station], ...] = (
    walkthrough_seeing.image,
    walkthrough_seeing.convolution_,
    walkthrough_seeing.activation,
    walkthrough_seeing.pooling_,
    walkthrough_seeing.flattening,
)
"""Those before the whole network is looked at; `LATER_STATIONS` are those after it."""

LATER_STATIONS: tuple[Callable[[], Station], ...] = (
    walkthrough_deciding.sigmoid_or_softmax,
    walkthrough_deciding.loss,
    walkthrough_learning.gradient_descent,
    walkthrough_learning.stochastic_gradient_descent,
    walkthrough_learning.augmentation,
    walkthrough_learning.parameters,
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
        walkthrough_trained.network(smiles),
        *(make() for make in LATER_STATIONS),
        walkthrough_trained.guesses(guesser),
    ]
    return page_template("walkthrough.html").render(
        stations=stations, part={station.anchor: station for station in stations}
    )
