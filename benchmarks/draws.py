"""How long a network's kernels take to compile, drawn by JAX's keys and in rows.

`python -m benchmarks.draws` compiles, for each network, the program that draws all of its kernels
(He's normal distribution, a stream for each), with a key of JAX and with `flat_draws` of it, for
one trial and for twelve that are mapped, and sees that the numbers are the same to the bit.
"""

import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from absl import app
from flax import nnx
from jaxtyping import Array, PRNGKeyArray
from rich import box
from rich.console import Console
from rich.table import Table

from cnn_jax import compilation
from cnn_jax.models import Architecture, build_abstract, split_variables
from cnn_jax.models.architecture import ImageShape
from cnn_jax.ops.keys import flat_draws

# With the images that they read.
_NETWORKS = {
    "lenet5": (28, 28, 1),
    "cnn": (28, 28, 1),
    "resnet20": (32, 32, 3),
    "resnet18": (32, 32, 3),
}
_CLASSES = 10
_TRIALS = 12

Draw = Callable[[PRNGKeyArray], list[Array]]


def main(arguments: list[str]) -> None:
    """Prints a row per network."""
    table = Table(box=box.MARKDOWN)
    table.add_column("network")
    for count in ("one trial", f"{_TRIALS} mapped"):
        for kind in ("JAX's draws", "in rows"):
            table.add_column(f"{kind}, {count} (s)", justify="right")
    for model, shape in _NETWORKS.items():
        table.add_row(model, *(f"{seconds:.1f}" for seconds in _seconds(model, shape)))
    Console(width=120, highlight=False).print(table)


def _seconds(model: str, shape: ImageShape) -> list[float]:
    network = build_abstract(Architecture(model=model), shape, _CLASSES)
    leaves = jax.tree.leaves(split_variables(network)[0])
    shapes = [leaf.shape for leaf in leaves if len(leaf.shape) > 1]

    def as_jax(key: PRNGKeyArray) -> list[Array]:
        draw = nnx.initializers.he_normal()
        return [draw(jax.random.fold_in(key, index), each) for index, each in enumerate(shapes)]

    def in_rows(key: PRNGKeyArray) -> list[Array]:
        return as_jax(flat_draws(key))

    key = jax.random.key(0)
    keys = jax.random.split(key, _TRIALS)
    one = [_compiled(draw, key) for draw in (as_jax, in_rows)]
    mapped = [_compiled(partial(jax.lax.map, draw), keys) for draw in (as_jax, in_rows)]
    for (_, expected), (_, found) in (one, mapped):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    return [seconds for seconds, _ in (*one, *mapped)]


def _compiled(draw: Draw, key: PRNGKeyArray) -> tuple[float, list[Array]]:
    """Seconds that compiling takes, and what the program draws."""
    lowered = compilation.jit(draw).lower(key)
    start = time.perf_counter()
    program = lowered.compile()
    return time.perf_counter() - start, program(key)


if __name__ == "__main__":
    app.run(main)
