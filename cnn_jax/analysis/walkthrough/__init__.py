"""The lecture on convolutional networks as one page, its numbers computed by this package.

`seeing`, `deciding` and `learning` make the stations, `lecture` holds its own numbers, `drawings`
draw, and `page` puts the stations in order.
"""
# fmt: off

from cnn_jax.analysis.walkthrough.lecture import Station, Trained
from cnn_jax.analysis.walkthrough.page import render_walkthrough

__all__ = [
    "Station", "Trained", "render_walkthrough",
]
