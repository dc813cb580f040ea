"""What a data set is: arrays in two splits, their statistics, and parts of them by class.

In a part every class has its share. Where images have several labels, each combination of labels
that occurs counts as a class here, so that every label has its share too, and so has whatever goes
together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from cnn_jax.data.account import Account
from cnn_jax.errors import UsageError


class PixelRule(NamedTuple):
    """How values of a set's pictures that are no bytes become bytes, and how pictures are fitted.

    Attributes:
        bits: that the largest value of gray 16-bit pictures takes, 8 to 16; the upper 8 are kept.
        low: the float that becomes 0; None where the set holds no floats.
        high: the float that becomes 255, likewise.
        resize: "crop", "pad" or "stretch" (see `resize`).
        shortest: side in pixels of the pictures that were so resized; None where none was.
        longest: likewise.
    """

    bits: int = 16
    low: float | None = None
    high: float | None = None
    resize: str = "crop"
    shortest: int | None = None
    longest: int | None = None

    def resized(self, sizes: Iterable[Sequence[int]], side: int | None) -> "PixelRule":
        """The rule of a set whose pictures, of these heights and widths, become squares of a side.

        Args:
            sizes: of the pictures.
            side: of the squares; None: they stay as they are.
        """
        sides = [each for size in sizes if side and tuple(size) != (side, side) for each in size]
        return self._replace(shortest=min(sides, default=None), longest=max(sides, default=None))

    def is_of(self, height: int, width: int) -> bool:
        """Whether a picture is no smaller and no larger than those that were resized."""
        if self.shortest is None or self.longest is None:
            return False
        return self.shortest <= min(height, width) and max(height, width) <= self.longest


AS_THEY_ARE = PixelRule()

# What of the training examples is the test split where a set has none of its own, by which draw.
_TEST_FRACTION, _TEST_SEED = 0.2, 0


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels.

    Attributes:
        images: UInt8 `n h w c`, 0 to 255; `c` is 1 (gray) or 3 (RGB).
        labels: Int32 `n`, the index of the class; or, where an image has several labels, UInt8
            `n l`, multi-hot: 1 where the label is there, 0 where it is not.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | Bool[np.ndarray, "n"]) -> "Split":
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split, a test split and what their labels mean.

    Attributes:
        name: what the data set is called in reports.
        train: the examples to learn (and hold out) from; none in a set that is only for testing.
        test: the examples to read once, at the end.
        class_names: the name of class (or label) `i` at position `i`.
        validation: the examples to choose hyperparameters on, where the data come with some; None
            where they are to be held out from `train`.
        notes: what a reader should know of how it was read, a line each.
        rule: how pictures of other kinds become images like these, for those who read more.
        unread: why files that it would have could not be read, by their path.
        account: what became of every file of its folder, if it is read from one.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    rule: PixelRule = AS_THEY_ARE
    unread: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by their names."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in every.items() if split is not None}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """How many classes (or labels) there are, whether or not each has examples."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of the labels, rather than one class."""
        return self.train.labels.ndim == 2


def check_dataset(dataset: Dataset) -> Dataset:
    """Returns `dataset` as it is, once it is known to be fit to train on.

    Args:
        dataset: what a source read.

    Returns:
        The same data set.

    Raises:
        UsageError: fewer than two classes (or no label), an empty test split, images that are not
            uint8 `n h w c` with 1 or 3 channels, labels that are neither one int32 per image in
            `[0, num_classes)` nor a uint8 row of zeros and ones, or splits whose images have
            different shapes.
    """
    # One class is enough for labels, and to test on.
    alone = dataset.multi_label or (not len(dataset.train) and not dataset.test.labels.any())
    if dataset.num_classes < 2 and not (alone and dataset.num_classes):
        raise UsageError(f"{dataset.name}: found {dataset.num_classes} class, expected two or more")
    if len(dataset.train):
        _check_split(f"{dataset.name}: train", dataset.train, dataset)
    _check_split(f"{dataset.name}: test", dataset.test, dataset)
    if dataset.validation is not None:
        _check_split(f"{dataset.name}: validation", dataset.validation, dataset)
        if dataset.validation.images.shape[1:] != dataset.test.images.shape[1:]:
            raise UsageError(
                f"{dataset.name}: validation images are {dataset.validation.images.shape[1:]} and "
                f"test images {dataset.test.images.shape[1:]} (height, width, channels)"
            )
    train_shape, test_shape = dataset.train.images.shape[1:], dataset.test.images.shape[1:]
    if train_shape != test_shape:
        raise UsageError(
            f"{dataset.name}: training images are {train_shape} and test images {test_shape} "
            "(height, width, channels); choose an image size to make them alike"
        )
    return dataset


