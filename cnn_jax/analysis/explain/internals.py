"""Inside a network: filters, feature maps, nearest neighbors in features, what excites a unit.

Here a network is a function of images and a tap: the tap is called with the name and the output of
every layer, in order, and what it returns goes on in the network, as `cnn_jax.models` do it.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from cnn_jax.errors import UsageError

Tap = Callable[[str, Array], Array]
Network = Callable[[Float[Array, "n h w c"], Tap], Float[Array, "n classes"]]
_Activations = Callable[[Float[Array, "n h w c"]], Float[Array, " n"]]


def first_kernel(weights: PyTree, channels: int) -> Float[Array, "kh kw c f"]:
    """The kernel of the first convolution: of all that fit the image, the outermost and first.

    Args:
        weights: all that a network learned, or took from the data: nested containers of arrays.
        channels: of the images it is given.

    Raises:
        UsageError: if no kernel takes so many channels.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(weights)
    kernels = [
        (len(path), str(path), leaf)
        for path, leaf in leaves
        if jnp.ndim(leaf) == 4 and leaf.shape[2] == channels
    ]
    if not kernels:
        raise UsageError(
            f"the network has no convolution of {channels} channel(s); give the weights of one "
            "that has"
        )
    return min(kernels, key=lambda kernel: kernel[:2])[2]


def filter_images(kernel: Float[Array, "kh kw c f"]) -> Float[Array, "f kh kw c"]:
    """The filters as images in [-1, 1], each divided by its largest absolute weight."""
    filters = jnp.moveaxis(kernel, -1, 0)
    largest = jnp.max(jnp.abs(filters), axis=(1, 2, 3), keepdims=True)
    return filters / jnp.where(largest > 0, largest, 1)


def layer_outputs(network: Network, images: Float[Array, "n h w c"]) -> OrderedDict[str, Array]:
    """What every layer returns, by its name, in the order of the network.

    A compiled function that returns them keeps the order too.
    """
    outputs: OrderedDict[str, Array] = OrderedDict()

    def tap(name: str, value: Array) -> Array:
        outputs[name] = value
        return value

    network(images, tap)
    return outputs


def feature_maps(
    network: Network, images: Float[Array, "n h w c"]
) -> OrderedDict[str, Float[Array, "n fh fw f"]]:
    """What every layer with feature maps returns, by its name, in the order of the network.

    Those are convolutions, normalizations, activations, poolings and whole blocks.
    """
    outputs = layer_outputs(network, images)
    return OrderedDict((name, value) for name, value in outputs.items() if value.ndim == 4)


def layer_output(network: Network, layer: str, images: Float[Array, "n h w c"]) -> Array:
    """What one layer returns.

    Raises:
        UsageError: if there is no layer of that name.
    """
    outputs = layer_outputs(network, images)
    _check_layer(layer, list(outputs))
    return outputs[layer]


def features(
    network: Network, images: Float[Array, "n h w c"], layer: str = "output"
) -> Float[Array, "n d"]:
    """What `layer` is given, one row for each image: what the network knows before it decides.

    Raises:
        UsageError: if there is no layer of that name, or none before it.
    """
    outputs = layer_outputs(network, images)
    names = list(outputs)
    _check_layer(layer, names[1:])
    return outputs[names[names.index(layer) - 1]].reshape(images.shape[0], -1)


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


def filter_activations(
    network: Network, layer: str, filters: Int[Array, " n"] | int
) -> _Activations:
    """The function from images to the mean of one feature map, the same or another for each image.

    Raises:
        UsageError: when it is called, if there is no layer of that name.
    """

    def activations(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
        maps = layer_output(network, layer, images)
        return jnp.mean(maps, axis=(1, 2))[jnp.arange(images.shape[0]), jnp.asarray(filters)]

    return activations


def maximize(
    activations: _Activations,
    shape: tuple[int, int, int, int],
    key: PRNGKeyArray,
    *,
    steps: int = 256,
    step_size: float = 0.1,
    l2: float = 0.1,
    total_variation: float = 0.3,
    jitter: int = 2,
    low: Float[Array, "*c"] | float = -jnp.inf,
    high: Float[Array, "*c"] | float = jnp.inf,
) -> Float[Array, "n h w c"]:
    """Images found by gradient ascent, one for each activation.

    From weak noise, x += step * (g / rms(g) - l2 * x - total_variation * dV/dx), where g = da/dx,
    V is `roughness` and the step shrinks to nothing. Because g is scaled, the same penalties serve
    a logit and a filter. At every step the image is first rolled by a random shift, so that no
    place of it is special.
    Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009 (the ascent);
    Simonyan et al. 2013, equation 1 (l2); Mahendran and Vedaldi, "Understanding Deep Image
    Representations by Inverting Them", 2015, equation 3 (total variation); Mordvintsev, Olah and
    Tyka, "Inceptionism", 2015 (scaled gradients, jitter).

    Args:
        activations: what is to become large, one number for each image: `filter_activations(...)`,
            or `lambda images: output(jnp.arange(10))(logits_of(images))` for ten classes at once.
        shape: of the images, with as many images as activations.
        key: of the first image and of the shifts.
        steps: steps of the ascent.
        step_size: how far the first step takes a pixel, in units of the network's input.
        l2: how strongly values are drawn to 0.
        total_variation: how strongly neighbors are drawn together; a class takes more of it
            than a filter of an early layer, whose pattern is fine.
        jitter: the largest shift, in pixels.
        low: least value of a pixel, or of each channel.
        high: greatest value of a pixel, or of each channel.
    """

    def ascent(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        gradient = jax.grad(lambda images: jnp.sum(activations(images)))(images)
        rms = jnp.sqrt(jnp.mean(gradient**2, axis=(1, 2, 3), keepdims=True))
        rough = jax.grad(lambda images: jnp.sum(roughness(images)))(images)
        # Where a unit is dead its gradient is 0, and stays 0.
        return gradient / jnp.maximum(rms, 1e-12) - l2 * images - total_variation * rough

    def step(images: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        shift, size = item
        moved = jnp.roll(images, shift, axis=(1, 2))
        images = images + size * jnp.roll(ascent(moved), -shift, axis=(1, 2))
        return jnp.clip(images, low, high), None

    start_key, shift_key = jax.random.split(key)
    start = jnp.clip(0.1 * jax.random.normal(start_key, shape), low, high)
    shifts = jax.random.randint(shift_key, (steps, 2), -jitter, jitter + 1)
    sizes = step_size * (1 - jnp.arange(steps) / steps)
    return lax.scan(step, start, (shifts, sizes))[0]


def roughness(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Total variation of an image: the sum of sqrt(dx^2 + dy^2) over its pixels and channels.

    dx and dy are the differences to the next pixel, 0 at the last.
    Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
    """
    down = jnp.diff(images, axis=1, append=images[:, -1:])
    right = jnp.diff(images, axis=2, append=images[:, :, -1:])
    # The small number keeps the gradient finite where the image is flat.
    return jnp.sum(jnp.sqrt(down**2 + right**2 + 1e-8), axis=(1, 2, 3))


def _check_layer(layer: str, names: list[str]) -> None:
    if layer not in names:
        raise UsageError(f"there is no layer {layer!r}; give one of {', '.join(names)}")
