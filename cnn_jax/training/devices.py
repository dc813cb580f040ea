"""Devices as a mesh, and what lies where on it: JAX's own sharding, by two axes.

`trial` splits the trials of a sweep, which share nothing; `batch` splits the examples of each step,
whose gradients the compiler sums.
"""

from collections import Counter
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from cnn_jax import compilation
from cnn_jax.errors import FIELD, FieldError, UsageError

TRIAL_AXIS = "trial"
BATCH_AXIS = "batch"
Arrays = TypeVar("Arrays", bound=PyTree)


class MeshShape(NamedTuple):
    """How many devices lie along each axis."""

    trial: int = 1
    batch: int = 1

    @property
    def size(self) -> int:
        """The devices in all."""
        return self.trial * self.batch

    def __str__(self) -> str:
        return ",".join(f"{axis}:{count}" for axis, count in self._asdict().items() if count > 1)


def best_shape(devices: int, trials: int, batch: int) -> MeshShape:
    """The shape that splits trials first, and batches over what devices are left.

    Args:
        devices: that may be used; not all are where the numbers do not divide.
        trials: that train together.
        batch: examples that are computed together, which the batch axis has to divide.
    """
    along_trials = min(devices, trials)
    left = devices // along_trials
    return MeshShape(along_trials, max(n for n in range(1, left + 1) if batch % n == 0))


def make_mesh(shape: MeshShape) -> Mesh | None:
    """The first devices of each process, as a mesh of this shape; None for a single one.

    Raises:
        UsageError: if there are not as many, or not one for each process.
    """
    devices = jax.devices()
    if shape.size > len(devices):
        raise UsageError(
            f"{shape.size} devices were asked for, but there {'is' if len(devices) == 1 else 'are'}"
            f" {len(devices)} ({devices[0].platform}); give at most {len(devices)}"
        )
    if shape.size < jax.process_count():
        raise FieldError(
            f"{shape.size} of {len(devices)} devices are used, which leaves some of the "
            f"{jax.process_count()} processes without one; start fewer, or change {FIELD.mesh}, "
            f"{FIELD.devices} or {FIELD.batch_size} so that each has one"
        )
    if shape.size == 1:
        return None
    chosen = sorted(_evenly(devices)[: shape.size], key=lambda device: device.id)
    return Mesh(np.array(chosen).reshape(shape), (TRIAL_AXIS, BATCH_AXIS))


def _evenly(devices: list[jax.Device]) -> list[jax.Device]:
    """The first device of each process, then the second of each, and so on."""
    ranks: Counter[int] = Counter()
    ranked = []
    for device in devices:
        ranked.append((ranks[device.process_index], device.process_index, device))
        ranks[device.process_index] += 1
    return [device for *_, device in sorted(ranked, key=lambda item: item[:2])]


def mesh_shape(mesh: Mesh | None) -> MeshShape:
    """How many devices lie along each axis of a mesh."""
    return MeshShape(*mesh.devices.shape) if mesh else MeshShape()


def split(mesh: Mesh | None, axis: str) -> Sharding:
    """Where arrays lie that are split along their leading dimension; on the one device if None."""
    return _sharding(mesh, PartitionSpec(axis))


def whole(mesh: Mesh | None) -> Sharding:
    """Where arrays lie that every device has whole; on the one device if None."""
    return _sharding(mesh, PartitionSpec())


def replicate(arrays: PyTree, mesh: Mesh | None) -> PyTree:
    """The arrays, whole on every device."""
    return put(arrays, whole(mesh))


def put(arrays: Arrays, sharding: Sharding) -> Arrays:
    """Small arrays, which every process has, where they should lie."""
    if sharding.is_fully_addressable:
        return jax.device_put(arrays, sharding)
    # There `device_put` would send the arrays to all processes to see that they are equal.
    return compilation.jit(_same, out_shardings=sharding)(arrays)


def constrain(arrays: PyTree, mesh: Mesh | None, axis: str | None) -> PyTree:
    """Says inside a compiled function that arrays are split along an axis, or whole if None.

    Where the trials are split already (in `jax.shard_map`), the mesh of that context is meant, of
    which only the batch axis is left to split. On a single device (None) there is nothing to say.
    """
    if mesh is None:
        return arrays
    here = jax.sharding.get_abstract_mesh()
    spec = PartitionSpec(axis) if axis else PartitionSpec()
    return lax.with_sharding_constraint(arrays, NamedSharding(mesh if here.empty else here, spec))


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _sharding(mesh: Mesh | None, spec: PartitionSpec) -> Sharding:
    if mesh is None:
        return SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(mesh, spec)
