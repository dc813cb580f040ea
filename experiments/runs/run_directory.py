"""The folder in which a run writes down all it knows."""

import copy
import itertools
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from absl import flags

import cnn_jax
from cnn_jax import compilation
from cnn_jax.errors import UsageError
from cnn_jax.training import TrainState, checkpoints
from cnn_jax.training.grid import with_nan
from cnn_jax.training.processes import is_first

from .. import command
from ..flags import options

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "tensorflow-datasets")

flags.DEFINE_string(
    "workdir", None, "The folder to write to; if not given, a new one in runs/, named by the time."
)
flags.DEFINE_bool(
    "resume",
    False,
    "Go on with what is in --workdir from its last checkpoint, to the same bits as if it had not "
    "stopped. Flags that are not given are those it was started with.",
)
flags.DEFINE_bool(
    "plan",
    False,
    "Compile, time one step, and print what would be trained and what it needs: parameters, "
    "memory, operations, exchanges between devices, time. Trains nothing and writes nothing.",
)

# A network file system may remember for a while that a file was not there.
_VISIBLE_SECONDS = 30

FLAGS_FILE = "flags.txt"
CONFIG_FILE = "config.json"
REPORT_FILE = "report.html"
CHECKPOINTS = "checkpoints"


def flags_text(resolved: Mapping[str, float | str]) -> str:
    """A flagfile that repeats a run: every flag that has a value, those resolved as they are."""
    lines, defined = [], flags.FLAGS.flags_by_module_dict()[options.__name__]
    without_effect = options.of_other_models(flags.FLAGS.model)
    for flag in sorted(defined, key=lambda flag: flag.name):
        if flag.name in resolved:
            lines.append(f"--{flag.name}={resolved[flag.name]}")
        elif flag.value is not None and flag.name not in without_effect:
            lines.append(flag.serialize())
    return "\n".join(lines) + "\n"


def read_flags(path: Path, known: Collection[str]) -> dict[str, list[str]]:
    """The texts of every flag in `path`/flags.txt by its name, without setting any.

    Args:
        path: of a run or a sweep.
        known: names of the flags that may be there.

    Raises:
        UsageError: if there is no such file, or it has another flag.
    """
    file = path / FLAGS_FILE
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path} is not the folder of a run: it has no {FLAGS_FILE}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    stored: dict[str, list[str]] = {}
    for line in filter(str.strip, lines):
        given, equals, text = line.strip().removeprefix("--").partition("=")
        name = given if given in known else given.removeprefix("no")
        if name not in known:
            raise UsageError(
                f"{file} gives --{given}, which is not an option of a run in this version"
            )
        stored.setdefault(name, []).append(text if equals else str(given == name).lower())
    return stored


def adopt_flags(path: Path) -> None:
    """Gives every flag that the command line left out the value it has in `path`/flags.txt.

    Raises:
        UsageError: if there is no such file, if it names an unknown flag or a value of the wrong
            kind, or if the command line says otherwise.
    """
    file = path / FLAGS_FILE
    if not file.is_file():
        raise UsageError(f"--resume found no {FLAGS_FILE} in {path}; give the folder of a run")
    for name, texts in read_flags(path, list(flags.FLAGS)).items():
        flag = flags.FLAGS[name]
        stored = copy.deepcopy(flag)
        stored.unparse()
        try:
            stored.parse(texts if isinstance(flag, flags.MultiFlag) else texts[-1])
        except (flags.Error, ValueError) as error:
            raise UsageError(f"{file}: {error}") from error
        if not flag.present:
            flag.value, flag.using_default_value = stored.value, False
        elif flag.serialize() != stored.serialize():
            raise UsageError(
                f"the run in {path} has {' '.join(f'--{name}={text}' for text in texts)}, but the "
                f"flags say {' '.join(flag.serialize().split())}; leave the flag out to go on with "
                "it"
            )


