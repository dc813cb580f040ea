"""A loss with a number.

cnn_jax train --extend=examples/my_loss.py --loss=my_margin_loss --lead=1
cnn_jax ablate --extend=examples/my_loss.py --loss=my_margin_loss --vary=lead=0,0.5,1,2
"""

from typing import Annotated

import jax

import cnn_jax
from cnn_jax.ops import Interval, cross_entropy

Lead = Annotated[float, Interval("[0, inf)"), "how far the true class must lead"]


@cnn_jax.loss
def my_margin_loss(logits, targets, *, lead: Lead = 0.5):
    """Cross-entropy of logits from which the true class has a margin taken off."""
    there = jax.nn.one_hot(targets, logits.shape[-1]) if targets.ndim == 1 else targets
    return cross_entropy(logits - lead * there, targets)
