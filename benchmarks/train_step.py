"""Images per second in training: cnn_jax, stock Flax and PyTorch, side by side.

A step is forward, backward and an update of SGD with momentum. Everything is built and compiled
first; then the contenders take turns, round after round, so that whatever else the machine does
meets all of them alike. A ratio is the median of the ratios within the rounds. PyTorch runs in a
process of its own, and may have another Python than JAX.

    python -m benchmarks.train_step --precisions=float32,bfloat16 --json=train_step.json
"""

import itertools
import json
import math
import os
import subprocess
import sys
import time
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import NETWORKS, Contender, contenders, torch_profile, torch_python
from benchmarks.epoch_profile import print_profile, profile
from cnn_jax.errors import UsageError
from cnn_jax.training.config import PRECISIONS
from experiments.launch import launch

TURN_SECONDS = 0.5
# A contender whose call takes longer has one turn, its first call.
ONE_TURN_SECONDS = 10.0
# Threads that spin for work after a contender's turn have stopped after this pause.
PAUSE_SECONDS = 0.05


def define_flags(values: flags.FlagValues) -> None:
    """The command line of the benchmark."""
    flags.DEFINE_list(
        "networks",
        list(NETWORKS),
        f"What to time, of {', '.join(NETWORKS)}, with commas between.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "rounds", 9, "Turns that every contender takes.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("batch_size", 128, "Images per step.", lower_bound=1, flag_values=values)
    flags.DEFINE_list(
        "precisions",
        ["float32"],
        f"Of the networks' arithmetic, of {', '.join(PRECISIONS)}, with commas between.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "torch_python",
        torch_python(),
        "The interpreter that has PyTorch: this one, if it has.",
        flag_values=values,
    )
    flags.DEFINE_string("json", None, "Write the numbers to this file.", flag_values=values)
    flags.DEFINE_bool(
        "profile",
        False,
        "Print where the time of our epoch goes, and of PyTorch's step.",
        flag_values=values,
    )


def main(values: flags.FlagValues) -> None:
    """Times the networks that the flags name, prints a table for each and writes the numbers.

    Raises:
        UsageError: if a network is not known or the file cannot be written.
    """
    unknown = [name for name in values.networks if name not in NETWORKS]
    if unknown or not values.networks:
        raise UsageError(
            f"--networks must be of {', '.join(NETWORKS)}, got {','.join(values.networks)!r}"
        )
    if set(values.precisions) - set(PRECISIONS) or not values.precisions:
        raise UsageError(
            f"--precisions must be of {', '.join(PRECISIONS)}, got {','.join(values.precisions)!r}"
        )
    torch = values.torch_python and torch_version(values.torch_python)
    if values.json and not Path(values.json).absolute().parent.is_dir():
        raise UsageError(f"--json={values.json}: there is no such folder to write to")
    console = Console(width=None if sys.stdout.isatty() else 140)
    machine = _machine() | ({"torch": torch} if torch else {})
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), highlight=False)
    if not torch:
        console.print(
            "PyTorch is not installed and is left out; pip install 'cnn_jax[bench]' adds it",
            markup=False,
        )
    results: dict[str, Any] = {}
    for name, precision in itertools.product(values.networks, values.precisions):
        entrants = contenders(NETWORKS[name], values.batch_size, precision, values.torch_python)
        count = same_size(entrants)
        title = f"{name}, {precision}: {count:,} parameters, batch {values.batch_size}"
        rows = report(entrants, *measure(entrants, values.rounds), values.batch_size)
        console.print(_table(title, rows))
        if values.profile:
            ours = entrants[0]
            assert ours.program is not None
            times = profile(ours.program, partial(ours.advance, 2), 2 * ours.steps)
            print_profile(console, name, ours.program, times)
            if torch:
                console.print(f"{name} in eager PyTorch: the ten most expensive operations")
                found = torch_profile(
                    NETWORKS[name], values.batch_size, precision, values.torch_python
                )
                console.print(found, highlight=False, markup=False)
        results.setdefault(name, {})[precision] = {"parameters": count, "contenders": rows}
    if values.json:
        numbers = {
            "machine": machine,
            "batch_size": values.batch_size,
            "rounds": values.rounds,
            "networks": results,
        }
        Path(values.json).write_text(json.dumps(numbers, indent=2) + "\n")


def same_size(entrants: list[Contender]) -> int:
    """The number of trained parameters, which all contenders must share to be comparable."""
    counts = {entrant.name: entrant.parameters for entrant in entrants}
    assert len(set(counts.values())) == 1, f"these are not the same network: {counts}"
    return entrants[0].parameters


