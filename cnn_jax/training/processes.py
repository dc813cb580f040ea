"""Several processes that run the same program: what they tell each other, and who writes.

Each function that asks others is a meeting: every process has to come, in the same order. Alone, a
process has its own answer at once.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from cnn_jax.errors import UsageError

Result = TypeVar("Result")

LOST = 1
_LAST_WORDS_SECONDS = 3.0
# In the messages of collective operations whose other side is gone.
_LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED")
_shells: list[subprocess.Popen] = []


class ProcessLostError(Exception):
    """A process that takes part is gone, and the others cannot go on without it."""


def loss(error: jax.errors.JaxRuntimeError) -> ProcessLostError | None:
    """What an error of JAX means if it came from losing another process, else None."""
    if not jax.distributed.is_initialized() or not any(word in str(error) for word in _LOSS):
        return None
    return ProcessLostError(f"lost another process ({str(error).splitlines()[0]})")


def is_first() -> bool:
    """Whether this is the process that writes files and speaks to the user."""
    return jax.process_index() == 0


def gather_texts(text: str) -> list[str]:
    """What each process has to say, in the order of the processes."""
    if not jax.distributed.is_initialized():
        return [text]
    said = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(said)))
    row = np.zeros(max(1, sizes.max()), np.uint8)
    row[: len(said)] = said
    rows = multihost_utils.process_allgather(row)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def together(action: Callable[[], Result]) -> Result:
    """Runs an action on every process; where one cannot do it, none goes on.

    Raises:
        UsageError: of this process, or that of the first one that cannot.
    """
    problem: UsageError | None = None
    try:
        result = action()
    except UsageError as error:
        if not jax.distributed.is_initialized():
            raise
        problem = error
    problems = gather_texts(str(problem or ""))
    if problem is not None:
        raise problem
    for process, text in enumerate(problems):
        if text:
            raise UsageError(f"process {process}: {text}")
    return result


def check_same(facts: dict[str, str]) -> None:
    """Refuses to go on where processes differ in any of these facts.

    Raises:
        UsageError: on every process, naming the first difference.
    """
    first, *others = map(json.loads, gather_texts(json.dumps(facts)))
    for process, theirs in enumerate(others, start=1):
        for name in sorted(first.keys() | theirs.keys()):
            if first.get(name) != theirs.get(name):
                raise UsageError(
                    f"{name} is {first.get(name, 'missing')} in process 0 and "
                    f"{theirs.get(name, 'missing')} in process {process}; start all processes with "
                    "the same flags, code and data"
                )


def any_process(flag: bool) -> bool:
    """Whether it is so on any process."""
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def from_first(number: int) -> int:
    """The number that the first process has, below 2^31."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def least(number: int) -> int:
    """The smallest that any process has, below 2^31."""
    return int(multihost_utils.process_allgather(np.int32(number)).min())


def fetch(arrays: PyTree) -> PyTree:
    """The values, on the host, of arrays that lie on the devices of all processes.

    What is NumPy's is there already, and the same on all.
    """
    if jax.process_count() == 1:
        return jax.device_get(arrays)

    def gather(array: jax.Array | np.ndarray) -> np.ndarray:
        if isinstance(array, jax.Array):
            return np.asarray(multihost_utils.process_allgather(array, tiled=True))
        return array

    return jax.tree.map(gather, arrays)


def say_if_ended(line: str) -> None:
    """Has a shell say a last line for this process, if it is ended where it cannot say one itself.

    That is by a signal, and by JAX, which aborts from C++ where the coordination service finds that
    another process is gone.
    """
    shell = subprocess.Popen(
        ["sh", "-c", 'read -r word || echo "error: $0" >&2', line],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    # absl's handler would print the stacks of all threads, which say nothing of the reason.
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    _shells.append(shell)
    atexit.register(_dismiss_shells)


def _dismiss_shells() -> None:
    while _shells:
        _shells.pop().communicate(b"ended\n")


def leave(status: int) -> NoReturn:
    """Ends one of several processes that cannot go on; waits for the others for seconds at most.

    At Python's own exit JAX would wait for them for minutes. The first process is the one through
    which the others meet: where one was lost it goes last, so that they can still say why they end.
    """
    if status == LOST:
        time.sleep(_LAST_WORDS_SECONDS if is_first() else 0)
    else:
        meeting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        meeting.start()
        meeting.join(_LAST_WORDS_SECONDS)
    _dismiss_shells()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