def _check_split(where: str, split: Split, dataset: Dataset) -> None:
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        first = images.ndim == 4 and images.shape[1] in (1, 3)
        raise UsageError(
            f"{where} images are {images.dtype} of shape {images.shape}, "
            "expected uint8 of shape (n, height, width, 1 or 3)"
            f"{': images.transpose(0, 2, 3, 1)' if first else ''}"
        )
    kind, shape, row = "int32", images.shape[:1], ""
    if dataset.multi_label:
        kind, shape = "uint8", (len(images), dataset.num_classes)
        row = ", a row of zeros and ones for each image"
    if labels.dtype != kind or labels.shape != shape:
        raise UsageError(
            f"{where} labels are {labels.dtype} of shape {labels.shape}, "
            f"expected {kind} of shape {shape}{row}"
        )
    if not images.size:
        raise UsageError(f"{where} split is empty (images of shape {images.shape})")
    lowest, highest = int(labels.min()), int(labels.max())
    if dataset.multi_label and highest > 1:
        raise UsageError(f"{where} labels run up to {highest}, expected zeros and ones")
    if not dataset.multi_label and (lowest < 0 or highest >= dataset.num_classes):
        raise UsageError(
            f"{where} labels run from {lowest} to {highest}, expected 0 to "
            f"{dataset.num_classes - 1}"
        )


_CHUNK = 1024


def channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[Float32[np.ndarray, "c"], Float32[np.ndarray, "c"]]:
    """Mean and standard deviation of each channel, of pixels scaled to [0, 1].

    Sums of integers are exact and taken over chunks of images, so that the answer does not depend
    on the order of the images and no float copy of them is made.

    Args:
        images: of the training split, so that nothing is learned from others.

    Returns:
        The mean and the (population) standard deviation per channel, both in units of a pixel
        scaled to [0, 1]. A constant channel has standard deviation 1, so that dividing by it is
        safe.

    Raises:
        UsageError: there are no images.
    """
    if not images.size:
        raise UsageError(f"images have shape {images.shape}, expected at least one pixel")
    channels = images.shape[-1]
    total = np.zeros(channels, np.uint64)
    total_squares = np.zeros(channels, np.uint64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        # Over images first: summing long rows is many times faster than summing rows of 3.
        total += chunk.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
        # 255 squared still fits 16 bits.
        squares = np.square(chunk, dtype=np.uint16)
        total_squares += squares.sum(axis=0, dtype=np.uint64).sum(axis=(0, 1))
    count = images.size // channels
    # Python's integers keep E[x^2] - E[x]^2 exact: no cancellation, and constant means exactly 0.
    pairs = zip(total.tolist(), total_squares.tolist(), strict=True)
    variance = np.array([(s * count - t * t) / count**2 for t, s in pairs])
    std = np.where(variance == 0, 255.0, np.sqrt(variance))
    return (total / count / 255).astype(np.float32), (std / 255).astype(np.float32)


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
    if fraction == 0:
        return split, split[:0]
    chosen = held_out(split.labels, fraction, seed)
    return split[~chosen], split[chosen]


def held_out(
    labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"], fraction: float, seed: int
) -> Bool[np.ndarray, "n"]:
    """Marks the examples that `hold_out` puts into the validation part, from labels alone.

    Raises:
        UsageError: as `hold_out`.
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"the held-out fraction is {fraction}, expected 0 <= fraction < 1")
    classes = _classes(labels)
    counts = np.bincount(classes)
    multi_label = labels.ndim == 2
    most = counts if multi_label else np.maximum(counts - 1, 0)
    total = round(len(labels) * fraction)
    if multi_label and total and total == len(labels):
        raise UsageError(f"holding out {total} of {total} examples leaves none to train on")
    if total > most.sum():
        raise UsageError(
            f"holding out {total} of {len(labels)} examples would leave a class with none to train "
            f"on, expected a fraction of at most {most.sum() / max(len(labels), 1):.4g}"
        )
    return _choose(classes, total, most, seed)


def held_out_for_test(
    labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"], what: str = "images"
) -> tuple[Bool[np.ndarray, "n"], str]:
    """Marks the training examples that are the test split of a set that has none of its own.

    Args:
        labels: of all of them.
        what: they are called.

    Returns:
        The marks, always the same, and what is to be said.

    Raises:
        UsageError: as `hold_out`.
    """
    chosen = held_out(labels, _TEST_FRACTION, _TEST_SEED)
    return chosen, (
        f"there is no labeled test split: {100 * _TEST_FRACTION:.0f} % of the training {what} are "
        f"held out as test split ({int(chosen.sum()):,} of {len(chosen):,}, always the same)"
    )


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
    classes = _classes(split.labels)
    return split[_choose(classes, n, np.bincount(classes), seed)]


def _classes(labels: Int32[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]) -> Int[np.ndarray, "n"]:
    """The class of each example; the number of its combination of labels if it has several."""
    if labels.ndim == 1:
        return labels
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)


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
