"""Networks from outside: any Flax module that is called on images, and its random streams.

A module may be told of training by an argument of its call (`train`, `training`, `is_training`,
`deterministic` or `use_running_average`), by Flax's own attributes of dropout and batch
normalization, or not at all. Its random streams are no part of its state: they begin anew in every
call from the key of the `Mode`, so that a run repeats to the bit and a checkpoint holds arrays.
"""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnn_jax.models.layers import EVALUATION, Mode, Tap

# Arguments of a call, or attributes of Flax's modules, that are true in training, and in use.
_IN_TRAINING = ("train", "training", "is_training")
_IN_USE = ("deterministic", "use_running_average")
# What a module holds that is neither trained nor carried from step to step.
_TRANSIENT = (nnx.RngState, nnx.Intermediate)


class Outside(nnx.Module):
    """A module of any kind in the place of named layers: a tap sees its logits only."""

    def __init__(self, module: nnx.Module):
        self.module = module

    def __call__(self, x: Float[Array, "n h w c"], mode: Mode, tap: Tap) -> Float[Array, "n c"]:
        for _, node in nnx.iter_graph(self.module):
            for name in _IN_USE:
                if isinstance(node, nnx.Module) and hasattr(node, name):
                    setattr(node, name, not mode.train)
        return tap("output", self.module(x, **self._arguments(mode)))

    def _arguments(self, mode: Mode) -> dict[str, Any]:
        known = inspect.signature(self.module.__call__).parameters
        given: dict[str, Any] = {name: mode.train for name in _IN_TRAINING if name in known}
        given |= {name: not mode.train for name in _IN_USE if name in known}
        if "rngs" in known:
            given["rngs"] = nnx.Rngs(_key(mode))
        return given


def _key(mode: Mode) -> PRNGKeyArray:
    return jax.random.key(0) if mode.dropout_key is None else mode.dropout_key


def _streams(key: PRNGKeyArray, shape: tuple[int, ...]) -> PRNGKeyArray:
    """A key for each of some layers that are stacked, or the key for one."""
    return jax.random.split(key, shape) if shape else key


class Structure(NamedTuple):
    """A network without its arrays: its graph, and the shapes of its random streams."""

    graph: nnx.GraphDef
    streams: PyTree

    @classmethod
    def of(cls, model: nnx.Module) -> "Structure":
        """That of a network, whose arrays may be shapes."""
        graph, *states = nnx.split(model, nnx.RngState, ...)
        streams, _ = states
        return cls(graph, nnx.to_pure_dict(streams))

    def merge(self, params: PyTree, statistics: PyTree, mode: Mode = EVALUATION) -> Any:
        """The network with its arrays, its random streams begun from the key of the mode."""
        if not self.streams:
            return nnx.merge(self.graph, params, statistics)
        leaves, tree = jax.tree.flatten(self.streams)
        key = _key(mode)
        begun = [
            _streams(jax.random.fold_in(key, index), leaf.shape)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else jnp.zeros(leaf.shape, leaf.dtype)
            for index, leaf in enumerate(leaves)
        ]
        return nnx.merge(self.graph, jax.tree.unflatten(tree, begun), params, statistics)


def split_variables(model: nnx.Module) -> tuple[PyTree, PyTree]:
    """The parameters of a network, and all else that it keeps, as nested dicts by layer."""
    _, *parts = nnx.split(model, nnx.Param, _TRANSIENT, ...)
    params, _, statistics = parts
    return nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)
