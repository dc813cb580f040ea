"""The same picture twice: in train and in test, or with different labels."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int, UInt8, UInt64

from cnn_jax.data.dataset import Split

# Of pairs of splits, what is in the first should not be in the second.
_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
_RARE = 5


def repeats(
    splits: Mapping[str, Split], where: Callable[[str, int], str] | None = None
) -> tuple[str, ...]:
    """Finds images that are the same, pixel by pixel, by hashes of them.

    Args:
        splits: by their names.
        where: `(split, index) -> ` what a reader knows an example by; None: nothing is named.

    Returns:
        What is to be said: a line for each pair of splits that share images, and one for images
        that have different labels.
    """
    hashes = {name: hash_images(split.images) for name, split in splits.items()}
    notes = []
    for first, second in _PAIRS:
        if first not in hashes or second not in hashes:
            continue
        shared = np.flatnonzero(np.isin(hashes[second], hashes[first]))
        if shared.size:
            example = ""
            if where is not None:
                twin = np.flatnonzero(hashes[first] == hashes[second][shared[0]])[0]
                example = f" ({where(second, int(shared[0]))} is {where(first, int(twin))})"
            notes.append(f"images of {second} that are in {first} too: {shared.size:,}{example}")
    return (*notes, *_contradictions(splits, hashes, where))


def hash_images(images: UInt8[np.ndarray, "n h w c"]) -> UInt64[np.ndarray, " n"]:
    """A number for each image, the same where all its bytes are."""
    whole = np.ascontiguousarray(images)
    digests = b"".join(hashlib.blake2b(image.data, digest_size=8).digest() for image in whole)
    return np.frombuffer(digests, np.uint64)


def _contradictions(
    splits: Mapping[str, Split],
    hashes: Mapping[str, Int[np.ndarray, "n"]],
    where: Callable[[str, int], str] | None,
) -> tuple[str, ...]:
    """A line for images that are there with different labels, if some are."""
    every = np.concatenate(list(hashes.values()))
    labels = np.concatenate([split.labels for split in splits.values()])
    if labels.ndim == 2:
        labels = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    image = np.unique(every, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([image, labels]), axis=1)
    unlike = np.flatnonzero(np.bincount(pairs[0]) > 1)
    if not unlike.size:
        return ()
    example = ""
    if where is not None:
        places = [(name, index) for name, split in splits.items() for index in range(len(split))]
        first, *others = np.flatnonzero(image == unlike[0])
        other = next(index for index in others if labels[index] != labels[first])
        example = f" ({where(*places[first])} and {where(*places[other])})"
    return (f"images that are there again with another label: {unlike.size:,}{example}",)


def imbalance(split: Split, class_names: tuple[str, ...]) -> str | None:
    """What is to be said of uneven classes: the rarest has under a fifth of the commonest.

    Args:
        split: to train on.
        class_names: of its classes.
    """
    if split.labels.ndim == 2 or not len(split):
        return None
    counts = np.bincount(split.labels, minlength=len(class_names))
    rarest, commonest = int(counts.argmin()), int(counts.argmax())
    if counts[rarest] * _RARE >= counts[commonest]:
        return None
    return (
        f"classes are uneven: {class_names[rarest]} has {counts[rarest]:,} training images and "
        f"{class_names[commonest]} {counts[commonest]:,}"
    )
