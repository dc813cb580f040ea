"""Which examples a network has right, as text: a bit each, and so 1.25 kB for 10,000."""

import base64

import numpy as np
from jaxtyping import Bool


def pack(right: Bool[np.ndarray, " n"]) -> str:
    """The answers as base64 of their bits."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpack(text: str, count: int) -> Bool[np.ndarray, " n"]:
    """What `pack` was given.

    Args:
        text: of `pack`.
        count: how many answers there are.
    """
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)
