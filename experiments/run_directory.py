"""The folder in which a run writes down all it knows."""

import json
import platform
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from absl import flags

import cnn_jax
from cnn_jax.errors import UsageError
from cnn_jax.models import MODEL_OPTIONS
from cnn_jax.training import Config, TrainState, checkpoints

# Flags that say where and how to write, not what to compute.
_PLACES = frozenset({"workdir", "resume", "tensorboard", "checkpoint_every"})
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "tensorflow-datasets")

FLAGS_FILE = "flags.txt"
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
ENVIRONMENT_FILE = "environment.json"
RESULT_FILE = "result.json"
REPORT_FILE = "report.html"
CHECKPOINTS = "checkpoints"


def default_path(dataset: str, model: str) -> Path:
    """runs/<dataset>-<model>-<time>, a folder that is not there yet."""
    name = f"{Path(dataset).name.split(':')[0]}-{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, again = Path("runs") / name, 1
    while path.exists():
        again += 1
        path = Path("runs") / f"{name}-{again}"
    return path


def flags_of(module: str) -> list[flags.Flag]:
    """The flags that decide what a run computes, those `module` defines, sorted by name."""
    defined = flags.FLAGS.flags_by_module_dict()[module]
    return sorted((f for f in defined if f.name not in _PLACES), key=lambda flag: flag.name)


def flags_text(module: str, hparams: dict[str, float]) -> str:
    """A flagfile that repeats the run: every flag that has a value, hyperparameters resolved."""
    lines = []
    for flag in flags_of(module):
        if flag.name in hparams:
            lines.append(f"--{flag.name}={hparams[flag.name]!r}")
        elif flag.value is not None and _has_effect(flag):
            lines.append(flag.serialize())
    return "\n".join(lines) + "\n"


def _has_effect(flag: flags.Flag) -> bool:
    # A flag that only other models read must not be given to this one.
    specific = frozenset().union(*MODEL_OPTIONS.values())
    return flag.name not in specific - MODEL_OPTIONS[flags.FLAGS.model]


def adopt_flags(path: Path) -> None:
    """Gives every flag that the command line left out the value it has in `path`/flags.txt.

    Raises:
      UsageError: if there is no such file, if it names an unknown flag or a value of the wrong
        kind, or if the command line says otherwise.
    """
    file = path / FLAGS_FILE
    if not file.is_file():
        raise UsageError(f"--resume found no {FLAGS_FILE} in {path}; give the folder of a run")
    for line in file.read_text().splitlines():
        name, equals, value = line.strip().removeprefix("--").partition("=")
        negated = name.removeprefix("no") if name not in flags.FLAGS else name
        if negated not in flags.FLAGS:
            raise UsageError(f"{file} gives --{name}, which is not a flag of this version")
        flag = flags.FLAGS[negated]
        stored = value if equals else str(name == negated).lower()
        try:
            if not flag.present:
                flag.parse(stored)
                flag.using_default_value = False
            elif flag.value != flag.parser.parse(stored):
                raise UsageError(
                    f"the run in {path} has --{negated}={stored}, but the flags say "
                    f"{flag.serialize()}; leave the flag out to go on with it"
                )
        except (flags.Error, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{file}: {error}") from error


class RunDirectory:
    """Writes one run's files; a half-written line or file is never left under its final name."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / CHECKPOINTS

    def create(self, flags_content: str, config: Config, hparams: dict[str, float]) -> None:
        """Makes the folder with what is known before the first step.

        Raises:
          UsageError: if it can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make --workdir={self.path}: {error.strerror}") from error
        self.write(FLAGS_FILE, flags_content)
        self.write_json(CONFIG_FILE, describe(config, hparams))
        self.write_json(ENVIRONMENT_FILE, environment())

    def check_new(self) -> None:
        """Refuses a folder that already holds something.

        Raises:
          UsageError: naming the ways out.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(
                f"--workdir={self.path} already exists; give a new folder, or --resume to go on "
                "with the run in it"
            )

    def check_same(self, config: Config, hparams: dict[str, float]) -> None:
        """Refuses to go on with a run that another config began.

        Raises:
          UsageError: naming what differs, or if it cannot be known.
        """
        file = self.path / CONFIG_FILE
        try:
            stored = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {file}: {error}; start the run anew") from error
        wanted = json.loads(json.dumps(describe(config, hparams)))
        for name in sorted(stored.keys() | wanted.keys()):
            if stored.get(name) != wanted.get(name):
                raise UsageError(
                    f"the run in {self.path} has {name}={_plain(stored.get(name))}, but the flags "
                    f"say {name}={_plain(wanted.get(name))}; leave the flag out to go on with it"
                )

    def restore(self, like: TrainState) -> TrainState:
        """The state of the last checkpoint, or `like` where there is none yet."""
        path = checkpoints.latest(self.checkpoints)
        return like if path is None else checkpoints.restore(path, like)

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint."""
        self.checkpoints.mkdir(exist_ok=True)
        checkpoints.save(self.checkpoints, state)

    def history(self, name: str, epochs: int) -> list[dict[str, Any]]:
        """The lines of a file up to `epochs`; what was written after the checkpoint is dropped."""
        file = self.path / name
        if not file.is_file():
            return []
        lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
        kept = [json.loads(line) for line in lines][:epochs]
        self.write(name, "".join(json.dumps(record) + "\n" for record in kept))
        return kept

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Adds one line to a file of lines."""
        with (self.path / name).open("a") as file:
            file.write(json.dumps(record) + "\n")

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file."""
        self.write(name, json.dumps(content, indent=2) + "\n")

    def write(self, name: str, content: str) -> None:
        """Writes a text file, all or nothing."""
        part = self.path / f".{name}.part"
        part.write_text(content)
        part.replace(self.path / name)


def describe(config: Config, hparams: dict[str, float]) -> dict[str, Any]:
    """Every choice of a run by name: what must be the same to go on with it."""
    fields = asdict(config)
    data = ("dataset", "image_size", "train_examples", "validation_fraction", "seed")
    return (
        {name: flags.FLAGS[name].value for name in data}
        | fields.pop("architecture")
        | fields
        | hparams
    )


def environment() -> dict[str, str]:
    """What the run ran on."""
    devices = jax.devices()
    return {
        "cnn_jax": cnn_jax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
