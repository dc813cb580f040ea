"""What all tests share: one kind of device, a cache of compiled programs between test runs, SIGINT.

All are set for this process, and so for the processes that tests start too.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache" / "xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# A shell starts what is in the background of a script with SIGINT ignored, and so would every
# program be that the tests interrupt: an ignored signal is inherited, a handled one is not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ignores the coroutines that Orbax leaves behind when it cannot read a checkpoint.

    Python reports them whenever it collects them, perhaps in the middle of another test.
    """
    monkeypatch.setattr(sys, "unraisablehook", lambda report: None)
    yield
    gc.collect()
