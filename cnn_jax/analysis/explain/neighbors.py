"""Nearest neighbors in feature space: the training images that a network takes for the same."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from cnn_jax.errors import UsageError


class Metric(NamedTuple):
    """How near two rows are.

    Attributes:
        closeness: of every query to every row, cheap and larger where nearer: what is ranked by.
        distance: of every query to its own rows, exact: what is reported.
    """

    closeness: Callable[[Float[Array, "q d"], Float[Array, "m d"]], Float[Array, "q m"]]
    distance: Callable[[Float[Array, "q d"], Float[Array, "q k d"]], Float[Array, "q k"]]


class Neighbors(NamedTuple):
    """The rows next to each query, nearest first, and how far they are."""

    indices: Int[Array, "q k"]
    distances: Float[Array, "q k"]


def _products(queries: Array, rows: Array) -> Array:
    return jnp.einsum("qd,md->qm", queries, rows, precision="highest")


def _unit(rows: Array) -> Array:
    """Rows of length 1; a row of zeros stays, and so has cosine 0 with all others."""
    length = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / jnp.where(length > 0, length, 1)


METRICS = {
    # The square of the distance is |q|^2 - 2 (q.r - |r|^2 / 2), and |q| is the same for all rows.
    "euclidean": Metric(
        lambda queries, rows: _products(queries, rows) - jnp.sum(rows**2, axis=-1) / 2,
        lambda queries, rows: jnp.linalg.norm(queries[:, None] - rows, axis=-1),
    ),
    "cosine": Metric(
        lambda queries, rows: _products(_unit(queries), _unit(rows)),
        lambda queries, rows: 1 - jnp.sum(_unit(queries)[:, None] * _unit(rows), axis=-1),
    ),
}


def nearest_neighbors(
    queries: Float[Array, "q d"],
    rows: Float[Array, "n d"],
    k: int,
    metric: str = "cosine",
    chunk: int = 4096,
) -> Neighbors:
    """The `k` rows nearest to each query, found without a matrix of all distances.

    Args:
        queries: features to look up.
        rows: features to look among.
        k: neighbors of each query.
        metric: a key of `METRICS`; cosine distance is 1 less the cosine.
        chunk: rows compared at a time; the memory needed grows with q * chunk.

    Raises:
        UsageError: if there are fewer than `k` rows, or no such metric.
    """
    if metric not in METRICS:
        raise UsageError(f"there is no metric {metric!r}; give one of {', '.join(METRICS)}")
    if not 1 <= k <= rows.shape[0]:
        raise UsageError(f"k={k} neighbors cannot be found; give 1 to {rows.shape[0]}, the rows")
    closeness, distance = METRICS[metric]
    queries, rows = jnp.asarray(queries), jnp.asarray(rows)

    def look(best: tuple[Array, Array], item: tuple[Array, Array]) -> tuple[tuple, None]:
        indices, present = item
        near = jnp.where(present, closeness(queries, rows[indices]), -jnp.inf)
        near = jnp.concatenate([best[0], near], axis=1)
        which = jnp.concatenate([best[1], jnp.broadcast_to(indices, (len(queries), chunk))], axis=1)
        near, kept = lax.top_k(near, k)
        return (near, jnp.take_along_axis(which, kept, axis=1)), None

    chunk = min(chunk, rows.shape[0])
    nothing = jnp.full((len(queries), k), -jnp.inf), jnp.zeros((len(queries), k), jnp.int32)
    (_, indices), _ = lax.scan(look, nothing, _chunks(rows.shape[0], chunk))
    distances = distance(queries, rows[indices])
    order = jnp.argsort(distances, axis=1, stable=True)
    return Neighbors(*(jnp.take_along_axis(each, order, axis=1) for each in (indices, distances)))


def in_chunks(
    function: Callable[[Shaped[Array, "m *dims"]], Shaped[Array, "m *outs"]],
    rows: Shaped[Array, "n *dims"],
    chunk: int = 500,
) -> Shaped[Array, "n *outs"]:
    """`function(rows)`, computed a chunk at a time to need little memory.

    Args:
        function: what treats every row by itself, `lambda images: features(network, images)` for
            example; bytes are best turned into floats inside of it.
        rows: all that is to be treated.
        chunk: rows given to the function at a time.
    """
    rows = jnp.asarray(rows)
    count = rows.shape[0]
    indices, _ = _chunks(count, min(chunk, count))
    out = lax.map(lambda chosen: function(rows[chosen]), indices)
    return out.reshape(-1, *out.shape[2:])[:count]


def _chunks(count: int, size: int) -> tuple[Int[Array, "b s"], Bool[Array, "b s"]]:
    """All indices below `count` in chunks, and which there are: the last chunk is filled up."""
    chunks = -(-count // size)
    indices = jnp.arange(chunks * size, dtype=jnp.int32).reshape(chunks, size)
    return jnp.minimum(indices, count - 1), indices < count
