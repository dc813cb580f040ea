"""A study with its data and a plan of every cell: all it needs to start."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cnn_jax import data, training
from cnn_jax.errors import FIELD, FieldError
from cnn_jax.memory import check_fits
from cnn_jax.models import ParameterRow, build_abstract, count_parameters, multiplications
from cnn_jax.studies.axes import Study
from cnn_jax.studies.choices import divide, read_pool, read_task
from cnn_jax.studies.data_record import DataRecord, describe, read_record
from cnn_jax.studies.saved_run import SavedRun
from cnn_jax.training.devices import MeshShape, make_mesh, mesh_shape
from cnn_jax.training.grid import Cell
from cnn_jax.training.programs import device_bytes
from cnn_jax.training.sweep import Vectorization, choose_vectorization
from cnn_jax.training.weights import Weights

# A training step goes through the network forward, and back for two gradients.
PASSES_PER_STEP = 3
# A multiplication comes with an addition.
_OPERATIONS_PER_MULTIPLICATION = 2

# What an epoch may leave out without a word, as a share of the training set.
_MUCH = 0.02

# `(trials that train together, examples of a step) -> the devices that they share`.
Share = Callable[[int, int], MeshShape]


class Loaded(NamedTuple):
    """A data set as the cells that use it share it."""

    dataset: data.Dataset
    validation: data.Split
    task: training.Task
    record: DataRecord


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
        start: the weights that its networks start from, or None.
    """

    cell: Cell
    loaded: Loaded
    run: training.Run
    together: int
    mesh: Mesh | None
    rows: list[ParameterRow]
    state_bytes: int
    operations: float
    start: Weights | None

    def notes(self, before: str = "") -> list[str]:
        """What is to be said of its batches, smaller than asked for or leaving out much, and start.

        Args:
            before: the name of an option: -- makes a flag of it.
        """
        asked, config, examples = self.cell.config, self.config, len(self.loaded.dataset.train)
        found = []
        if self.start is not None and self.start.outputs is None:
            found.append(f"the run of {before}init_from tells other classes apart: last layer new")
        if config.batch_size < asked.batch_size:
            found.append(
                f"batches of {config.batch_size}, not {asked.batch_size}: there are {examples:,} "
                "training images"
            )
        left = examples % config.batch_size
        if left > _MUCH * examples and not training.OPTIMIZERS[config.optimizer].full_batch:
            sizes = range(1, config.batch_size + 1)
            even = max(size for size in sizes if examples % size <= _MUCH * examples)
            found.append(
                f"every epoch leaves out {left:,} of {examples:,} training images "
                f"({left / examples:.0%}, others each time), which fill no batch; "
                f"{before}batch_size={even} leaves out {examples % even:,}"
            )
        return found

    @property
    def parameters(self) -> int:
        """Of its network."""
        return sum(row.counted for row in self.rows)

    @property
    def config(self) -> training.Config:
        """The static choices of its trials, with a batch no larger than the training set."""
        return training.fit_batch(self.cell.config, len(self.loaded.dataset.train))

    @property
    def vectorization(self) -> Vectorization:
        """How its trials run together if nothing else is asked for."""
        trials = -(-self.together // mesh_shape(self.mesh).trial)
        return choose_vectorization(trials)

    @property
    def cost(self) -> float:
        """Operations of all its trials."""
        return self.operations * len(self.cell.trials)

    def place(self, shard: bool = False) -> Placed:
        """Its data, on its devices; with `shard` each has its part only."""
        dataset, validation, *_ = self.loaded

        def put(split: data.Split) -> training.Examples:
            return training.to_device(split, self.mesh, shard)

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


def prepare(
    study: Study,
    share: Share,
    most: int | None = None,
    *,
    init_from: SavedRun | None = None,
    resumed: Path | None = None,
) -> Prepared:
    """Reads the data and plans every cell; refuses what cannot run.

    Args:
        study: what is trained.
        share: which devices trials and batches share.
        most: trials that share a program, or None for what the memory holds.
        init_from: the run whose weights all networks start from, if any.
        resumed: the folder that it goes on in: what it began with is not needed any more.

    Raises:
        UsageError: for whatever cannot work.
    """
    loaded = {}
    for key in dict.fromkeys(cell.data for cell in study.grid.cells):
        pool = read_pool(dict(key))
        dataset, validation = divide(pool, dict(key))
        task = _task(read_task(dataset), init_from, resumed)
        record = describe(pool, dataset, validation, task)
        loaded[key] = Loaded(dataset, validation, task, record)
    if study.tuned and not all(len(item.validation) for item in loaded.values()):
        raise FieldError(
            f"{FIELD.tune} chooses on the validation split, but {FIELD.validation_fraction}=0 "
            "leaves none"
        )
    plans = [_plan(cell, loaded[cell.data], share, most, init_from) for cell in study.grid.cells]
    return Prepared(study, plans)


def _task(task: training.Task, init_from: SavedRun | None, resumed: Path | None) -> training.Task:
    """A task with the normalization that its weights were trained with."""
    source = None if init_from is None else init_from.task
    before = None if resumed is None else read_record(resumed)
    if before is not None:
        source = before.task
    if source is None or len(source.mean) != len(task.mean):
        return task
    return task._replace(mean=source.mean, std=source.std)


def _plan(
    cell: Cell, loaded: Loaded, share: Share, most: int | None, init_from: SavedRun | None
) -> CellPlan:
    task, examples = loaded.task, len(loaded.dataset.train)
    config = training.fit_batch(cell.config, examples)
    trials = min(most or len(cell.trials), len(cell.trials))
    mesh = make_mesh(share(trials, training.examples_together(config)))
    start = None
    if init_from is not None:
        weights = jax.device_get(init_from.state.weights)
        start = Weights.of(weights, init_from.class_names, loaded.record.class_names)
    run = training.make_run(config, task, mesh, start)
    model = build_abstract(config.architecture, task.image_shape, task.num_classes)
    rows = count_parameters(model, task.image_shape)
    hparams = {name: jnp.float32(value) for name, value in cell.trials[0].hparams.items()}
    state = jax.eval_shape(run.init, hparams, jax.random.key(0))
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    _check_memory(config, state_bytes, rows, mesh)
    images = config.epochs * (PASSES_PER_STEP * examples + len(loaded.validation))
    # A network of another's need not multiply matrices.
    products = max(multiplications(model, task.image_shape), 1)
    return CellPlan(
        cell,
        loaded,
        run,
        trials,
        mesh,
        rows,
        state_bytes,
        float(_OPERATIONS_PER_MULTIPLICATION * products * images),
        start,
    )


def _check_memory(
    config: training.Config, state_bytes: int, rows: list[ParameterRow], mesh: Mesh | None
) -> None:
    """Refuses a network that a device cannot hold, before it is compiled.

    Raises:
        FieldError: with what it would need.
    """
    limit = device_bytes()
    parameters = sum(row.count for row in rows)
    check_fits(
        f"a network of {parameters:,} parameters, with its optimizer's state",
        state_bytes,
        "give a smaller one",
        limit,
    )
    # Each of these outputs is kept until its gradient is there.
    values = sum(math.prod(row.output_shape) for row in rows if row.count)
    together = training.examples_together(config) // mesh_shape(mesh).batch
    check_fits(
        f"a step of {together:,} images, each with {values:,} outputs of layers,",
        together * values * (2 if config.precision == "bfloat16" else 4),
        f"give a smaller {FIELD.batch_size} or more {FIELD.micro_batches}",
        limit,
    )
