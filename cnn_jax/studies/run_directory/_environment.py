"""What a run ran on, and what is different there now."""

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import jax

import cnn_jax
from cnn_jax import compilation, native, storage
from cnn_jax.errors import UsageError
from cnn_jax.studies.run_directory._files import ENVIRONMENT_FILE

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
# Elsewhere than on Linux a process has all cores.
_SHARES_CORES = hasattr(os, "sched_getaffinity")
# What an environment says of this start alone, and not of where numbers come from.
_OF_A_START = frozenset({"command", "started", "changed", "platform"})


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


def environment(command: str) -> dict[str, str]:
    """What the run ran on, and the command that started it."""
    devices = jax.devices()
    options = " ".join(f"{name}={value}" for name, value in compilation.compiler_options().items())
    return {
        "cnn_jax": cnn_jax.__version__,
        **_commit(Path(cnn_jax.__file__).parents[1]),
        "python": platform.python_version(),
        **versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if _SHARES_CORES else os.cpu_count()),
        "compiler options": options or "those of XLA",
        "C++ compiler": native.compiler() or "none",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
        + (f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""),
        "command": command,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


@lru_cache
def _commit(root: Path) -> Mapping[str, str]:
    """The commit of the code and whether it was changed since, where git knows the code.

    Asked once: what becomes of the files later is not what this process runs.
    """

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


@lru_cache
def versions() -> Mapping[str, str]:
    """Of the packages that results may depend on; without those that are not installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
