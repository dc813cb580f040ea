"""Training: a run as pure functions, compiled once per static choice."""
# fmt: off

from cnn_jax.training.config import (
    PRECISIONS, Config, augmentations, hyperparameters, known_hyperparameters,
)
from cnn_jax.training.loop import Epoch, Trainer, fit
from cnn_jax.training.optimizers import OPTIMIZERS
from cnn_jax.training.run import Run, make_run
from cnn_jax.training.schedules import SCHEDULES
from cnn_jax.training.step import TrainState
from cnn_jax.training.task import (
    Examples, Task, examples_together, fit_batch, steps_per_epoch, task_of, to_device,
)

__all__ = [
    "OPTIMIZERS", "PRECISIONS", "SCHEDULES", "Config", "Epoch", "Examples", "Run", "Task",
    "TrainState", "Trainer", "augmentations", "examples_together", "fit", "fit_batch",
    "hyperparameters", "known_hyperparameters", "make_run", "steps_per_epoch", "task_of",
    "to_device",
]