def measure(
    entrants: list[Contender], rounds: int
) -> tuple[Float[np.ndarray, "entrants rounds"], Float[np.ndarray, "entrants rounds"]]:
    """Wall time and process CPU time of a step in each round, in ms; NaN for turns not taken."""
    wall, cpu = np.full((2, len(entrants), rounds), math.nan)
    calls = [0] * len(entrants)
    for index, entrant in enumerate(entrants):
        first = _take_turn(entrant, 1)
        if first[0] * entrant.steps > 1e3 * ONE_TURN_SECONDS:
            wall[index, 0], cpu[index, 0] = first
        else:
            warm = _take_turn(entrant, 1)[0] * entrant.steps
            calls[index] = math.ceil(1e3 * TURN_SECONDS / warm)
    for turn in range(rounds):
        for index, entrant in enumerate(entrants):
            if calls[index]:
                wall[index, turn], cpu[index, turn] = _take_turn(entrant, calls[index])
    return wall, cpu


def report(
    entrants: list[Contender],
    wall: Float[np.ndarray, "entrants rounds"],
    cpu: Float[np.ndarray, "entrants rounds"],
    batch_size: int,
) -> list[dict[str, Any]]:
    """What the table and the file show of each contender; times in ms per step."""
    names = [entrant.name for entrant in entrants]
    # A contender of one turn stands with it in every round.
    filled = np.where(np.isnan(wall), np.nanmedian(wall, axis=1, keepdims=True), wall)
    rows = []
    for index, entrant in enumerate(entrants):
        median = float(np.nanmedian(wall[index]))
        row = {
            "name": entrant.name,
            "compile_s": entrant.compile_seconds,
            "turns": int(np.isfinite(wall[index]).sum()),
            "median_ms": median,
            "lower_quartile_ms": float(np.nanquantile(wall[index], 0.25)),
            "images_per_s": 1e3 * batch_size / median,
            "cpu_ms": float(np.nanmedian(cpu[index])),
        }
        for key, prefix in (
            ("speed_of_torch", "PyTorch, eager"),
            ("speed_of_scan", "stock Flax, in"),
        ):
            other = [i for i, name in enumerate(names) if name.startswith(prefix)]
            row[key] = float(np.median(filled[other[0]] / filled[index])) if other else None
        rows.append(row)
    return rows


def _take_turn(entrant: Contender, calls: int) -> tuple[float, float]:
    """Wall time and process CPU time of a step, in milliseconds."""
    time.sleep(PAUSE_SECONDS)
    start, cpu_start = time.perf_counter(), entrant.cpu_seconds()
    entrant.advance(calls)
    seconds, cpu_seconds = time.perf_counter() - start, entrant.cpu_seconds() - cpu_start
    scale = 1e3 / (calls * entrant.steps)
    return seconds * scale, cpu_seconds * scale


def _machine() -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("jax", "flax")}
    return {**versions, "JAX on": jax.default_backend(), "cores": os.cpu_count()}


def torch_version(python: str) -> str:
    """The version of PyTorch that an interpreter has.

    Raises:
        UsageError: if it cannot be run, or has none.
    """
    code = "from importlib import metadata; print(metadata.version('torch'))"
    try:
        found = subprocess.run([python, "-c", code], text=True, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"--torch_python={python} has no PyTorch; give an interpreter that has, or leave it out"
        ) from error
    return found.stdout.strip()


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption="lower quartile and median over turns; CPU: of all threads; vs: how many times as "
        "fast, median over rounds. cnn_jax also shuffles, gathers and normalizes bytes; the others "
        "are given batches.",
        caption_justify="left",
    )
    table.add_column("contender", no_wrap=True)
    for column in ("compile s", "turns", "median ms/step", "lower quartile", "CPU ms/step"):
        table.add_column(column, justify="right")
    for column in ("images/s", "vs PyTorch", "vs stock in scan"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            _number(row["compile_s"], ".1f"),
            str(row["turns"]),
            _number(row["median_ms"], ",.1f"),
            _number(row["lower_quartile_ms"], ",.1f"),
            _number(row["cpu_ms"], ",.1f"),
            _number(row["images_per_s"], ",.0f"),
            _number(row["speed_of_torch"], ".2f"),
            _number(row["speed_of_scan"], ".2f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    launch(lambda: main(flags.FLAGS))
