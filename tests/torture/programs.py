"""The programs, each in a process of its own that starts at once: forked when all is imported."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags

from cnn_jax.analysis import ablation as sweeps
from cnn_jax.analysis import report
from experiments import ablation, evaluate, explain, launch, predict, train
from tests.storage.faults import disk

PROGRAMS = {
    "train": (train.main, False, True),
    "ablation": (ablation.main, False, True),
    "evaluate": (evaluate.main, False, False),
    "explain": (explain.main, True, False),
    "predict": (predict.main, True, False),
}
SECONDS = 600.0


class Outcome(NamedTuple):
    """What the shell sees of a program."""

    code: int
    out: str
    err: str

    def check(self) -> None:
        """That it ended well or in one clear line."""
        said = self.err.splitlines()
        assert "Traceback" not in self.err, self.err
        assert self.code in (0, 2), self
        assert self.code == 0 or len([line for line in said if line.startswith("error: ")]) == 1, (
            self
        )


class Fault(NamedTuple):
    """A disk that fails."""

    at: int
    code: int
    recovers: bool


def run(
    name: str,
    *arguments: object,
    kill_after: float | Path | None = None,
    number: int = signal.SIGKILL,
    fault: Fault | None = None,
) -> Outcome:
    """Runs a program to its end, or until it is sent a signal: after seconds, or with a file."""
    context = _server()
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/out", f"{folder}/err"]
        arguments_ = (name, [*map(str, arguments)], files, fault, os.getcwd(), dict(os.environ))
        process = context.Process(target=_child, args=arguments_)
        process.start()
        if kill_after is not None:
            if isinstance(kill_after, Path):
                wait_for(kill_after)
            else:
                process.join(kill_after)
            if process.is_alive():
                assert process.pid is not None
                # It may end by itself in between.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{name} {' '.join(map(str, arguments))} has not ended")
        out, err = (Path(file).read_text() if Path(file).exists() else "" for file in files)
        assert process.exitcode is not None
        return Outcome(process.exitcode, out, err)


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # Where it starts it finds what it is to import.
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    return context


def _child(
    name: str,
    arguments: Sequence[str],
    files: Sequence[str],
    fault: Fault | None,
    folder: str,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    # What is compiled once is not compiled again.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{environment['CNN_JAX_CACHE']}/programs"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    os.chdir(folder)
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    streams = [io.TextIOWrapper(io.FileIO(descriptor, "w")) for descriptor in (1, 2)]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = streams
    # No test loses its power.
    os.fsync = lambda descriptor: None
    # The tests themselves may have been started where these are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.argv = ["experiment.py", *arguments]
    flags.FLAGS.unparse_flags()
    main, takes_paths, goes_on = PROGRAMS[name]
    # Drawing pages takes longest.
    report.render_report = lambda *what: "page"
    report.look = lambda *what: None
    sweeps.render_ablation_report = lambda *what: "page"
    code = 1
    try:
        if fault is None:
            launch.launch(main, takes_paths, goes_on)
        else:
            with disk(fault.at, fault.code, fault.recovers):
                launch.launch(main, takes_paths, goes_on)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait_for(path: Path, seconds: float = 60.0) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)
