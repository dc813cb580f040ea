"""The command line; see the package."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

# What the other processes need of the device's memory is theirs.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
from absl import flags
from rich.console import Console

from benchmarks.accelerator import recipe, speed, trials
from benchmarks.contenders import torch_python
from benchmarks.train_step import torch_version
from cnn_jax import data
from cnn_jax.compilation import CompilerOptions
from cnn_jax.errors import UsageError
from cnn_jax.training import PRECISIONS
from cnn_jax.training.sweep import VECTORIZATIONS
from experiments.launch import launch

SECTIONS = ("speed", "trials", "recipe")
FLAGS = flags.FLAGS


def define_flags() -> None:
    """The command line of the benchmark."""
    flags.DEFINE_list("sections", list(SECTIONS), f"What is timed, of {', '.join(SECTIONS)}.")
    flags.DEFINE_list("networks", list(speed.TIMED), "Whose speed is timed.")
    flags.DEFINE_list("precisions", list(PRECISIONS), "Of the networks' arithmetic.")
    flags.DEFINE_multi_string(
        "xla_options", [], "Options of XLA, name=value;..., with which ours is timed too."
    )
    flags.DEFINE_list("swept", ["lenet5", "cnn"], "The networks that train together.")
    flags.DEFINE_list("swept_precisions", ["float32"], "Of the networks that train together.")
    flags.DEFINE_list("trials", ["1", "4", "16", "64", "256", "1024"], "How many train together.")
    flags.DEFINE_list("ways", list(VECTORIZATIONS), "How they train together.")
    flags.DEFINE_integer("rounds", 5, "Turns that every contender takes.", lower_bound=1)
    flags.DEFINE_integer("batch", 128, "Images in a step.", lower_bound=1)
    flags.DEFINE_integer("recipe_seeds", 20, "Trainings of the recipe.", lower_bound=1)
    flags.DEFINE_string("recipe_data", "cifar10", "A name or a path, as --dataset of train.")
    flags.DEFINE_string("torch_python", torch_python(), "The interpreter that has PyTorch.")
    flags.DEFINE_string("json", None, "Write the numbers to this file.")


def main() -> None:
    """Times what the flags ask for, prints tables and writes the numbers."""
    for name, known in (
        ("sections", SECTIONS),
        ("networks", tuple(speed.TIMED)),
        ("swept", tuple(speed.TIMED)),
        ("precisions", PRECISIONS),
        ("swept_precisions", PRECISIONS),
        ("ways", VECTORIZATIONS),
    ):
        wrong = [item for item in getattr(FLAGS, name) if item not in known]
        if wrong:
            raise UsageError(f"--{name} must be of {', '.join(known)}, got {wrong[0]!r}")
    if FLAGS.json and not Path(FLAGS.json).absolute().parent.is_dir():
        raise UsageError(f"--json={FLAGS.json}: there is no such folder to write to")
    console = Console(width=None if sys.stdout.isatty() else 140)
    numbers: dict[str, Any] = {"machine": _machine()}
    console.print(
        ", ".join(f"{key} {value}" for key, value in numbers["machine"].items()), highlight=False
    )
    for section in FLAGS.sections:
        rows: Sequence[Any] = _SECTIONS[section](console)
        numbers[section] = [row._asdict() for row in rows]
        if FLAGS.json:
            Path(FLAGS.json).write_text(json.dumps(numbers, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    found = {name: metadata.version(name) for name in ("jax", "flax")}
    if FLAGS.torch_python:
        found["torch"] = torch_version(FLAGS.torch_python)
    return {"device": jax.devices()[0].device_kind, **found, "cores": os.cpu_count()}


def _options(text: str) -> CompilerOptions:
    found: CompilerOptions = {}
    for pair in text.split(";"):
        name, _, value = pair.partition("=")
        found[name] = {"true": True, "false": False}.get(value, value)
    return found


def _time_speed(console: Console) -> Sequence[speed.Speed]:
    options = [_options(text) for text in FLAGS.xla_options]
    rows = []
    for row in speed.measure(
        FLAGS.networks, FLAGS.precisions, FLAGS.batch, FLAGS.rounds, FLAGS.torch_python, options
    ):
        print(*row, flush=True)
        rows.append(row)
    speed.show(console, rows, FLAGS.batch)
    return rows


def _time_trials(console: Console) -> Sequence[trials.Together]:
    counts = [int(count) for count in FLAGS.trials]
    rows = []
    for row in trials.measure(
        FLAGS.swept, FLAGS.swept_precisions, counts, FLAGS.batch, FLAGS.rounds, FLAGS.ways
    ):
        print(*row, flush=True)
        rows.append(row)
    trials.show(console, rows)
    return rows


def _time_recipe(console: Console) -> Sequence[recipe.Trained]:
    dataset = data.load(FLAGS.recipe_data)
    seeds = range(FLAGS.recipe_seeds)
    rows = [recipe.lone(dataset, "bfloat16", seeds), recipe.swept(dataset, "bfloat16", seeds)]
    if FLAGS.torch_python:
        rows.append(recipe.in_torch(dataset, seeds, FLAGS.torch_python))
    recipe.show(console, rows)
    return rows


_SECTIONS: dict[str, Callable[[Console], Sequence[Any]]] = {
    "speed": _time_speed,
    "trials": _time_trials,
    "recipe": _time_recipe,
}


if __name__ == "__main__":
    define_flags()
    launch(main)
