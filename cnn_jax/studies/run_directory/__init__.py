"""The folder in which a run writes down all it knows."""

from cnn_jax.studies.run_directory._environment import environment, other_environment, versions
from cnn_jax.studies.run_directory._files import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    FLAGS_FILE,
    HELD_OUT_FILE,
    LIKENESS_FILE,
    REPORT_FILE,
    RESULT_FILE,
    first_difference,
    history_of,
    is_begun,
    planned_epochs,
    read_flags,
)
from cnn_jax.studies.run_directory._writing import RunDirectory, plain

__all__ = [
    "BEST", "CHECKPOINTS", "CONFIG_FILE", "ENVIRONMENT_FILE", "FLAGS_FILE", "HELD_OUT_FILE",
    "LIKENESS_FILE", "REPORT_FILE", "RESULT_FILE", "RunDirectory", "environment",
    "first_difference", "history_of", "is_begun", "other_environment", "plain",
    "planned_epochs", "read_flags", "versions",
]  # fmt: skip
