"""The folder in which a run writes down all it knows."""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import cnn_jax
from cnn_jax import compilation, native, storage
from cnn_jax.errors import UsageError
from cnn_jax.extend import KEPT, ExtensionFile, kept_paths, loaded_files
from cnn_jax.storage import strict_json
from cnn_jax.training import TrainState, checkpoints
from cnn_jax.training.grid import with_nan
from cnn_jax.training.processes import is_first

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
# A network file system may remember for a while that a file was not there.
_VISIBLE_SECONDS = 30
# Elsewhere than on Linux a process has all cores.
_SHARES_CORES = hasattr(os, "sched_getaffinity")

FLAGS_FILE = "flags.txt"
CONFIG_FILE = "config.json"
ENVIRONMENT_FILE = "environment.json"
REPORT_FILE = "report.html"
RESULT_FILE = "result.json"
LIKENESS_FILE = "likeness.npz"
HELD_OUT_FILE = "held_out.npz"
CHECKPOINTS = "checkpoints"
# The checkpoint of the best epoch, beside that of the last.
BEST = "best"
# What a start writes before flags.txt.
_OF_A_BEGINNING = frozenset(
    {CONFIG_FILE, ENVIRONMENT_FILE, KEPT, "data", "data.json", "examples.npz"}
    | {storage.SUMS_FILE, storage.LOCK_FILE}
)
# What an environment says of this start alone, and not of where numbers come from.
_OF_A_START = frozenset({"command", "started", "changed", "platform"})


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
        lines = storage.read(file).decode().splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path} is not the folder of a run: it has no {FLAGS_FILE}") from None
    except UsageError:
        raise
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
    return int(json.loads(storage.read(path / CONFIG_FILE))["epochs"])


def is_begun(path: Path) -> bool:
    """Whether something is in a folder, what a start that came to no end left there apart.

    flags.txt is the last file that a start writes, and the lock the first.
    """
    if not path.is_dir():
        return path.exists()
    names = {file.name for file in path.iterdir() if not storage.is_part(file)}
    return bool(names) and (storage.LOCK_FILE not in names or not names <= _OF_A_BEGINNING)


def other_environment(path: Path) -> dict[str, tuple[str, str]]:
    """What is not as it was where a study was started, and may change its numbers: then and now.

    Raises:
        UsageError: if what it was is not to be read.
    """
    file = path / ENVIRONMENT_FILE
    try:
        before = dict(json.loads(storage.read(file)))
    except FileNotFoundError:
        return {}
    except UsageError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}; put it back from a copy") from error
    now = environment("")
    return {
        name: (str(before[name]), now[name])
        for name in now
        if name not in _OF_A_START and name in before and before[name] != now[name]
    }


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
        stored = dict(json.loads(storage.read(file)))
    except UsageError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}; put it back from a copy") from error
    stored, wanted = _without(stored, apart), _without(json.loads(strict_json(choices)), apart)
    names = stored.keys() & wanted.keys() if only_common else stored.keys() | wanted.keys()
    for name in sorted(names):
        if stored.get(name) != wanted.get(name):
            return name, stored.get(name), wanted.get(name)
    return None


