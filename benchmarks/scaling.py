"""Training on more accelerators than are at hand, on paper: `python -m benchmarks.scaling`.

Compiles a training step for 1, 2, 4 and 8 simulated devices and reads from the programs how many
operations an image takes and what the devices exchange. From these and the constants below it
reckons both axes for 8, 64 and 1,024 accelerators. Nothing is trained. The tables are Markdown and
stand in docs/scaling.md.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import truediv
from typing import Any

from absl import app

from benchmarks.scaling_programs import BATCH, Network, compile_network, networks

# The accelerator: one chip of TPU v5e (cloud.google.com/tpu/docs/v5e).
PEAK_FLOPS = 197e12  # bfloat16, per second
MEMORY_BANDWIDTH = 819e9  # bytes per second
MEMORY_BYTES = 16e9
POD = 256  # chips, a torus of 16 x 16
# Of the 400 GB/s of its four links, both ways together: what a ring along one axis uses, which is
# two links, one way each, for the sum that goes around in both directions.
LINK_BANDWIDTH = 100e9
POD_NETWORK_BANDWIDTH = 6.4e12 / 8 / POD  # bytes per second and chip, between pods
# A hop between neighbors takes about a microsecond (Austin et al. 2025, "How to scale your model",
# jax-ml.github.io/scaling-book). Between pods nothing is published: assumed.
HOP_SECONDS = 1e-6
POD_HOP_SECONDS = 50e-6
# Assumed: of the speed that the filling leaves, and of the memory's.
UTILIZATION = 0.5
# Activations are bfloat16; the programs that bytes are read from have float32.
BFLOAT16_SHARE = 0.5

ACCELERATORS = (8, 64, 1024)
SIMULATED = (1, 2, 4, 8)
GLOBAL_BATCH = 2048
ENOUGH = 0.9

# The sweep of small networks.
SWEEP_NETWORKS = 1_000_000
SWEEP_EPOCHS = 10
SWEEP_IMAGES = 50_000
# What differs in a static choice is another program: assumed.
SWEEP_PROGRAMS = 100
COMPILE_SECONDS = 20.0
# Share of the memory that trials may fill.
MEMORY_SHARE = 0.8


def compute_parts(network: Network) -> tuple[float, float]:
    """Seconds that an image takes the matrix units, and that it takes the memory."""
    products = network.flops / (PEAK_FLOPS * UTILIZATION * network.filled)
    return products, BFLOAT16_SHARE * network.traffic / (MEMORY_BANDWIDTH * UTILIZATION)


def compute_seconds(network: Network, images: float) -> float:
    """Time of a step's arithmetic on one accelerator: of the slower of products and memory."""
    return images * max(compute_parts(network))


