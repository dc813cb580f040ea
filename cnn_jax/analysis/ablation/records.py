"""The record of an ablation sweep, and of each of its trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

FINISHED = "finished"
DIVERGED = "diverged"
PRUNED = "pruned"
NOT_READ = "–"
# The axis whose values are blocks: accuracies on different data sets are not compared.
DATASET = "dataset"
# What may differ from seed to seed, in words.
SOURCES = {
    "init": "initializations",
    "order": "draws in training (order, dropout, augmentation)",
    "split": "training examples",
    "test": "test images",
}


class TrialRecord(Protocol):
    """What a table reads of one training of a sweep, as `cnn_jax.training.grid.Trial` has it."""

    @property
    def variant(self) -> int:
        """Index into SweepRecord.variants."""

    @property
    def tuned(self) -> Mapping[str, float]:
        """Value per tuned hyperparameter that the variant reads; empty if none is tuned."""

    @property
    def seed(self) -> int:
        """Draws the initialization and the order of the data."""

    @property
    def history(self) -> Sequence[Mapping[str, float]]:
        """One mapping per epoch, up to that at which it ended.

        Epoch, learning_rate, train_loss, train_accuracy and, with a validation split,
        validation_loss and validation_accuracy; accuracies in [0, 1].
        """

    @property
    def status(self) -> str:
        """One of "finished", "diverged" (its loss was not finite) and "pruned"."""

    @property
    def chosen(self) -> bool:
        """Whether its tuned values are those of its variant; always, if none is tuned."""

    @property
    def test_accuracy(self) -> float | None:
        """In [0, 1]; None unless chosen and finished."""

    @property
    def test_loss(self) -> float | None:
        """Mean over the test examples; None unless chosen and finished."""

    @property
    def calibration_error(self) -> float | None:
        """How far its confidence in them is from its accuracy, in [0, 1]; likewise."""

    @property
    def right(self) -> str | None:
        """Which test examples it has right, packed by `cnn_jax.analysis.answers`; likewise."""


@dataclass(frozen=True, eq=False)
class SweepRecord:
    """All that the report of a sweep says, as builtins.

    Attributes:
        dataset: name of the data set.
        model: name of the model.
        axes: values per compared axis, as written and in their order.
        variants: per variant its value on each axis; "–" where the axis is not read.
        tuned: candidate values per tuned hyperparameter; where the candidates differ between
            variants, all of them. Empty if nothing is tuned.
        seeds: of every variant.
        baseline: index of the variant that the others are compared with; None without one.
        trials: all of them, in any order.
        seconds: wall time of the training, per variant.
        test_examples: size of the test split.
        validation_examples: size of the validation split; 0 without one.
        programs: how many programs were compiled.
        total_seconds: wall time of the sweep.
        parameters: how many the model has, per variant.
        flags: the command that repeats the sweep, ready to be copied.
        environment: names and versions of what it ran on.
        chance: test accuracy of always answering the most frequent class; 0 if unknown.
        initialization: how kernels began that an activation follows, as `--init` names it.
        equivalent_within: differences of accuracies smaller than this do not matter.
        all_pairs: whether every row is compared with every other too, not only with the baseline.
        commands: per variant the command that trains it alone, with one of its seeds; or none.
        sources: what differs from seed to seed, of `SOURCES`.
        budget: by source the test accuracies of trials of the baseline that differ from the first
            seed in it alone; or none.
        test_images: bytes `n h w c` of the only test split; None: nothing is shown of them.
        test_truth: the class of each, as text; likewise.
        looks: after how many seeds rows were looked at, and got more where they were undecided;
            none if their number was set before.
        replicated: whether they got more until halves of their seeds said the same, too.
        searched: tuned hyperparameters whose values were not given but searched for.
        tune_seeds: that values were chosen on, if they were others than those reported.
        detect: the difference that the sweep is a pilot for, as a fraction; or None.

    Raises:
        ValueError: the attributes disagree with each other.
    """

    dataset: str
    model: str
    axes: Mapping[str, Sequence[str]]
    variants: Sequence[Mapping[str, str]]
    tuned: Mapping[str, Sequence[float]]
    seeds: Sequence[int]
    baseline: int | None
    trials: Sequence[TrialRecord]
    seconds: Sequence[float]
    test_examples: int
    validation_examples: int
    programs: int
    total_seconds: float
    parameters: Sequence[int]
    flags: str
    environment: Mapping[str, str]
    chance: float = 0.0
    initialization: str = "lecun"
    all_pairs: bool = False
    equivalent_within: float = 0.002
    commands: Sequence[str] = ()
    sources: Sequence[str] = ("init", "order")
    budget: Mapping[str, Sequence[float]] = field(default_factory=dict)
    test_images: UInt8[np.ndarray, "n h w c"] | None = None
    test_truth: Sequence[str] | None = None
    looks: Sequence[int] = ()
    replicated: bool = False
    searched: Sequence[str] = ()
    tune_seeds: Sequence[int] = ()
    detect: float | None = None

    def __post_init__(self) -> None:
        count = len(self.variants)
        if not count or not len(self.seconds) == len(self.parameters) == count:
            raise ValueError(
                "variants, seconds and parameters must be equally many and at least one, "
                f"got {count}, {len(self.seconds)} and {len(self.parameters)}"
            )
        if any(set(variant) != set(self.axes) for variant in self.variants):
            raise ValueError(f"every variant must have a value for each of {list(self.axes)}")
        used = [trial.variant for trial in self.trials]
        used += [] if self.baseline is None else [self.baseline]
        if not all(0 <= index < count for index in used):
            raise ValueError(f"trials and baseline must name one of {count} variants")
        chosen = [(trial.variant, trial.seed) for trial in self.trials if trial.chosen]
        if len(chosen) != len(set(chosen)):
            raise ValueError("a variant must have at most one chosen trial per seed")


def label(record: SweepRecord, variant: int) -> str:
    """The values of a variant on the compared axes that it reads, in one line."""
    values = [record.variants[variant][axis] for axis in record.axes]
    return " · ".join(value for value in values if value != NOT_READ) or NOT_READ


def shown_trials(record: SweepRecord, variant: int) -> list[TrialRecord]:
    """The chosen trials of a variant by seed; all its trials where none could be chosen."""
    trials = [trial for trial in record.trials if trial.variant == variant]
    chosen = [trial for trial in trials if trial.chosen]
    return sorted(chosen or trials, key=lambda trial: trial.seed)


def place_of(record: SweepRecord, trial: TrialRecord) -> tuple[int, tuple[float, ...], int]:
    """Where a trial stands among the others; a hyperparameter that is not read counts as lowest."""
    return trial.variant, tuple(trial.tuned.get(n, -math.inf) for n in record.tuned), trial.seed
