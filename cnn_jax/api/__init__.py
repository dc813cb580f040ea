"""Train, ablate and load from Python: the engine of the programs, with arguments for flags."""
# fmt: off

from cnn_jax.api._values import ArgumentError
from cnn_jax.api._table import Table
from cnn_jax.api._ablate import Comparison, ablate
from cnn_jax.api._run import TrainedRun
from cnn_jax.api._train import load_run, train

__all__ = ["ArgumentError", "Comparison", "Table", "TrainedRun", "ablate", "load_run", "train"]
