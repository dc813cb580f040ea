"""What all tests share: one kind of device, a cache of compiled programs between test runs, SIGINT.

All are set for this process, and so for the processes that tests start too.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Results are compared to the last bits, which accelerators round away unless they are told.
if os.environ["JAX_PLATFORMS"] != "cpu":
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache" / "xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# A shell starts what is in the background of a script with SIGINT ignored, and so would every
# program be that the tests interrupt: an ignored signal is inherited, a handled one is not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test loses its power, and disks are slow to say that they would survive it.
os.fsync = lambda descriptor: None


@pytest.fixture
def no_extensions() -> Iterator[None]:
    """Registries that are afterwards as they were."""
    from cnn_jax.extend import EXTENSIONS, forget, loaded_files

    yield
    forget(loaded_files())
    for extension in list(EXTENSIONS.values()):
        extension.remove()
