"""A training run that the flags describe, with all it needs to start."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh

from cnn_jax import data, training
from cnn_jax.models import ParameterRow, build_abstract, count_parameters
from cnn_jax.training.devices import make_mesh, replicate

from ..flags import machine, options

FLAGS = flags.FLAGS


class Beginning(NamedTuple):
    """What the programs of a run are called with at first, on the devices."""

    state: training.TrainState
    hparams: dict[str, jax.Array]
    key: jax.Array
    examples: training.Examples
    held_out: training.Examples | None


class Prepared(NamedTuple):
    """A run that has all it needs to start."""

    choices: dict[str, Any]
    config: training.Config
    hparams: dict[str, float]
    dataset: data.Dataset
    validation: data.Split
    task: training.Task
    mesh: Mesh | None
    run: training.Run
    parameters: list[ParameterRow]

    def traced(self) -> dict[str, jax.Array]:
        """The hyperparameters as the compiled functions take them."""
        return {name: jnp.float32(value) for name, value in self.hparams.items()}

    def place(self, split: data.Split) -> training.Examples:
        """A split, on the devices."""
        return training.to_device(split, self.mesh, FLAGS.shard_data)

    def begin(self) -> Beginning:
        """The state before the first step, with all that training reads."""
        key = replicate(jax.random.key(FLAGS.seed), self.mesh)
        hparams = replicate(self.traced(), self.mesh)
        examples = self.place(self.dataset.train)
        held_out = self.place(self.validation) if len(self.validation) else None
        state = replicate(jax.jit(self.run.init)(hparams, key, examples), self.mesh)
        return Beginning(state, hparams, key, examples, held_out)


def prepare() -> Prepared:
    """Reads flags and data, and builds the run; refuses whatever cannot work.

    Raises:
        UsageError: for impossible flags or data.
    """
    choices = options.given()
    config = options.read_config(choices)
    hparams = options.read_hparams(config, choices)
    dataset, validation = options.read_dataset(choices)
    training.steps_per_epoch(config, len(dataset.train))
    task = options.read_task(dataset)
    mesh = make_mesh(machine.shape_for_run(training.examples_together(config)))
    run = training.make_run(config, task, mesh)
    model = build_abstract(config.architecture, task.image_shape, task.num_classes)
    return Prepared(
        options.describe(choices, config, hparams),
        config,
        hparams,
        dataset,
        validation,
        task,
        mesh,
        run,
        count_parameters(model, task.image_shape),
    )