def first_difference(
    path: Path, choices: Mapping[str, Any], only_common: bool = False
) -> tuple[str, Any, Any] | None:
    """Where `path`/config.json and these choices differ: a name, its value there and here.

    Args:
        path: of a run or a sweep.
        choices: by name.
        only_common: whether names that one of them lacks are passed over.

    Raises:
        UsageError: if the file cannot be read.
    """
    file = path / CONFIG_FILE
    try:
        stored = dict(json.loads(file.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}; start the run anew") from error
    wanted = json.loads(json.dumps(choices))
    names = stored.keys() & wanted.keys() if only_common else stored.keys() | wanted.keys()
    for name in sorted(names):
        if stored.get(name) != wanted.get(name):
            return name, stored.get(name), wanted.get(name)
    return None


def strict_json(content: Any, indent: int | None = None) -> str:
    """The content as JSON that every reader takes: null for a number that is not finite."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    return [*map(_finite, content)] if isinstance(content, (list, tuple)) else content


class RunDirectory:
    """Writes one run's files; a half-written line or file is never left under its final name.

    Of several processes that share a run only the first one writes; the others see its files.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / CHECKPOINTS

    def create(self, flags_content: str, choices: dict[str, Any]) -> None:
        """Makes the folder with what is known before the first step.

        Raises:
            UsageError: if it can't be made.
        """
        if not is_first():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make --workdir={self.path}: {error.strerror}") from error
        self.write(FLAGS_FILE, flags_content)
        self.write_json(CONFIG_FILE, choices)
        self.write_json("environment.json", environment())

    def check_there(self) -> None:
        """Refuses to start on a host that does not see the folder that the first process made.

        Raises:
            UsageError: naming the folder.
        """
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while not (self.path / FLAGS_FILE).is_file():
            if time.monotonic() > deadline:
                raise UsageError(
                    f"--workdir={self.path} is not on a file system that this host shares with "
                    "that of process 0; give a folder that all hosts see"
                )
            time.sleep(1)

    def check_same(self, choices: dict[str, Any]) -> None:
        """Refuses to go on with a run that other choices began.

        Raises:
            UsageError: naming what differs, or if it cannot be known.
        """
        if difference := first_difference(self.path, choices):
            name, stored, wanted = difference
            raise UsageError(
                f"the run in {self.path} has {name}={plain(stored)}, but the flags say "
                f"{name}={plain(wanted)}; leave the flag out to go on with it"
            )

    def restore(self, like: TrainState) -> TrainState | None:
        """The state of the last checkpoint, with the places of `like`, or None without one."""
        path = checkpoints.latest(self.checkpoints)
        return None if path is None else checkpoints.restore(path, like)

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint, all processes together."""
        if is_first():
            self.checkpoints.mkdir(exist_ok=True)
        checkpoints.save(self.checkpoints, state, int(state.epoch))

    def history(self, name: str, epochs: int) -> list[dict[str, Any]]:
        """The lines of a file up to `epochs`; what was written after the checkpoint is dropped."""
        file = self.path / name
        if not file.is_file():
            return []
        lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
        kept = [json.loads(line) for line in lines][:epochs]
        self.write(name, "".join(strict_json(record) + "\n" for record in kept))
        return [with_nan(record) for record in kept]

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Adds one line to a file of lines."""
        if is_first():
            with (self.path / name).open("a") as file:
                file.write(strict_json(record) + "\n")

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file."""
        self.write(name, strict_json(content, indent=2) + "\n")

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file, all or nothing, and its folder where there is none; text as UTF-8."""
        if is_first():
            self.path.mkdir(parents=True, exist_ok=True)
            part = self.path / f".{name}.part"
            part.write_bytes(content.encode() if isinstance(content, str) else content)
            part.replace(self.path / name)


def open_directory(what: str, name: str) -> RunDirectory:
    """The folder of --workdir, or a new one; with --resume its flags hold.

    Args:
        what: is in it, for messages: a run or a sweep.
        name: of a new folder in runs/, before the time.

    Raises:
        UsageError: if there is nothing to go on with, or something where a new folder should be.
    """
    workdir = flags.FLAGS.workdir
    if flags.FLAGS.resume:
        if workdir is None:
            raise UsageError(f"--resume needs the --workdir of the {what} to go on with")
        adopt_flags(Path(workdir))
    path = Path(workdir) if workdir else _new_path(name)
    goes_on = flags.FLAGS.resume or flags.FLAGS.plan
    if not goes_on and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(
            f"--workdir={path} already exists; give a new folder, or --resume to go on with the "
            "run in it"
        )
    return RunDirectory(path)


def _new_path(name: str) -> Path:
    """runs/<name>-<time>, a folder that is not there yet."""
    first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{again}") for again in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())


def environment() -> dict[str, str]:
    """What the run ran on."""
    devices = jax.devices()
    options = " ".join(f"{name}={value}" for name, value in compilation.compiler_options().items())
    return {
        "cnn_jax": cnn_jax.__version__,
        **_commit(),
        "python": platform.python_version(),
        **versions(),
        "platform": platform.platform(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "compiler options": options or "those of XLA",
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
        + (f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""),
        "command": f"{command(Path(sys.argv[0]).stem)} {shlex.join(sys.argv[1:])}".rstrip(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _commit() -> dict[str, str]:
    """The commit of the code and whether it was changed since, where git knows the code."""
    root = Path(cnn_jax.__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Installed, the code may lie in a folder that some other repository leaves out.
        git("ls-files", "--error-unmatch", "cnn_jax/__init__.py")
        changed = git("status", "--porcelain", "--", "cnn_jax", "experiments")
        return {"commit": git("rev-parse", "HEAD"), "changed": "yes" if changed else "no"}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of the packages that results may depend on."""
    return {name: metadata.version(name) for name in _PACKAGES}


def plain(value: Any) -> str:
    """A value as it is written in a flag."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
