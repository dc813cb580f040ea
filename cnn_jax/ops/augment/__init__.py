"""Augmentations: pure functions of a key and an image, and the grammar that names them.

`parse("flip,translate:4")` reads what is asked for, `apply` does it to a batch.
"""

from cnn_jax.ops.augment.batch import TEST_TIME
from cnn_jax.ops.augment.grammar import (
    AugmentationCall,
    apply,
    check_channels,
    describe,
    needs_soft_targets,
    numbers,
    parse,
    without_numbers,
)
from cnn_jax.ops.augment.registry import AUGMENTATIONS

__all__ = [
    "AUGMENTATIONS",
    "TEST_TIME",
    "AugmentationCall",
    "apply",
    "check_channels",
    "describe",
    "needs_soft_targets",
    "numbers",
    "parse",
    "without_numbers",
]
