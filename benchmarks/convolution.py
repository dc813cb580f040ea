"""Forms of a convolution on CPU side by side: forward pass and both gradients, in GFLOP/s.

`python -m benchmarks.convolution`: each is repeated inside a scan, as in an epoch; the forms take
turns, and the median of their rounds counts. Operations are those of the formula, padding included.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax
from rich.console import Console
from rich.table import Table

from cnn_jax import compilation, native, ops

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 9, "Turns that every form takes.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Images.", lower_bound=1)

# Height and width, channels, filters, size of the kernel, stride.
SHAPES = (
    (32, 3, 16, 3, 1),
    (32, 16, 16, 3, 1),
    (32, 16, 32, 3, 2),
    (16, 32, 32, 3, 1),
    (8, 64, 64, 3, 1),
    (15, 64, 256, 3, 1),
    (7, 256, 256, 3, 1),
)
FORMS: dict[ops.Lowering, compilation.CompilerOptions] = {
    "direct": compilation.SAFE,
    "products": compilation.SAFE,
    "onednn": compilation.ONEDNN,
}
_FLOPS_A_TURN = 3e10
# Of the table: a terminal may be narrower, and no column may be cut.
_WIDTH = 220


def main(arguments: list[str]) -> None:
    """Prints a row for each shape."""
    builder = native.load()
    console = Console(width=_WIDTH)
    console.print(
        f"jax {jax.__version__}, library built by {builder or 'nobody: products instead'}"
    )
    table = Table("map", "channels", "filters", "kernel", "stride")
    for form in FORMS:
        for part in ("forward", "to images", "to kernel"):
            table.add_column(f"{form}, {part}", justify="right")
    for shape in SHAPES:
        speeds = _speeds(*shape)
        table.add_row(*map(str, shape), *(f"{speed / 1e9:.0f}" for speed in speeds))
    console.print(table)


def _speeds(size: int, channels: int, filters: int, window: int, stride: int) -> list[float]:
    rng = np.random.default_rng(0)
    outputs = ops.output_size(size, window, stride=stride, padding="SAME")
    images, kernel, errors = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in (
            (FLAGS.batch_size, size, size, channels),
            (window, window, channels, filters),
            (FLAGS.batch_size, outputs, outputs, filters),
        )
    )
    flops = 2.0 * errors.size * window**2 * channels
    repeats = max(2, round(_FLOPS_A_TURN / flops))
    turns = [
        _turn(function, options, repeats, *arguments)
        for form, options in FORMS.items()
        for function, *arguments in _parts(form, stride, images, kernel, errors)
    ]
    seconds = [[turn() for turn in turns] for _ in range(FLAGS.rounds)]
    return [flops * repeats / statistics.median(each) for each in zip(*seconds, strict=True)]


def _parts(
    form: ops.Lowering, stride: int, images: jax.Array, kernel: jax.Array, errors: jax.Array
) -> list[tuple]:
    convolve = partial(ops.conv2d, strides=stride, lowering=form)

    def to_images(errors: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: convolve(x, kernel), images)[1](errors)[0]

    def to_kernel(images: jax.Array, errors: jax.Array) -> jax.Array:
        return jax.vjp(lambda k: convolve(images, k), kernel)[1](errors)[0]

    return [(convolve, images, kernel), (to_images, errors, kernel), (to_kernel, images, errors)]


def _turn(
    function: Callable[..., jax.Array],
    options: compilation.CompilerOptions,
    repeats: int,
    first: jax.Array,
    second: jax.Array,
) -> Callable[[], float]:
    """What gives the seconds of so many calls; each begins when the one before it has ended."""

    def repeated(first: jax.Array, second: jax.Array) -> jax.Array:
        def body(one: jax.Array, _: None) -> tuple[jax.Array, None]:
            return 1 + 0 * jnp.ravel(function(first * one, second))[0], None

        return lax.scan(body, jnp.ones(()), None, length=repeats)[0]

    program = compilation.jit(repeated, wanted=options).lower(first, second).compile()
    program(first, second).block_until_ready()

    def turn() -> float:
        start = time.perf_counter()
        program(first, second).block_until_ready()
        return time.perf_counter() - start

    return turn


if __name__ == "__main__":
    app.run(main)
