"""A process of its own that compiles, says when it is ready, and then answers line after line.

Lines are JSON. Importing this needs nothing but Python, as a process that has PyTorch may not have
JAX, and the other way around.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class EndedError(Exception):
    """A process ended before it answered."""


class Worker:
    """The side of the process that asks.

    Args:
        title: what an error calls it.
        python: the interpreter.
        module: of `benchmarks.accelerator`, which serves.
        *arguments: of the module.
    """

    def __init__(self, title: str, python: str, module: str, *arguments: str):
        self.title = title
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.accelerator.{module}", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._found: Any = None

    def ready(self) -> Any:
        """Waits until all is compiled; what the process says of it."""
        self._found = self._found or self._answer()
        return self._found

    def ask(self, *question: Any) -> Any:
        """What the process answers; it works until then."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EndedError(f"{self.title} ended without an answer; what it printed is above")
        return json.loads(line)


def serve(prepare: Callable[[], tuple[Any, Callable[..., Any]]]) -> None:
    """The other side.

    Args:
        prepare: gives what is said once, and what answers each question. What it prints goes to
            standard error.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    found, answer = prepare()
    print(json.dumps(found), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), file=answers, flush=True)


def close(workers: Sequence[Worker]) -> None:
    """Ends them all."""
    for worker in workers:
        worker.close()
