"""The exact test of paired differences that assumes no distribution."""

import functools

import numpy as np
from jaxtyping import Float

from cnn_jax.analysis.statistics._means import SAME

# Differences of so many seeds and fewer have all their signs flipped; of more, that many draws.
_FLIPS = 2**16


def sign_flip_p(differences: Float[np.ndarray, "seeds"]) -> float:
    """Two-sided p of the test that flips the signs of paired differences.

    It assumes only that a difference and its negative are equally likely if there is none. Fisher,
    "The Design of Experiments", 1935, section 21. Exact up to 16 seeds, beyond by 65,536 draws.
    """
    return _sign_flip_p(tuple(differences.tolist()))


@functools.lru_cache(maxsize=1024)
def _sign_flip_p(values: tuple[float, ...]) -> float:
    """The same, once for all tables of a sweep."""
    differences, n = np.array(values), len(values)
    if 2**n <= _FLIPS:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (_FLIPS, n))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) - SAME * n).mean())


def smallest_exact_p(n: int) -> float:
    """The smallest p of `sign_flip_p` with n seeds: of the 2^n ways two are the most extreme."""
    return min(1.0, 2.0 / 2**n)
