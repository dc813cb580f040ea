"""The run of one network: trained epoch by epoch, then tested once."""

from cnn_jax.studies.lone_run._testing import ANSWERS_FILE, Tested, read_test_split, write_result
from cnn_jax.studies.lone_run._training import (
    LINES,
    METRICS_FILE,
    TIMINGS_FILE,
    EpochEnd,
    Keep,
    LoneRun,
    said_of,
)

__all__ = [
    "ANSWERS_FILE", "EpochEnd", "Keep", "LINES", "LoneRun", "METRICS_FILE", "TIMINGS_FILE",
    "Tested", "read_test_split", "said_of", "write_result",
]  # fmt: skip