def hops(accelerators: int) -> int:
    """Links on the longest way along the rings of a torus that is as square as can be."""
    rows = 2 ** (int(math.log2(accelerators)) // 2)
    return rows - 1 + accelerators // rows - 1


def exchange_parts(network: Network, accelerators: int) -> tuple[float, float]:
    """Seconds that a step's sums take: of the bytes on their way, and of the ways' lengths.

    Within a pod by rings, 2 (n - 1) / n of the bytes over each link; between pods each chip sums
    its part of the bytes with those of the same place in the others.
    """
    inside = min(accelerators, POD)
    pods = accelerators // inside
    moving = 2 * (inside - 1) / inside * network.exchanged / LINK_BANDWIDTH
    moving += 2 * (pods - 1) / pods * network.exchanged / inside / POD_NETWORK_BANDWIDTH
    length = 2 * hops(inside) * HOP_SECONDS + 2 * (pods - 1) * POD_HOP_SECONDS
    return moving, network.exchanges * length


def efficiency(network: Network, images: float, accelerators: int) -> float:
    """Share of the time that is arithmetic, at so many images per accelerator and step.

    Nothing is assumed to overlap. With the images of one accelerator kept (weak scaling) it is the
    throughput against as many times one accelerator's; with the batch kept and split ever more
    (strong scaling) likewise.
    """
    compute = compute_seconds(network, images)
    return compute / (compute + sum(exchange_parts(network, accelerators)))


def images_needed(network: Network, accelerators: int) -> int:
    """The fewest images per accelerator at which efficiency is `ENOUGH`."""
    exchange = sum(exchange_parts(network, accelerators))
    return math.ceil(ENOUGH / (1 - ENOUGH) * exchange / compute_seconds(network, 1))


def most_accelerators(network: Network, images: Callable[[int], float]) -> int:
    """The largest power of two of accelerators at which efficiency is `ENOUGH`, at most the last.

    Args:
        network: its step.
        images: of each accelerator in a step, by how many accelerators there are.
    """
    count = 1
    while count < max(ACCELERATORS):
        if efficiency(network, images(2 * count), 2 * count) < ENOUGH:
            break
        count *= 2
    return count


def sweep_seconds(network: Network, trials: int, accelerators: int) -> float:
    """Time of a sweep that is split over trials, its programs' compilation included."""
    rounds = math.ceil(trials / accelerators)
    images = rounds * SWEEP_EPOCHS * SWEEP_IMAGES
    return compute_seconds(network, images) + SWEEP_PROGRAMS * COMPILE_SECONDS


def trials_together(network: Network) -> int:
    """Trials that one accelerator's memory holds at a time."""
    return int(MEMORY_SHARE * MEMORY_BYTES / network.trial_bytes)


def compiled_table(rows: Sequence[Network]) -> list[str]:
    """What the programs say, a row for each network and number of devices."""
    return _table(
        (
            "network", "parameters", "devices", "FLOPs per image", "bytes accessed per image",
            "units filled", "bytes of a trial", "exchanges per step, batch split",
            "bytes exchanged per step", "exchanges per epoch, trials split",
        ),
        ([f"{v:.3f}" if isinstance(v, float) else _cell(v) for v in row] for row in rows),
    )  # fmt: skip


def batch_table(rows: Sequence[Network]) -> list[str]:
    """The batch axis on more accelerators."""
    return _table(
        (
            "network", "accelerators", f"arithmetic of {BATCH} images", "bytes on their way",
            "length of the ways", f"efficiency, {BATCH} images each",
            f"efficiency, {GLOBAL_BATCH:,} images in all", "images each for 90%",
        ),
        (
            [
                row.name, _cell(count), _time(compute_seconds(row, BATCH)), *map(_time, parts),
                f"{efficiency(row, BATCH, count):.1%}",
                f"{efficiency(row, GLOBAL_BATCH / count, count):.1%}",
                _cell(images_needed(row, count)),
            ]
            for row in rows
            for count in ACCELERATORS
            for parts in [exchange_parts(row, count)]
        ),
    )  # fmt: skip


def limit_table(rows: Sequence[Network]) -> list[str]:
    """Where the batch axis falls under `ENOUGH`."""
    batches = (GLOBAL_BATCH, 8 * GLOBAL_BATCH)
    return _table(
        (
            "network", "products, an image", "memory, an image", f"{BATCH} images each",
            *(f"{batch:,} images in all" for batch in batches),
        ),
        (
            [
                row.name, *map(_time, compute_parts(row)),
                _up_to(most_accelerators(row, lambda count: BATCH)),
                *(
                    _up_to(most_accelerators(row, partial(truediv, batch)))
                    for batch in batches
                ),
            ]
            for row in rows
        ),
    )  # fmt: skip


def trial_table(rows: Sequence[Network]) -> list[str]:
    """The trial axis on more accelerators."""
    return _table(
        (
            "network", "networks at a time on each",
            *(f"{count:,} accelerators" for count in ACCELERATORS),
        ),
        (
            [
                row.name, _cell(trials_together(row)),
                *(_time(sweep_seconds(row, SWEEP_NETWORKS, count)) for count in ACCELERATORS),
            ]
            for row in rows
        ),
    )  # fmt: skip


def tables(rows: Sequence[Network]) -> str:
    """All tables, from the rows of all networks and numbers of devices."""
    alone = {row.name: row for row in rows if row.devices == min(SIMULATED)}
    # Arithmetic from the program of one device, whose batch is whole; exchanges from the largest.
    reckoned = [
        alone[row.name]._replace(exchanges=row.exchanges, exchanged=row.exchanged)
        for row in rows
        if row.devices == max(SIMULATED)
    ]
    parts = (
        compiled_table(rows),
        batch_table(reckoned),
        limit_table(reckoned),
        trial_table(reckoned),
    )
    return "\n\n".join("\n".join(part) for part in parts)


def _table(headings: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    aligned = ["---"] + ["---:"] * (len(headings) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (headings, aligned, *rows)]


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _up_to(accelerators: int) -> str:
    more = " or more" if accelerators == max(ACCELERATORS) else ""
    return f"{accelerators:,}{more}"


def _time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def main(arguments: list[str]) -> None:
    """Prints the tables."""
    # Before jax starts.
    devices = f"--xla_force_host_platform_device_count={max(SIMULATED)}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    print(tables([compile_network(name, count) for name in networks() for count in SIMULATED]))


if __name__ == "__main__":
    app.run(main)
