"""What augmenting costs a training step: ResNet-20 with and without, side by side in one process.

The two take turns, round after round, so that whatever else the machine does meets both alike.

    python -m benchmarks.augmentation
"""

import sys

import numpy as np
from absl import flags
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import NETWORKS, Contender, our_epoch
from benchmarks.train_step import measure, same_size
from cnn_jax.errors import UsageError
from experiments.launch import launch

RECIPE = "flip,translate:4,cutout:8"
# Other work on the machine only adds time, so low quantiles are the steadiest.
QUANTILES = {"minimum": 0.0, "lower quartile": 0.25, "median": 0.5}


def define_flags(values: flags.FlagValues) -> None:
    """The command line of the benchmark."""
    flags.DEFINE_string("network", "resnet20", f"One of {', '.join(NETWORKS)}.", flag_values=values)
    flags.DEFINE_string(
        "augment", RECIPE, "What the one does and the other not.", flag_values=values
    )
    flags.DEFINE_integer("rounds", 15, "Turns that each takes.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("batch_size", 128, "Images per step.", lower_bound=1, flag_values=values)


def main(values: flags.FlagValues) -> None:
    """Times both and prints one table.

    Raises:
        UsageError: if the network or an augmentation is not known, or nothing is to be done.
    """
    if values.network not in NETWORKS:
        raise UsageError(f"--network must be of {', '.join(NETWORKS)}, got {values.network!r}")
    if not values.augment.strip():
        raise UsageError("--augment must say what is done to the images, got nothing")
    network = NETWORKS[values.network]
    entrants = [our_epoch(network, values.batch_size, text) for text in ("", values.augment)]
    same_size(entrants)
    title = f"{values.network}, batch {values.batch_size}: ms a step over {values.rounds} rounds"
    wall, cpu = measure(entrants, values.rounds)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_table(title, entrants, wall, cpu))


def _table(
    title: str,
    entrants: list[Contender],
    wall: Float[np.ndarray, "entrants rounds"],
    cpu: Float[np.ndarray, "entrants rounds"],
) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption="CPU: of all threads. The last row is what augmenting multiplies each number by.",
        caption_justify="left",
    )
    table.add_column("contender", no_wrap=True)
    columns = []
    for kind, times in (("wall", wall), ("CPU", cpu)):
        for name, quantile in QUANTILES.items():
            table.add_column(f"{kind}, {name}", justify="right")
            columns.append(np.nanquantile(times, quantile, axis=1))
    for index, entrant in enumerate(entrants):
        table.add_row(entrant.name, *(f"{column[index]:,.1f}" for column in columns))
    table.add_section()
    table.add_row("ratio", *(f"{with_it / without:.3f}" for without, with_it in columns))
    return table


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    launch(lambda: main(flags.FLAGS))
