"""Every idea as a pure function: arrays in, arrays out. Only JAX is imported here.

`augment` is a room of its own: augmentations and the grammar that names them.
"""
# fmt: off

from cnn_jax.ops import augment
from cnn_jax.ops._affine import (
    DROPOUT_RATE, add_bias, channel_sums, dense, dropout, flatten,
)
from cnn_jax.ops._batch_norm import batch_norm, batch_norm_in_training, batch_statistics
from cnn_jax.ops._direct import register_direct, unregister_direct
from cnn_jax.ops.activations import (
    ACTIVATIONS, OUTPUT_ACTIVATIONS, PARAMETRIC_ACTIVATIONS, ParametricActivation, elu, gelu,
    hard_swish, identity, leaky_relu, mish, prelu, relu, selu, sigmoid, silu, softmax, softplus,
    step, tanh,
)
from cnn_jax.ops.convolution import (
    LOWERINGS, Lowering, Padding, conv2d, conv_general_dilated, lowering_on_accelerators,
    lowering_on_cpu, output_size,
)
from cnn_jax.ops.hyperparameters import Hyperparameter, Interval, Number, OneOf, Whole
from cnn_jax.ops.losses import (
    CALIBRATED, LOSS_OUTPUT, LOSSES, PER_LABEL, Targets, absolute_error, binary_cross_entropy,
    crammer_singer, cross_entropy, error, focal, hinge, kl_divergence, log_loss, squared_error,
    weston_watkins,
)
from cnn_jax.ops.metrics import (
    ClassScores, accuracy, average_precision, best_thresholds, confusion_matrix,
    correct, expected_calibration_error, label_accuracy, label_confusion, label_correct, label_f1,
    per_class, top_k_accuracy,
)
from cnn_jax.ops.pooling import POOLINGS, avg_pool, global_avg_pool, max_pool
from cnn_jax.ops.updates import (
    apply_updates, gradient_descent, init_velocity, momentum, nesterov, normalized_muon,
    orthogonalize,
)

__all__ = [
    "ACTIVATIONS", "CALIBRATED", "DROPOUT_RATE", "LOSSES", "LOSS_OUTPUT", "LOWERINGS",
    "OUTPUT_ACTIVATIONS", "PARAMETRIC_ACTIVATIONS", "PER_LABEL", "POOLINGS", "ClassScores",
    "Hyperparameter", "Interval", "Lowering", "Number", "OneOf", "Padding", "ParametricActivation",
    "Targets", "Whole", "absolute_error", "accuracy", "add_bias", "apply_updates", "augment",
    "average_precision", "avg_pool", "batch_norm", "batch_norm_in_training", "batch_statistics",
    "best_thresholds", "binary_cross_entropy", "channel_sums", "confusion_matrix", "conv2d",
    "conv_general_dilated", "correct", "crammer_singer", "cross_entropy", "dense", "dropout", "elu",
    "error", "expected_calibration_error", "flatten", "focal", "gelu", "global_avg_pool",
    "gradient_descent",
    "hard_swish", "hinge", "identity", "init_velocity", "kl_divergence", "label_accuracy",
    "label_confusion", "label_correct", "label_f1", "leaky_relu", "log_loss",
    "lowering_on_accelerators", "lowering_on_cpu", "max_pool", "mish", "momentum", "nesterov",
    "normalized_muon", "orthogonalize", "output_size", "per_class", "prelu", "register_direct",
    "relu", "selu", "sigmoid", "silu", "softmax", "softplus", "squared_error", "step", "tanh",
    "top_k_accuracy", "unregister_direct", "weston_watkins",
]
