"""How much memory this machine has, and the refusal of what cannot fit into it."""

import math
import os
import resource
from pathlib import Path

from cnn_jax.errors import FieldError, UsageError

# With half a gigabyte less XLA aborts on two cores, or never ends.
_FEWEST_ADDRESSES = 3 << 30
# Where Linux says what the processes of a container may have together.
_CONTAINER = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def machine_bytes() -> int:
    """Bytes that a process may have here: of the machine, its container, and its own limit."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CONTAINER:
        try:
            found.append(int(file.read_text()))
        # There is no such limit, or it is "max".
        except (OSError, ValueError):
            continue
    own = _address_limit()
    return min(found if own is None else [*found, own])


def _address_limit() -> int | None:
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if own == resource.RLIM_INFINITY else own


def check_addresses() -> None:
    """Refuses a limit of addresses under which XLA would abort the process.

    Raises:
        UsageError: with the limit.
    """
    own = _address_limit()
    if own is not None and own < _FEWEST_ADDRESSES:
        raise UsageError(
            f"this process may have {size(own)} of addresses (ulimit -v), and the compiler needs "
            f"{size(_FEWEST_ADDRESSES)}; raise that limit"
        )


def check_fits(what: str, count: float, instead: str, limit: int | None = None) -> None:
    """Refuses what needs more memory than there is, before anything is made.

    Args:
        what: needs it, in words; may name fields.
        count: bytes that it needs at least.
        instead: what would be right, likewise.
        limit: bytes that there are; those of the machine if None.

    Raises:
        FieldError: with both numbers.
    """
    there = machine_bytes() if limit is None else limit
    if count > there:
        raise FieldError(f"{what} would need {size(count)}, and there are {size(there)}; {instead}")


def size(count: float) -> str:
    """Bytes as a reader says them."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(count, 1024)) if count >= 1 else 0, len(units) - 1)
    return f"{count / 1024**power:,.{1 if power else 0}f} {units[power]}"
