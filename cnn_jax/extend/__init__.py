"""Your own activations, losses, networks and more, with all that the built-in ones have.

A decorator, or a call, for every kind: `@cnn_jax.activation`, `cnn_jax.loss(function)`. What is
registered is tried at once, and refused with one line where it cannot work; from then on its name
stands in every flag, sweep, help text and report. A file of such functions is given to the programs
by `--extend=my_ideas.py`.
"""
# fmt: off

from cnn_jax.extend._files import (
    KEPT, ExtensionFile, forget, kept_file, kept_files, kept_paths, load_file, loaded_files,
)
from cnn_jax.extend._kinds import (
    activation, augmentation, dataset, loss, network, normalization, optimizer, pooling, schedule,
)
from cnn_jax.extend._registry import EXTENSIONS, Extension, ExtensionError, stands
from cnn_jax.extend._sources import capture

__all__ = [
    "EXTENSIONS", "KEPT", "Extension", "ExtensionError", "ExtensionFile", "activation",
    "augmentation", "capture", "dataset", "forget", "kept_file", "kept_files", "kept_paths",
    "load_file", "loaded_files", "loss", "network", "normalization", "optimizer",
    "pooling", "schedule", "stands",
]
