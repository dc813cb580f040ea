"""Networks: Flax NNX modules that compose the pure functions of `cnn_jax.ops`."""
# fmt: off

from cnn_jax.models.architecture import MODELS, NORMALIZATIONS, Architecture, Model
from cnn_jax.models.layers import Mode
from cnn_jax.models.networks import (
    Classifier, build, build_abstract, check_logits, initialize_from_data,
)
from cnn_jax.models.outside import Outside, Structure, split_variables
from cnn_jax.models.parameters import ParameterRow, count_parameters, multiplications

__all__ = [
    "MODELS", "NORMALIZATIONS", "Architecture", "Classifier", "Mode", "Model", "Outside",
    "ParameterRow", "Structure", "build", "build_abstract", "check_logits", "count_parameters",
    "initialize_from_data", "multiplications", "split_variables",
]
