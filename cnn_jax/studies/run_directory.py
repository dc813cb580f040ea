"""The folder in which a run writes down all it knows."""

import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import cnn_jax
from cnn_jax import compilation
from cnn_jax.errors import UsageError
from cnn_jax.extend import KEPT, ExtensionFile, loaded_files
from cnn_jax.training import TrainState, checkpoints
from cnn_jax.training.grid import with_nan
from cnn_jax.training.processes import is_first

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "tensorflow-datasets")
# A network file system may remember for a while that a file was not there.
_VISIBLE_SECONDS = 30

FLAGS_FILE = "flags.txt"
CONFIG_FILE = "config.json"
REPORT_FILE = "report.html"
RESULT_FILE = "result.json"
LIKENESS_FILE = "likeness.npz"
HELD_OUT_FILE = "held_out.npz"
CHECKPOINTS = "checkpoints"
# The checkpoint of the best epoch, beside that of the last.
BEST = "best"


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
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        given, equals, text = line.strip().removeprefix("--").partition("=")
        name = given if given in known else given.removeprefix("no")
        if name not in known:
            raise UsageError(
                f"{file} gives --{given}, which is not an option of a run in this version"
            )
        stored.setdefault(name, []).append(text if equals else str(given == name).lower())
    return stored


def planned_epochs(path: Path) -> int:
    """How many epochs a run was last started for."""
    return int(json.loads((path / CONFIG_FILE).read_text())["epochs"])


def first_difference(
    path: Path, choices: Mapping[str, Any], only_common: bool = False, apart: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
    """Where `path`/config.json and these choices differ: a name, its value there and here.

    Args:
        path: of a run or a sweep.
        choices: by name.
        only_common: whether names that one of them lacks are passed over.
        apart: names that may differ, those inside of others too.

    Raises:
        UsageError: if the file cannot be read.
    """
    file = path / CONFIG_FILE
    try:
        stored = dict(json.loads(file.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}; start the run anew") from error
    stored, wanted = _without(stored, apart), _without(json.loads(json.dumps(choices)), apart)
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


def _without(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


def _other_files(path: Path, stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """What is wrong with the files of functions from outside."""
    for name in stored.keys() & wanted.keys():
        if stored[name] != wanted[name]:
            return (
                f"{name} is not what it was when the run in {path} was started; leave --extend "
                f"out to go on with that, which is kept in {path / KEPT}"
            )
    more = wanted.keys() - stored.keys()
    if more:
        return f"the run in {path} was started without {', '.join(sorted(more))}; leave it out"
    fewer = ", ".join(sorted(stored.keys() - wanted.keys()))
    return f"the run in {path} was started with {fewer}, which is not in {path / KEPT} any more"


class RunDirectory:
    """Writes one run's files; a half-written line or file is never left under its final name.

    Of several processes that share a run only the first one writes; the others see its files.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / CHECKPOINTS

    def create(
        self,
        flags_content: str,
        choices: dict[str, Any],
        command: str,
        files: Sequence[ExtensionFile] | None = None,
    ) -> None:
        """Makes the folder with what is known before the first step.

        Args:
            flags_content: a flagfile that repeats the run.
            choices: what must be the same to go on with it.
            command: that started it.
            files: of functions from outside, to keep; those that were read if None.

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
        self.write_json("environment.json", environment(command))
        folder = RunDirectory(self.path / KEPT)
        for number, file in enumerate(loaded_files() if files is None else files):
            folder.write(f"{number:02d}_{file.name}", file.text)

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

    def check_same(self, choices: dict[str, Any], apart: Collection[str] = ()) -> None:
        """Refuses to go on with a run that other choices began.

        Args:
            choices: by name.
            apart: names that may differ.

        Raises:
            UsageError: naming what differs, or if it cannot be known.
        """
        if difference := first_difference(self.path, choices, apart=apart):
            name, stored, wanted = difference
            if name == "extensions":
                raise UsageError(_other_files(self.path, stored or {}, wanted or {}))
            raise UsageError(
                f"the run in {self.path} has {name}={plain(stored)}, but the flags say "
                f"{name}={plain(wanted)}; leave the flag out to go on with it"
            )

    def restore(self, like: TrainState, folder: str = CHECKPOINTS) -> TrainState | None:
        """The state of the last checkpoint, with the places of `like`, or None without one."""
        path = checkpoints.latest(self.path / folder)
        return None if path is None else checkpoints.restore(path, like)

    def save(self, state: TrainState, folder: str = CHECKPOINTS) -> None:
        """Writes a checkpoint, all processes together."""
        if is_first():
            (self.path / folder).mkdir(exist_ok=True)
        checkpoints.save(self.path / folder, state, int(state.epoch))

    def forget(self, folder: str) -> None:
        """Removes the checkpoints of a folder."""
        if is_first():
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def history(self, name: str, epochs: int) -> list[dict[str, Any]]:
        """The lines of a file up to `epochs`; what was written after the checkpoint is dropped."""
        file = self.path / name
        if not file.is_file():
            return []
        lines = [line for line in file.read_text().splitlines() if line.endswith("}")]
        kept = [record for record in map(json.loads, lines) if record["epoch"] <= epochs]
        self.write(name, "".join(strict_json(record) + "\n" for record in kept))
        return [with_nan(record) for record in kept]

    def append(self, name: str, *records: dict[str, Any]) -> None:
        """Adds a line for each record to a file of lines."""
        if is_first():
            with (self.path / name).open("a") as file:
                file.write("".join(strict_json(record) + "\n" for record in records))

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


def environment(command: str) -> dict[str, str]:
    """What the run ran on, and the command that started it."""
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
        "command": command,
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
