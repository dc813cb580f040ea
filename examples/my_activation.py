"""An activation with a number, and one with a learned parameter.

cnn_jax train --extend=examples/my_activation.py --activation=my_wave --frequency=0.5
cnn_jax ablate --extend=examples/my_activation.py --vary=activation=relu,my_wave
"""

from typing import Annotated

import jax.numpy as jnp

import cnn_jax
from cnn_jax.ops import Interval


@cnn_jax.activation
def my_wave(x, *, frequency: Annotated[float, Interval("(0, inf)"), "of the wave"] = 1.0):
    """The wave x sin(frequency x)."""
    return x * jnp.sin(frequency * x)


@cnn_jax.activation(initial=1.0)
def my_swish(x, slope):
    """Swish x sigmoid(slope x), its slope learned in every layer."""
    return x * cnn_jax.ops.sigmoid(slope * x)
