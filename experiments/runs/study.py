"""What a program that trains has when it starts: a study, its data, and a plan of every cell."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import Mesh

from cnn_jax import data, training
from cnn_jax.errors import UsageError
from cnn_jax.models import ParameterRow, build_abstract, count_parameters, multiplications
from cnn_jax.training import processes
from cnn_jax.training.devices import MeshShape, make_mesh
from cnn_jax.training.grid import Cell

from .. import command, command_line
from ..flags import machine, options
from ..flags.axes import Study
from . import hosts, run_directory
from .run_directory import RunDirectory, open_directory

FLAGS = flags.FLAGS
for _module in (command_line, options, machine, hosts, run_directory):
    flags.adopt_module_key_flags(_module)
# A training step goes through the network forward, and back for two gradients.
PASSES_PER_STEP = 3
# A multiplication comes with an addition.
_OPERATIONS_PER_MULTIPLICATION = 2


class Loaded(NamedTuple):
    """A data set as the cells that use it share it."""

    dataset: data.Dataset
    validation: data.Split
    task: training.Task


class Placed(NamedTuple):
    """The splits on the devices; None where nothing is held out."""

    train: training.Examples
    validation: training.Examples | None
    test: training.Examples


class CellPlan(NamedTuple):
    """A cell that has all it needs to start, and what is known of it before.

    Attributes:
        cell: its trials and static choices.
        loaded: its data.
        run: the functions of one trial.
        together: the most trials that share a program.
        mesh: the devices of its programs, or None for a single one.
        rows: the parameters of its network, by layer.
        state_bytes: of one trial's parameters, statistics and optimizer state.
        operations: floating-point operations to train one trial.
    """

    cell: Cell
    loaded: Loaded
    run: training.Run
    together: int
    mesh: Mesh | None
    rows: list[ParameterRow]
    state_bytes: int
    operations: float

    @property
    def parameters(self) -> int:
        """Of its network."""
        return sum(row.counted for row in self.rows)

    @property
    def cost(self) -> float:
        """Operations of all its trials."""
        return self.operations * len(self.cell.trials)

    def place(self) -> Placed:
        """Its data, on its devices."""
        dataset, validation, _ = self.loaded

        def put(split: data.Split) -> training.Examples:
            return training.to_device(split, self.mesh, FLAGS.shard_data)

        return Placed(
            put(dataset.train), put(validation) if len(validation) else None, put(dataset.test)
        )


class Prepared(NamedTuple):
    """A study that has all it needs to start."""

    study: Study
    plans: list[CellPlan]

    @property
    def loaded(self) -> list[Loaded]:
        """Its data sets, each once."""
        return list({id(plan.loaded): plan.loaded for plan in self.plans}.values())


def begin(
    what: str,
    name: str,
    read: Callable[[], Study],
    choices: Callable[[Prepared], dict[str, Any]],
    share: Callable[[int, int], MeshShape],
    most: int | None = None,
) -> tuple[RunDirectory, Prepared]:
    """The folder to write to and the study, before anything is written; all processes together.

    Args:
        what: is in the folder, for messages: a run or a sweep.
        name: of a new folder in runs/, before the time.
        read: the study, from the flags.
        choices: what must be the same to go on with it.
        share: `(trials that train together, examples of a step) -> devices`.
        most: trials that share a program, or None for what the memory holds.

    Raises:
        UsageError: for whatever cannot work.
    """

    def begun() -> tuple[RunDirectory, Prepared]:
        machine.check_compiler()
        directory = open_directory(what, name)
        prepared = _prepare(read(), share, most)
        if FLAGS.resume:
            directory.check_same(choices(prepared))
        return directory, prepared

    directory, prepared = processes.together(begun)
    hosts.check_data(loaded.dataset for loaded in prepared.loaded)
    return directory, prepared


@contextlib.contextmanager
def underway(
    program: str, directory: RunDirectory, flags_content: str, choices: dict[str, Any]
) -> Iterator[None]:
    """Writes down how it began, and says, where it is interrupted inside, how to go on.

    Args:
        program: that runs, as in train.
        directory: of the study.
        flags_content: a flagfile that repeats it.
        choices: what must be the same to go on with it.
    """
    if not FLAGS.resume:
        processes.together(lambda: directory.create(flags_content, choices))
    processes.together(directory.check_there)
    workdir = f"--workdir={directory.path}"
    again = f"go on with: {command(program)} {workdir} --resume{machine.given_text()}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {again}") from None
    except jax.errors.JaxRuntimeError as error:
        lost = processes.loss(error)
        if lost is None:
            raise
        raise processes.ProcessLostError(f"{lost}; {again}") from error


def _prepare(study: Study, share: Callable[[int, int], MeshShape], most: int | None) -> Prepared:
    """Reads the data and plans every cell; refuses what cannot run."""
    loaded = {}
    for key in dict.fromkeys(cell.data for cell in study.grid.cells):
        dataset, validation = options.read_dataset(dict(key))
        loaded[key] = Loaded(dataset, validation, options.read_task(dataset))
    if study.tuned and not all(len(item.validation) for item in loaded.values()):
        raise UsageError(
            "--tune chooses on the validation split, but --validation_fraction=0 leaves none"
        )
    return Prepared(
        study, [_plan(cell, loaded[cell.data], share, most) for cell in study.grid.cells]
    )


def _plan(
    cell: Cell, loaded: Loaded, share: Callable[[int, int], MeshShape], most: int | None
) -> CellPlan:
    config, task, examples = cell.config, loaded.task, len(loaded.dataset.train)
    training.steps_per_epoch(config, examples)
    trials = min(most or len(cell.trials), len(cell.trials))
    mesh = make_mesh(share(trials, training.examples_together(config)))
    run = training.make_run(config, task, mesh)
    model = build_abstract(config.architecture, task.image_shape, task.num_classes)
    rows = count_parameters(model, task.image_shape)
    hparams = {name: jnp.float32(value) for name, value in cell.trials[0].hparams.items()}
    state = jax.eval_shape(run.init, hparams, jax.random.key(0))
    images = config.epochs * (PASSES_PER_STEP * examples + len(loaded.validation))
    return CellPlan(
        cell,
        loaded,
        run,
        trials,
        mesh,
        rows,
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        float(_OPERATIONS_PER_MULTIPLICATION * multiplications(model, task.image_shape) * images),
    )
