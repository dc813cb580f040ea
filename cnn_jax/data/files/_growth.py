"""What a packed file may become: data sets hardly shrink when they are packed, bombs do."""

from pathlib import Path

from cnn_jax.errors import UsageError

# Pictures hardly shrink, and arrays seldom to less than a hundredth.
_MOST_TIMES = 200
_ALWAYS_FINE = 2 << 30


def most_bytes(packed: int) -> int:
    """Bytes that a file of so many may become when it is unpacked."""
    return max(_ALWAYS_FINE, _MOST_TIMES * packed)


def check_growth(path: Path, unpacked: int) -> None:
    """Refuses a file that states to become far more than it is.

    Raises:
        UsageError: with both numbers.
    """
    packed = path.stat().st_size
    if unpacked > most_bytes(packed):
        raise UsageError(
            f"{path} has {packed:,} bytes and would unpack to {unpacked:,}, which is no data set; "
            "unpack it by hand if it is"
        )
