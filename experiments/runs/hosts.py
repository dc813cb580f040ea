"""One run on several hosts: how its processes meet, stop together, and end when one is lost."""

import hashlib
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import NoReturn

import jax
from absl import flags
from rich.console import Console

import cnn_jax
from cnn_jax.errors import UsageError
from cnn_jax.extend import loaded_files
from cnn_jax.studies.data_record import DataRecord
from cnn_jax.studies.run_directory import plain, versions
from cnn_jax.training import processes

from .. import output
from ..command_line import GROUPS

FLAGS = flags.FLAGS

flags.DEFINE_bool(
    "distributed",
    False,
    "Run as one of several processes, each started with the same command, that share all their "
    "devices. On Cloud TPU, Slurm, Kubernetes and Open MPI they find each other; elsewhere give "
    "--coordinator_address, --num_processes and --process_id. Needs --workdir, in a folder that "
    "all hosts see.",
)
flags.DEFINE_string(
    "coordinator_address",
    None,
    "With --distributed: host and port at which process 0 is met, as in 10.0.0.1:1234. Nobody is "
    "asked who they are: give one in a network whose every member may end the run.",
)
flags.DEFINE_string(
    "coordinator_bind_address",
    None,
    "With --distributed: host and port at which process 0 listens, where that is not "
    "--coordinator_address: behind a service or a router, as in 0.0.0.0:1234.",
)
flags.DEFINE_integer(
    "num_processes", None, "With --distributed: how many processes there are.", lower_bound=1
)
flags.DEFINE_integer(
    "process_id", None, "With --distributed: which of them this is, from 0.", lower_bound=0
)
flags.DEFINE_integer(
    "coordinator_timeout",
    60,
    "With --distributed: seconds to wait at the start until all processes are there.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "heartbeat_timeout",
    30,
    "With --distributed: seconds without a sign of life after which a process counts as lost.",
    lower_bound=2,
)
# Each host may have its own.
_OWN = frozenset({"process_id", "data_dir", "coordinator_bind_address"})
_signals: list[int] = []


def join(console: Console) -> None:
    """Meets the other processes, if --distributed says there are any: before JAX has been used.

    From then on only the first one's console speaks, and a signal stops all of them after the
    epoch that runs.

    Raises:
        UsageError: if they cannot meet, or were started with different flags or code.
    """
    if not FLAGS.distributed:
        for name in GROUPS["hosts"]:
            # --nodistributed says what holds anyway.
            if FLAGS[name].present and name != "distributed":
                raise UsageError(f"--{name} has no effect without --distributed")
        return
    if FLAGS.workdir is None:
        raise UsageError(
            "--distributed needs --workdir, the same for all processes and in a folder that all "
            "hosts see"
        )
    _connect()
    processes.say_if_ended(
        f"process {jax.process_index()} was ended: it lost another process, if JAX says so above, "
        f"or was killed; go on with: {quote(f'--workdir={FLAGS.workdir}')} --resume"
    )
    _keep_standard_output()
    console.quiet = not processes.is_first()
    processes.check_same({**_flags(), **_code(), **_extensions()})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)


def check_data(records: Iterable[DataRecord]) -> None:
    """Refuses to train where hosts hold different data.

    Raises:
        UsageError: naming the data set.
    """
    if FLAGS.distributed:
        # Where seeds split the data, several have the same name.
        sums = {
            f"the data set {record.name}" + number * "'": record.fingerprint[:8]
            for number, record in enumerate(records)
        }
        processes.check_same(sums)


def must_stop() -> bool:
    """Whether to stop after this epoch, because any process has been told to by a signal."""
    return FLAGS.distributed and processes.any_process(bool(_signals))


def _connect() -> None:
    patience, bind = FLAGS.coordinator_timeout, _bind_address()
    # JAX's own time-out would abort the process with the stack of its C++ code.
    watch = threading.Timer(patience, _give_up)
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(
            FLAGS.coordinator_address,
            FLAGS.num_processes,
            FLAGS.process_id,
            initialization_timeout=patience + 60,
            heartbeat_timeout_seconds=FLAGS.heartbeat_timeout,
            coordinator_bind_address=bind,
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            "--distributed cannot start: " + str(error).splitlines()[0] + " On Cloud TPU, Slurm, "
            "Kubernetes and Open MPI processes find each other; elsewhere give "
            "--coordinator_address, --num_processes and --process_id"
        ) from error
    finally:
        watch.cancel()


def _bind_address() -> str | None:
    """Where process 0 listens; JAX by itself would listen on every network of the host.

    Raises:
        UsageError: if that is no address of this host.
    """
    address = FLAGS.coordinator_bind_address or FLAGS.coordinator_address
    if address is None or FLAGS.process_id != 0:
        return None
    host, _, port = address.rpartition(":")
    try:
        place = (host.strip("[]"), int(port))
        family = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"process 0 cannot listen at {address} ({error}); give --coordinator_address=HOST:PORT "
            "with a free port of its own host, or say where it listens instead: "
            f"--coordinator_bind_address=0.0.0.0:{port if port.isdecimal() else 1234}"
        ) from error
    return address


def _give_up() -> NoReturn:
    place = FLAGS.coordinator_address or "found by JAX"
    why = f"not all {FLAGS.num_processes or ''} processes came".replace("  ", " ")
    if FLAGS.coordinator_address and FLAGS.process_id:
        host, _, port = FLAGS.coordinator_address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except (OSError, ValueError) as error:
            why = f"it cannot be reached ({error})"
    print(
        f"error: waited {FLAGS.coordinator_timeout} s (--coordinator_timeout) at the coordinator "
        f"{place}: {why}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def _keep_standard_output() -> None:
    """Leaves the standard output to this program: Gloo writes to it what nobody asked for."""
    sys.stdout.flush()
    sys.stdout = output.opened(os.dup(1))
    output.silence(1)


def _note(number: int, frame: FrameType | None) -> None:
    """The first signal stops all processes after the epoch; another one this process, at once."""
    if _signals:
        raise KeyboardInterrupt
    _signals.append(number)


def _flags() -> dict[str, str]:
    modules = FLAGS.flags_by_module_dict().items()
    return {
        f"--{flag.name}": "not given" if flag.value is None else plain(flag.value)
        for module, defined in modules
        for flag in defined
        if not module.startswith("absl.") and flag.name not in _OWN
    }


def _code() -> dict[str, str]:
    # Installed, the second folder lies in the first.
    package, programs = Path(cnn_jax.__file__).parent, Path(__file__).parents[1]
    roots = dict.fromkeys(package.rglob("*.py"), package)
    roots |= dict.fromkeys(programs.rglob("*.py"), programs)
    files = {
        file.relative_to(root.parent).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        for file, root in roots.items()
    }
    return {"python": platform.python_version(), **versions(), **files}


def _extensions() -> dict[str, str]:
    return {f"the file {file.name}": file.sha256[:8] for file in loaded_files()}
