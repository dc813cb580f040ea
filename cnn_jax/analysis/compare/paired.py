"""Two networks' answers to the same questions: a test, and an interval of the difference."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

# Of a normal distribution: 95% lie within so many standard deviations.
_Z = 1.959963984540054


class Paired(NamedTuple):
    """How the answers of two networks differ.

    Attributes:
        examples: that both were asked.
        first_only: of these, how many the first alone has right.
        second_only: likewise the second.
        difference: of their accuracies, the second's less the first's, in [-1, 1].
        low: of its 95% interval.
        high: likewise.
        p: of the exact McNemar test that both are as often right.
    """

    examples: int
    first_only: int
    second_only: int
    difference: float
    low: float
    high: float
    p: float


def compare_answers(first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"]) -> Paired:
    """Compares which of the same examples two networks have right.

    Args:
        first: whether the first is right, for each example.
        second: likewise the second.

    Returns:
        The exact McNemar test, and the interval of the difference of two paired proportions with
        one pseudo-example added to each kind of disagreement.

    Raises:
        ValueError: if they are not equally many, or none.

    References:
        McNemar 1947, Psychometrika 12(2); Bonett and Price 2012, Journal of Educational and
        Behavioral Statistics 37(4).
    """
    from scipy.stats import binomtest

    if first.shape != second.shape or not first.size:
        raise ValueError(f"answers of shapes {first.shape} and {second.shape} are no pairs")
    count = len(first)
    one, two = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(one, one + two).pvalue) if one + two else 1.0
    share_one, share_two = (one + 1) / (count + 2), (two + 1) / (count + 2)
    middle = share_two - share_one
    half = _Z * math.sqrt((share_one + share_two - middle**2) / (count + 2))
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Paired(count, one, two, (two - one) / count, low, high, p)
