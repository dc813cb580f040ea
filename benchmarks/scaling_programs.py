"""The compiled programs that `benchmarks.scaling` reads: a training step on simulated devices."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

MATRIX_UNIT = 128  # rows and columns of a TPU's: what a product has less of is filled with zeros
BATCH = 128


class Network(NamedTuple):
    """What the compiled step of a network says.

    Attributes:
        name: of the network.
        parameters: that are trained.
        devices: that the batch is split over.
        flops: operations per image, forward and backward.
        traffic: bytes per image that the operations read and write, in float32.
        filled: share of the matrix units' products that are not with zeros.
        trial_bytes: of one trial's state and temporaries at a batch of `BATCH`.
        exchanges: collectives in a step with a split batch.
        exchanged: their bytes on each device.
        trial_exchanges: collectives in an epoch of as many trials as devices.
    """

    name: str
    parameters: int
    devices: int
    flops: int
    traffic: int
    filled: float
    trial_bytes: int
    exchanges: int
    exchanged: int
    trial_exchanges: int


def networks() -> dict[str, tuple[tuple[int, int, int], Any]]:
    """The networks by name: the shape of their images, and their architecture."""
    from cnn_jax.models import Architecture

    gray, color = (28, 28, 1), (32, 32, 3)
    return {
        "cnn": (gray, Architecture(filters=(16, 32), hidden=(128,), convolution="lax")),
        "resnet20": (
            color,
            Architecture(model="resnet20", normalization="batch", convolution="lax"),
        ),
        "airnet": (
            color,
            Architecture(
                model="airnet", normalization="batch", activation="gelu", convolution="lax"
            ),
        ),
    }


def compile_network(name: str, devices: int) -> Network:
    """Compiles a step and an epoch of trials on so many of the devices, and reads them.

    Convolutions are XLA's own, as on accelerators; arrays are shapes only, nothing runs.
    """
    import jax
    import jax.numpy as jnp

    from cnn_jax import training
    from cnn_jax.compilation import SAFE
    from cnn_jax.models import build_abstract, count_parameters
    from cnn_jax.training import Trainer
    from cnn_jax.training.devices import MeshShape, make_mesh, whole
    from cnn_jax.training.grid import Trial
    from cnn_jax.training.programs import collectives, compile_epoch, program_cost

    shape, architecture = networks()[name]
    task = training.Task(shape, 10, (0.4,) * shape[2], (0.2,) * shape[2])
    config = training.Config(architecture, optimizer="nesterov", batch_size=BATCH)
    rows = count_parameters(build_abstract(architecture, shape, 10), shape)
    numbers = training.hyperparameters(config)
    examples = jax.eval_shape(
        lambda: training.Examples(
            jnp.zeros((BATCH, *shape), jnp.uint8), jnp.zeros((BATCH,), jnp.int32)
        )
    )

    def everywhere(arrays: Any, mesh: Any) -> Any:
        where = whole(mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), arrays
        )

    mesh = make_mesh(MeshShape(batch=devices))
    run = training.make_run(config, task, mesh)
    hparams = {key: jnp.float32(value) for key, value in numbers.items()}
    key = jax.random.key(0)
    state = jax.eval_shape(run.init, hparams, key)
    # Calls of oneDNN would hide what convolutions read and write.
    arguments = everywhere((state, hparams, key, examples), mesh)
    program = compile_epoch(run.epoch, *arguments, wanted=SAFE)
    cost, sums = program_cost(program), collectives(program.as_text())

    mesh = make_mesh(MeshShape(trial=devices))
    run = training.make_run(config, task, mesh)
    trainer = Trainer(run, everywhere(examples, mesh), None, "vmap", mesh)
    together = trainer.program([Trial(0, {}, seed, numbers) for seed in range(devices)])
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return Network(
        name,
        sum(row.counted for row in rows),
        devices,
        round(cost.flops * devices / BATCH),
        round(cost.accessed_bytes * devices / BATCH),
        round(filled([(row.count, row.output_shape) for row in rows]), 3),
        2 * state_bytes + devices * cost.temporary_bytes,
        sum(item.times for item in sums),
        sum(item.times * item.bytes for item in sums),
        sum(item.times for item in collectives(together.as_text())),
    )


def filled(layers: Sequence[tuple[int, tuple[int, ...]]]) -> float:
    """The share of the matrix units' multiplications that a network's layers have use for.

    A layer multiplies rows of as many numbers as a filter has by as many filters; both are filled
    up to whole matrix units. It is the share of the forward pass, taken for the gradients' too.

    Args:
        layers: parameters of each layer, and the shape of its output.
    """
    useful = done = 0.0
    for parameters, (*places, filters) in layers:
        depth = parameters // filters
        if depth:
            useful += math.prod(places) * depth * filters
            done += math.prod(places) * _whole_units(depth) * _whole_units(filters)
    return useful / done


def _whole_units(count: int) -> int:
    return math.ceil(count / MATRIX_UNIT) * MATRIX_UNIT