def history_of(checkpoint: checkpoints.Checkpoint) -> tuple[dict[str, float], ...]:
    """The records of all epochs up to a checkpoint.

    Raises:
        UsageError: if they are not those of epochs 1 to its own.
    """
    records = tuple(map(with_nan, checkpoint.said["history"]))
    epochs = [record["epoch"] for record in records]
    if epochs != [*range(1, checkpoint.said["epoch"] + 1)]:
        raise UsageError(
            f"the checkpoint {checkpoint.path} is of epoch {checkpoint.said['epoch']}, but its "
            f"history of epochs {', '.join(map(str, epochs))}; put it back from a copy"
        )
    return records


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
        # Of each file of lines, how many are in it.
        self._lines: dict[str, int] = {}
        self._made = False

    @contextlib.contextmanager
    def locked(self, new: bool) -> Iterator[None]:
        """Makes the folder and keeps other processes from writing to it.

        Args:
            new: whether nothing may be in it.

        Raises:
            UsageError: if another process writes to it, or has, or it cannot be made.
        """
        if not is_first():
            yield
            return
        self._made = not self.path.exists()
        try:
            storage.make_folder(self.path)
        except storage.WriteError as error:
            raise UsageError(f"cannot make --workdir={self.path}: {error.why}") from error
        with storage.locked(self.path):
            if new and is_begun(self.path):
                raise UsageError(f"{self.path} already exists; give a new folder")
            yield

    def create(
        self,
        flags_content: str,
        choices: dict[str, Any],
        command: str,
        files: Sequence[ExtensionFile] | None = None,
    ) -> None:
        """Writes what is known before the first step; flags.txt last, which makes it a run.

        Args:
            flags_content: a flagfile that repeats the run.
            choices: what must be the same to go on with it.
            command: that started it.
            files: of functions from outside, to keep; those that were read if None.

        Raises:
            WriteError: if it can't be written.
        """
        if not is_first():
            return
        folder = RunDirectory(self.path / KEPT)
        files = loaded_files() if files is None else files
        paths = kept_paths(self.path, [file.name for file in files])
        for path, file in zip(paths, files, strict=True):
            folder.write(path.name, file.text)
        self.write_json(CONFIG_FILE, choices)
        self.write_json(ENVIRONMENT_FILE, environment(command))
        self.write(FLAGS_FILE, flags_content)

    def undo(self) -> None:
        """Removes what `create` and those before it wrote, where they came to no end."""
        if is_first() and not is_begun(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self._made:
                with contextlib.suppress(storage.WriteError):
                    storage.make_folder(self.path)

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

    def last(self, folder: str = CHECKPOINTS) -> checkpoints.Checkpoint | None:
        """The last checkpoint, or None without one.

        Raises:
            UsageError: if it is not what was written.
        """
        return checkpoints.read_latest(self.path / folder)

    def save(
        self,
        state: TrainState,
        said: Mapping[str, Any],
        folder: str = CHECKPOINTS,
        keep: bool = False,
    ) -> None:
        """Writes a checkpoint, all processes together.

        Args:
            state: of the run.
            said: what is known of it.
            folder: of the checkpoint.
            keep: whether the checkpoints before it are kept.

        Raises:
            WriteError: if it cannot be written; the one before it is kept then.
        """
        checkpoints.save(self.path / folder, state, int(state.epoch), said, keep)

    def set_lines(self, name: str, records: Sequence[Mapping[str, Any]]) -> bool:
        """Makes a file of lines hold these and no others.

        Returns:
            Whether some of them had been lost.
        """
        file, text = self.path / name, _json_lines(records)
        held = file.read_bytes() if file.is_file() else b""
        self._lines[name] = len(records)
        if is_first() and held != text.encode():
            storage.write(file, text)
        return not held.startswith(text.encode())

    def append(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds the last records to a file of lines: those that are not in it yet.

        Args:
            name: of the file.
            records: all of them.

        Raises:
            WriteError: if they cannot be added.
        """
        if is_first():
            storage.append(self.path / name, _json_lines(records[self._lines.get(name, 0) :]))
        self._lines[name] = len(records)

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file."""
        self.write(name, strict_json(content, indent=2) + "\n")

    def write_arrays(
        self, name: str, arrays: Mapping[str, Any], *, compressed: bool = False
    ) -> None:
        """Writes arrays as .npz."""
        self.write(name, storage.npz(arrays, compressed=compressed))

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file, all or nothing, with its checksum; text as UTF-8."""
        if is_first():
            storage.record(self.path / name, content)


def _json_lines(records: Sequence[Mapping[str, Any]]) -> str:
    return "".join(strict_json(record) + "\n" for record in records)


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
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if _SHARES_CORES else os.cpu_count()),
        "compiler options": options or "those of XLA",
        "C++ compiler": native.compiler() or "none",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "64 bits": "yes" if jax.config.read("jax_enable_x64") else "no",
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
    """Of the packages that results may depend on; without those that are not installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def plain(value: Any) -> str:
    """A value as it is written in a flag."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
