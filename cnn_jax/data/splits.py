"""Parts of a split in which every class has its share.

Where images have several labels, each combination of labels that occurs counts as a class here, so
that every label has its share too, and so has whatever goes together.
"""

import numpy as np
from jaxtyping import Bool, Int

from cnn_jax.data.dataset import Split
from cnn_jax.errors import UsageError


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Divides a split at random into a part to train on and a part to validate on.

    The validation part has `round(n * fraction)` examples, of each class its share of them to
    within rounding, but never all of a class (a combination of several labels may go there as a
    whole, for many are rare). Both parts keep the order of `split`. The same seed
    gives the same parts on every platform (PCG64).

    Args:
        split: the examples to divide, usually the training split.
        fraction: share of the validation part, `0 <= fraction < 1`.
        seed: which random division, 0 or more.

    Returns:
        `(train, validation)`. With fraction 0 they are `split` and a split of length zero.

    Raises:
        UsageError: the fraction or the seed is out of range, or the classes are so small that
            training would be left without an example of one (or without any).
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"the held-out fraction is {fraction}, expected 0 <= fraction < 1")
    if fraction == 0:
        return split, _select(split, np.zeros(len(split), bool))
    classes = _classes(split)
    counts = np.bincount(classes)
    multi_label = split.labels.ndim == 2
    most = counts if multi_label else np.maximum(counts - 1, 0)
    total = round(len(split) * fraction)
    if multi_label and total == len(split):
        raise UsageError(f"holding out {total} of {total} examples leaves none to train on")
    if total > most.sum():
        raise UsageError(
            f"holding out {total} of {len(split)} examples would leave a class with none to train "
            f"on, expected a fraction of at most {most.sum() / max(len(split), 1):.4g}"
        )
    chosen = _choose(classes, total, most, seed)
    return _select(split, ~chosen), _select(split, chosen)


def take(split: Split, n: int, seed: int) -> Split:
    """Picks `n` examples at random, of each class its share of them to within rounding.

    Args:
        split: the examples to pick from.
        n: how many, 1 to `len(split)`.
        seed: which random choice, 0 or more.

    Returns:
        The examples, in the order of `split`; `split` itself if `n` is all of them. With fewer
        examples than classes some classes have none.

    Raises:
        UsageError: `n` or the seed is out of range.
    """
    if not 1 <= n <= len(split):
        raise UsageError(f"{n} examples were asked for, expected 1 to {len(split)}")
    if n == len(split):
        return split
    classes = _classes(split)
    return _select(split, _choose(classes, n, np.bincount(classes), seed))


def _classes(split: Split) -> Int[np.ndarray, "n"]:
    """The class of each example; the number of its combination of labels if it has several."""
    if split.labels.ndim == 1:
        return split.labels
    return np.unique(split.labels, axis=0, return_inverse=True)[1].reshape(-1)


def _select(split: Split, chosen: Bool[np.ndarray, "n"]) -> Split:
    return Split(split.images[chosen], split.labels[chosen])


def _choose(
    labels: Int[np.ndarray, "n"], total: int, most: Int[np.ndarray, "k"], seed: int
) -> Bool[np.ndarray, "n"]:
    """Marks `total` examples, at most `most[i]` of class `i`."""
    if seed < 0:
        raise UsageError(f"the seed is {seed}, expected 0 or more")
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = np.bincount(labels)
    share = _apportion(counts, total, most, rng)
    by_class = np.lexsort((rng.random(len(labels)), labels))
    first_of_class = np.cumsum(counts) - counts
    rank = np.arange(len(labels)) - first_of_class[labels[by_class]]
    chosen = np.zeros(len(labels), bool)
    chosen[by_class] = rank < share[labels[by_class]]
    return chosen


def _apportion(
    counts: Int[np.ndarray, "k"], total: int, most: Int[np.ndarray, "k"], rng: np.random.Generator
) -> Int[np.ndarray, "k"]:
    """Shares `total` out in proportion to `counts`, at most `most` each (Hamilton's method).

    Everybody gets the whole part of its quota; what is left goes to the largest remainders, and
    among equal ones to random classes, so that low class numbers are not favored.
    """
    quota = counts * total / counts.sum()
    share = np.minimum(np.floor(quota).astype(np.int64), most)
    tie_break = rng.random(len(counts))
    while (left := total - share.sum()) > 0:
        open_classes = np.flatnonzero(share < most)
        need = (quota - share)[open_classes]
        neediest = np.lexsort((tie_break[open_classes], -need))[:left]
        share[open_classes[neediest]] += 1
    return share
