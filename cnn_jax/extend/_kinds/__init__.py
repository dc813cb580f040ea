"""A decorator for every kind of function that can be registered.

Each is used bare, with arguments, or as a call, and returns the function as it is:

    @cnn_jax.activation
    def my_wave(x, *, frequency=1.0): ...

    @cnn_jax.loss(calibrated=True)
    def my_loss(logits, targets, *, my_margin=0.5): ...

    cnn_jax.optimizer(optax.sm3, name="sm3", learning_rate=0.1)

Keyword-only numbers are hyperparameters: they have flags, help and axes of a sweep. What they may
be and mean can be said as in `Annotated[float, cnn_jax.ops.Interval("[0, 1]"), "in one line"]`.
"""

from cnn_jax.extend._kinds._of_data import augmentation, dataset
from cnn_jax.extend._kinds._of_network import activation, network, normalization, pooling
from cnn_jax.extend._kinds._of_training import loss, optimizer, schedule

__all__ = [
    "activation", "augmentation", "dataset", "loss", "network", "normalization", "optimizer",
    "pooling", "schedule",
]  # fmt: skip
