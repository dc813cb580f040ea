"""The convolution in C++ (`convolution.cc`), for this machine's CPU and jaxlib.

It is built when it is first asked for, not when the package is installed: a wheel is made
elsewhere, for other instructions and without the headers of the jaxlib that will call it. What was
built is kept beside JAX's compiled programs or the other caches. Without a compiler there is none,
and matrix products or XLA's own convolutions take its place.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from cnn_jax import ops, storage
from cnn_jax.data.cache import default_folder
from cnn_jax.errors import UsageError

__all__ = ["compiler", "load"]

_SOURCE = Path(__file__).with_name("convolution.cc")
_COMPILERS = ("c++", "g++", "clang++")
_OPTIONS = ("-std=gnu++17", "-O3", "-march=native", "-shared", "-fPIC", "-w")
# Many times what it takes.
_MOST_SECONDS = 120
_COMPARED: tuple[ops.Lowering, ...] = ("direct", "lax")


@lru_cache
def compiler() -> str | None:
    """The C++ compiler that builds for this process, by its own words, or None."""
    path = _path()
    if jax.default_backend() != "cpu" or path is None:
        return None
    try:
        return _run(path, "--version").partition("\n")[0]
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None


@lru_cache
def load() -> str | None:
    """Has the convolution ready for programs that are compiled for CPU by this process.

    It takes some seconds where it is to be built, which is once for each jaxlib and compiler.

    Returns:
        The compiler that built it; None where there is none, where it cannot build it, or where
        what it built computes something else than XLA does.
    """
    path, version = _path(), compiler()
    if path is None or version is None:
        return None
    try:
        _load(path, version)
    except (OSError, subprocess.SubprocessError, UnicodeError, jax.errors.JaxRuntimeError):
        return None
    return version


def _path() -> str | None:
    return next(filter(None, map(shutil.which, _compilers())), None)


def _compilers() -> tuple[str, ...]:
    named = os.environ.get("CXX")
    return (named,) if named else _COMPILERS


def _load(path: str, version: str) -> None:
    """Registers the library, the one that is kept or a new one.

    Raises:
        OSError: if it cannot be loaded, or is wrong.
        subprocess.SubprocessError: if it cannot be built.
    """
    known = [_SOURCE.read_text(), jaxlib.__version__, version, *_OPTIONS, _processor()]
    name = hashlib.sha256("\0".join(known).encode()).hexdigest()[:20]
    kept = _kept(f"convolution-{name}.so")
    if kept:
        ops.register_direct(ctypes.CDLL(str(kept)))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = Path(folder) / f"convolution-{name}.so"
        include = f"-I{jax.ffi.include_dir()}"
        _run(path, *_OPTIONS, include, str(_SOURCE), "-o", str(built))
        ops.register_direct(ctypes.CDLL(str(built)))
        if not _is_right():
            ops.unregister_direct()
            raise OSError(f"{version} built what is wrong")
        _keep(built)


def _run(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, check=True, timeout=_MOST_SECONDS, encoding="utf-8"
    ).stdout


def _processor() -> str:
    """What tells this machine's instructions from another's that has the same caches."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _folder() -> Path:
    """Beside the programs that JAX keeps, if it does and on this machine, or the other caches.

    Raises:
        UsageError: if there is no place for caches.
    """
    programs = getattr(jax.config, "jax_compilation_cache_dir", None) or ""
    here = Path(programs) if programs and "://" not in programs else default_folder()
    return here / "native"


def _kept(name: str) -> Path | None:
    try:
        path = _folder() / name
        storage.read(path)
    except (UsageError, OSError):
        return None
    return path


def _keep(built: Path) -> None:
    """A cache that cannot be written, or is written to by another process, is done without."""
    try:
        folder = _folder()
        with storage.locked(folder):
            storage.record(folder / built.name, built.read_bytes())
    except (UsageError, OSError):
        return


def _is_right() -> bool:
    """Whether both functions do what XLA does, at borders, with strides and all widths of lanes."""
    rng = np.random.default_rng(0)
    for size, channels, filters, stride in ((9, 3, 8, 1), (10, 16, 16, 2), (7, 72, 56, 1)):
        images = jnp.asarray(rng.normal(size=(5, size, size, channels)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(3, 3, channels, filters)), jnp.float32)
        results = []
        for lowering in _COMPARED:
            convolve = partial(ops.conv2d, strides=stride, lowering=lowering)
            maps, gradients = jax.vjp(convolve, images, kernel)
            results.append((maps, *gradients(maps)))
        if not all(np.allclose(a, b, 1e-3, 1e-3) for a, b in zip(*results, strict=True)):
            return False
    return True
