"""The lecture in its own order, each station computed by this package's functions and drawn."""

from collections.abc import Callable

from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.walkthrough import deciding, learning, seeing
from cnn_jax.analysis.walkthrough import trained as trained_stations
from cnn_jax.analysis.walkthrough.station import Station, Trained

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
        trained_stations.network(smiles),
        *(make() for make in LATER_STATIONS),
        trained_stations.guesses(guesser),
    ]
    return page_template("walkthrough/page.html").render(
        stations=stations, part={station.anchor: station for station in stations}
    )
