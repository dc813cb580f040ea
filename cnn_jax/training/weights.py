"""The weights of another run, to start from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from cnn_jax.errors import FIELD, FieldError
from cnn_jax.models import Architecture, build_abstract, split_variables
from cnn_jax.models.layers import HYPER


class Weights(NamedTuple):
    """What another run was trained to.

    Attributes:
        params: its parameters, a nested dict by layer.
        statistics: what else it keeps, likewise.
        outputs: for each class of the new network, which output of theirs it is, or None if they
            tell other classes apart.
    """

    params: PyTree
    statistics: PyTree
    outputs: tuple[int, ...] | None

    @classmethod
    def of(
        cls, weights: tuple[PyTree, PyTree], theirs: Sequence[str], ours: Sequence[str]
    ) -> "Weights":
        """Weights whose outputs are matched by the names of classes.

        Args:
            weights: parameters and statistics.
            theirs: the names of the classes that they tell apart.
            ours: those of the new network.
        """
        same = sorted(theirs) == sorted(ours)
        return cls(*weights, tuple(map(list(theirs).index, ours)) if same else None)

    def into(self, drawn: tuple[PyTree, PyTree], last: dict[str, int]) -> tuple[PyTree, PyTree]:
        """The weights of a new network with these in it.

        Where they tell other classes apart, the last layer is as it was drawn; so are
        hyperparameters of layers' functions.

        Args:
            drawn: parameters and statistics of the new network, its arrays or their shapes.
            last: its `last_layer`.

        Raises:
            FieldError: if it is another network.
        """
        held = _by_path((self.params, self.statistics))
        if missing := sorted(_by_path(drawn).keys() ^ held.keys()):
            raise FieldError(
                f"{FIELD.init_from} is of another network: only one of them has {missing[0]}"
            )

        def choose(path: Any, leaf: Array) -> Array:
            name = jax.tree_util.keystr(path)
            own = str(getattr(path[-1], "key", path[-1])).startswith(HYPER)
            if own or (name in last and self.outputs is None):
                return leaf
            other = held[name]
            if other.shape != leaf.shape:
                raise FieldError(
                    f"{FIELD.init_from} is of another network: it has {name} of shape "
                    f"{other.shape}, this one {leaf.shape}"
                )
            other = jnp.asarray(other, leaf.dtype)
            return other.take(jnp.array(self.outputs), last[name]) if name in last else other

        return jax.tree_util.tree_map_with_path(choose, drawn)


def last_layer(
    architecture: Architecture, image_shape: tuple[int, int, int], classes: int
) -> dict[str, int]:
    """The arrays of a network that have a place for each class: their path, and which axis it is.

    Args:
        architecture: the network.
        image_shape: height, width, channels.
        classes: that it tells apart.
    """
    one, other = (
        _by_path(split_variables(build_abstract(architecture, image_shape, classes + more)))
        for more in (0, 1)
    )
    return {
        path: next(axis for axis, size in enumerate(leaf.shape) if size != other[path].shape[axis])
        for path, leaf in one.items()
        if leaf.shape != other[path].shape
    }


def _by_path(tree: PyTree) -> dict[str, Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
