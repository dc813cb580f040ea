"""Networks: Flax NNX modules that compose the pure functions of `cnn_jax.ops`."""

from cnn_jax.models.architecture import MODEL_OPTIONS, Architecture
from cnn_jax.models.layers import NORMALIZATIONS, Mode
from cnn_jax.models.networks import (
    DATA_INITIALIZATIONS,
    MODELS,
    Classifier,
    build,
    build_abstract,
    initialize_from_data,
)
from cnn_jax.models.parameters import ParameterRow, count_parameters, multiplications

__all__ = [
    "DATA_INITIALIZATIONS",
    "MODELS",
    "MODEL_OPTIONS",
    "NORMALIZATIONS",
    "Architecture",
    "Classifier",
    "Mode",
    "ParameterRow",
    "build",
    "build_abstract",
    "count_parameters",
    "initialize_from_data",
    "multiplications",
]
