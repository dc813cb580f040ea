"""Devices as a mesh, and what lies where on it: JAX's own sharding, by two axes.

`trial` splits the trials of a sweep, which share nothing; `batch` splits the examples of each step,
whose gradients the compiler sums.
"""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from cnn_jax.errors import UsageError

TRIAL_AXIS = "trial"
BATCH_AXIS = "batch"


def make_mesh(axis: str, count: int | None = None) -> Mesh | None:
    """`count` devices along an axis, all of them if not given; None for a single one.

    Raises:
      UsageError: if there are not as many.
    """
    devices = jax.devices()
    if count is not None and not 1 <= count <= len(devices):
        raise UsageError(
            f"--devices={count}: there {'is' if len(devices) == 1 else 'are'} {len(devices)} "
            f"({devices[0].platform}); give at most {len(devices)}"
        )
    chosen = devices[:count]
    return Mesh(np.array(chosen), (axis,)) if len(chosen) > 1 else None


def split(mesh: Mesh | None, axis: str) -> Sharding:
    """Where arrays lie that are split along their leading dimension; on the one device if None."""
    if mesh is None:
        return SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(mesh, PartitionSpec(axis))


def whole(mesh: Mesh | None) -> Sharding:
    """Where arrays lie that every device has whole; on the one device if None."""
    if mesh is None:
        return SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(mesh, PartitionSpec())


def replicate(arrays: PyTree, mesh: Mesh | None) -> PyTree:
    """The arrays, whole on every device."""
    return jax.device_put(arrays, whole(mesh))
