"""What a card could do, and what it is asked to do."""

from typing import NamedTuple

import jax

from benchmarks.contenders import CLASSES, Network
from cnn_jax.models import build_abstract, multiplications

# Forward, and back for two gradients; a multiplication comes with an addition.
_OPERATIONS = 3 * 2


class Card(NamedTuple):
    """The most that one card does, by its vendor's datasheet, without sparsity.

    Attributes:
        flops: a second, by precision.
        memory: bytes a second.
    """

    flops: dict[str, float]
    memory: float


_HOPPER = {"float32": 67e12, "tensorfloat32": 495e12, "bfloat16": 990e12}
# By a part of the device's name, in the datasheets of the SXM forms.
CARDS = {
    "H200": Card(_HOPPER, 4.8e12),
    "H100": Card(_HOPPER, 3.35e12),
    "A100": Card({"float32": 19.5e12, "tensorfloat32": 156e12, "bfloat16": 312e12}, 2.0e12),
}


def this_card() -> Card | None:
    """That of the first device, if its datasheet is known."""
    name = jax.devices()[0].device_kind
    return next((card for part, card in CARDS.items() if part in name), None)


def operations(network: Network) -> int:
    """Floating-point operations of a training step, for each image."""
    model = build_abstract(network.architecture, network.image_shape, CLASSES)
    return _OPERATIONS * multiplications(model, network.image_shape)
