"""The command line; see the package."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

# What the other processes need of the device's memory is theirs.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
from absl import flags
from rich.console import Console

from benchmarks.accelerator import recipe, speed, trials
from benchmarks.accelerator.networks import TIMED
from benchmarks.accelerator.worker import EndedError, Worker, close
from benchmarks.contenders import torch_python
from benchmarks.train_step import torch_version
from cnn_jax.compilation import CompilerOptions
from cnn_jax.errors import UsageError
from cnn_jax.ops import LOWERINGS
from cnn_jax.training import PRECISIONS
from cnn_jax.training.sweep import VECTORIZATIONS
from experiments.launch import launch

SECTIONS = ("speed", "trials", "recipe")
FLAGS = flags.FLAGS


def define_flags() -> None:
    """The command line of the benchmark."""
    flags.DEFINE_list("sections", list(SECTIONS), f"What is timed, of {', '.join(SECTIONS)}.")
    flags.DEFINE_list("networks", list(TIMED), "Whose speed is timed.")
    flags.DEFINE_list("precisions", list(PRECISIONS), "Of the networks' arithmetic.")
    flags.DEFINE_list("lowerings", ["auto"], "Of a lone network's convolutions on accelerators.")
    flags.DEFINE_multi_string(
        "xla_options", [], "Options of XLA, name=value;..., with which ours is timed too."
    )
    flags.DEFINE_list(
        "swept", ["lenet5:1024", "cnn:256", "resnet20:16", "airnet:4", "resnet18:4"],
        "The networks that train together, and how many at most.",
    )  # fmt: skip
    flags.DEFINE_list("swept_precisions", ["bfloat16"], "Of the networks that train together.")
    flags.DEFINE_list("trials", ["4", "16", "64", "256", "1024"], "How many train together.")
    flags.DEFINE_list("ways", list(VECTORIZATIONS), "How they train together.")
    flags.DEFINE_integer(
        "most_apart", 4, "How many train together at most in other ways than products.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_integer("rounds", 5, "Turns that every contender takes.", lower_bound=1)
    flags.DEFINE_integer("batch", 128, "Images in a step.", lower_bound=1)
    flags.DEFINE_integer("recipe_seeds", 20, "Trainings of the recipe in a sweep.", lower_bound=1)
    flags.DEFINE_integer(
        "recipe_lone", 5, "Trainings of the recipe one after another, ours and PyTorch's.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_list("recipe_ways", list(recipe.SHORT), "How the recipe is trained.")
    flags.DEFINE_string("recipe_data", "cifar10", "A name or a path, as --dataset of train.")
    flags.DEFINE_string("torch_python", torch_python(), "The interpreter that has PyTorch.")
    flags.DEFINE_string("json", None, "Write the numbers to this file.")


class Section(NamedTuple):
    """A question of the benchmark.

    Attributes:
        workers: processes that compile for it.
        measure: what they give, row after row, once all are ready.
        show: prints all rows.
    """

    workers: list[Worker]
    measure: Callable[[], Iterator[Any]]
    show: Callable[[Console, list[Any]], None]


def main() -> None:
    """Times what the flags ask for, prints tables and writes the numbers."""
    for name, known in (
        ("sections", SECTIONS),
        ("networks", tuple(TIMED)),
        ("precisions", PRECISIONS),
        ("swept_precisions", PRECISIONS),
        ("lowerings", LOWERINGS),
        ("ways", VECTORIZATIONS),
        ("recipe_ways", tuple(recipe.SHORT)),
    ):
        wrong = [item for item in getattr(FLAGS, name) if item not in known]
        if wrong:
            raise UsageError(f"--{name} must be of {', '.join(known)}, got {wrong[0]!r}")
    if not all(re.fullmatch(rf"({'|'.join(TIMED)}):[1-9]\d*", item) for item in FLAGS.swept):
        raise UsageError(
            f"--swept must be name:number, names of {', '.join(TIMED)}, got {','.join(FLAGS.swept)}"
        )
    if not all(count.isdecimal() and int(count) for count in FLAGS.trials):
        raise UsageError(f"--trials must be numbers from 1 on, got {','.join(FLAGS.trials)}")
    if FLAGS.json and not Path(FLAGS.json).absolute().parent.is_dir():
        raise UsageError(f"--json={FLAGS.json}: there is no such folder to write to")
    console = Console(width=None if sys.stdout.isatty() else 140)
    numbers: dict[str, Any] = {"machine": _machine()}
    console.print(
        ", ".join(f"{key} {value}" for key, value in numbers["machine"].items()), highlight=False
    )
    sections = {name: _SECTIONS[name]() for name in FLAGS.sections}
    workers = [worker for section in sections.values() for worker in section.workers]
    try:
        for worker in workers:
            worker.ready()
            print(f"ready: {worker.title}", flush=True)
        for name, section in sections.items():
            rows = []
            for row in section.measure():
                print(*row, flush=True)
                rows.append(row)
            numbers[name] = [row._asdict() for row in rows]
            section.show(console, rows)
            if FLAGS.json:
                Path(FLAGS.json).write_text(json.dumps(numbers, indent=2) + "\n")
    except EndedError as error:
        raise UsageError(str(error)) from None
    finally:
        close(workers)


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


def _speed() -> Section:
    workers = speed.start(
        FLAGS.networks, FLAGS.precisions, FLAGS.batch, FLAGS.torch_python, FLAGS.lowerings,
        [_options(text) for text in FLAGS.xla_options],
    )  # fmt: skip
    return Section(
        list(workers.values()),
        lambda: speed.measure(workers, FLAGS.batch, FLAGS.rounds),
        lambda console, rows: speed.show(console, rows, FLAGS.batch),
    )


def _trials() -> Section:
    points = {
        name: [
            (way, count)
            for count in map(int, FLAGS.trials)
            for way in FLAGS.ways
            if count <= int(most) and (way == "products" or count <= FLAGS.most_apart)
        ]
        for name, most in (item.split(":") for item in FLAGS.swept)
    }
    workers = trials.start(points, FLAGS.swept_precisions, FLAGS.batch)
    return Section(
        list(workers.values()), lambda: trials.measure(workers, FLAGS.rounds), trials.show
    )


def _recipe() -> Section:
    ways = [recipe.SHORT[way] for way in FLAGS.recipe_ways]
    workers = recipe.start(
        FLAGS.recipe_data, "bfloat16", ways, FLAGS.recipe_seeds, FLAGS.torch_python
    )
    return Section(
        list(workers.values()),
        lambda: recipe.measure(workers, FLAGS.recipe_seeds, FLAGS.recipe_lone),
        recipe.show,
    )


_SECTIONS: dict[str, Callable[[], Section]] = {
    "speed": _speed,
    "trials": _trials,
    "recipe": _recipe,
}


if __name__ == "__main__":
    define_flags()
    launch(main)
