"""The programs as a user runs them, but inside this process, where they start at once."""

import contextlib
import functools
import io
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags, logging

from experiments import ablation, launch, train


class Outcome(NamedTuple):
    """What the shell sees of a program."""

    code: int
    out: str
    err: str


def run_program(
    main: Callable[..., None], *arguments: object, takes_paths: bool = False
) -> Outcome:
    """Runs an experiment with arguments, as `python -m` would."""
    out, err = io.StringIO(), io.StringIO()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    flags.FLAGS.unparse_flags()
    known = set(flags.FLAGS)
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setattr(sys, "argv", ["experiment.py", *map(str, arguments)])
        patch.setattr(logging.get_absl_handler().python_handler, "stream", err)
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for number, handler in before.items():
            stack.callback(signal.signal, number, handler)
        stack.callback(flags.FLAGS.mark_as_parsed)
        with pytest.raises(SystemExit) as exit_:
            launch.start(main, takes_paths)
    # Numbers of files of functions are flags of the program that read these, not of the next one.
    for name in set(flags.FLAGS) - known:
        delattr(flags.FLAGS, name)
    return Outcome(exit_.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def program() -> Callable[..., Outcome]:
    """Runs the training program with a list of arguments, to its exit."""
    return functools.partial(run_program, train.main)


@pytest.fixture(scope="session")
def sweep() -> Callable[..., Outcome]:
    """Runs the ablation program with a list of arguments, to its exit."""
    return functools.partial(run_program, ablation.main)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a cache of data sets of its own."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes bytes in the format of MNIST's files."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IDX files of 8x8 images in four classes: 80 to train on and 40 to test."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for prefix, n in (("train", 80), ("t10k", 40)):
        labels = np.arange(n) % 4
        images = rng.integers(0, 160, (n, 2, 4, 2, 4))
        images[np.arange(n), labels // 2, :, labels % 2] += 80
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images.reshape(n, 8, 8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return folder


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For the programs that do get a process of their own."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}
