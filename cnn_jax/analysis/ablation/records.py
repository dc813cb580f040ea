"""The record of an ablation sweep, what its trials say per variant, and both as CSV text."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cnn_jax.analysis.statistics import Comparison, SeedMean, compare_to_baseline, mean_over_seeds

FINISHED = "finished"
DIVERGED = "diverged"
PRUNED = "pruned"
NOT_READ = "–"


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


class VariantSummary(NamedTuple):
    """What the chosen trials of one variant say.

    Attributes:
        variant: its index in the record.
        label: its values on the compared axes, in one line.
        tuned: the chosen values; empty if nothing is tuned, or nothing could be chosen.
        accuracies: test accuracy by seed, of the finished trials.
        mean: of them; None where no trial finished.
        trials: how many trials were chosen; without a choice, all that the variant has.
        diverged: how many of those diverged.
        comparison: with the baseline; None at the baseline itself, and without one.
    """

    variant: int
    label: str
    tuned: Mapping[str, float]
    accuracies: Mapping[int, float]
    mean: SeedMean | None
    trials: int
    diverged: int
    comparison: Comparison | None


def label(record: SweepRecord, variant: int) -> str:
    """The values of a variant on the compared axes that it reads, in one line."""
    values = [record.variants[variant][axis] for axis in record.axes]
    return " · ".join(value for value in values if value != NOT_READ) or NOT_READ


def shown_trials(record: SweepRecord, variant: int) -> list[TrialRecord]:
    """The chosen trials of a variant by seed; all its trials where none could be chosen."""
    trials = [trial for trial in record.trials if trial.variant == variant]
    chosen = [trial for trial in trials if trial.chosen]
    return sorted(chosen or trials, key=lambda trial: trial.seed)


def mean_text(mean: SeedMean) -> str:
    """A mean accuracy in percent, with half of its 95% interval where it has one."""
    text = f"{100 * mean.mean:.2f}"
    return text if mean.low is None else f"{text} ± {100 * (mean.mean - mean.low):.2f}"


def summarize(record: SweepRecord) -> list[VariantSummary]:
    """One summary per variant, the highest mean test accuracy first, those without one last."""
    shown = [shown_trials(record, variant) for variant in range(len(record.variants))]
    accuracies = [
        {
            trial.seed: trial.test_accuracy
            for trial in trials
            if trial.status == FINISHED and trial.chosen and trial.test_accuracy is not None
        }
        for trials in shown
    ]
    comparisons: list[Comparison | None] = [None] * len(shown)
    if record.baseline is not None:
        comparisons = compare_to_baseline(accuracies, record.baseline)
    summaries = [
        VariantSummary(
            variant,
            label(record, variant),
            dict(trials[0].tuned) if trials and trials[0].chosen else {},
            accuracies[variant],
            mean_over_seeds(list(accuracies[variant].values())) if accuracies[variant] else None,
            len(trials),
            sum(trial.status == DIVERGED for trial in trials),
            comparisons[variant],
        )
        for variant, trials in enumerate(shown)
    ]
    return sorted(summaries, key=lambda summary: -summary.mean.mean if summary.mean else math.inf)


class Candidate(NamedTuple):
    """The trials of one variant at one choice of the tuned values.

    Attributes:
        tuned: the values.
        chosen: whether they were chosen.
        trials: one per seed.
        finished: last validation accuracies of the finished trials.
    """

    tuned: Mapping[str, float]
    chosen: bool
    trials: Sequence[TrialRecord]
    finished: Sequence[float]

    def number(self, status: str) -> int:
        """How many of the trials have this status."""
        return sum(trial.status == status for trial in self.trials)


def summarize_tuning(record: SweepRecord, variant: int) -> list[Candidate]:
    """The tuned values that a variant was trained with, in rising order."""
    groups: dict[tuple[float, ...], list[TrialRecord]] = {}
    for trial in sorted(record.trials, key=lambda trial: _place(record, trial)):
        if trial.variant == variant:
            groups.setdefault(_place(record, trial)[1], []).append(trial)
    return [
        Candidate(
            trials[0].tuned,
            any(trial.chosen for trial in trials),
            trials,
            [
                row["validation_accuracy"]
                for trial in trials
                for row in trial.history[-1:]
                if trial.status == FINISHED and "validation_accuracy" in row
            ],
        )
        for trials in groups.values()
    ]


def _place(record: SweepRecord, trial: TrialRecord) -> tuple[int, tuple[float, ...], int]:
    """Where a trial stands among the others; a hyperparameter that is not read counts as lowest."""
    return trial.variant, tuple(trial.tuned.get(n, -math.inf) for n in record.tuned), trial.seed


_EPOCH_COLUMNS = (
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
)
_RESULT_COLUMNS = (
    "seed",
    "epoch",
    *_EPOCH_COLUMNS,
    "status",
    "chosen",
    "test_accuracy",
    "test_loss",
)


_OF_MEAN = {"mean_test_accuracy": "mean", "low": "low", "high": "high", "std": "std"}
_OF_COMPARISON = {
    "difference": "difference",
    "difference_low": "low",
    "difference_high": "high",
    "p": "p",
    "p_holm": "p_holm",
}
_SUMMARY_COLUMNS = ("n", "diverged", *_OF_MEAN, *_OF_COMPARISON, "verdict", "parameters")


def _column(name: str) -> str:
    """The column of an axis or tuned hyperparameter, told apart from the columns of results.

    The learning rate of a flag is not the one that the schedule makes of it in an epoch.
    """
    return f"{name}_flag" if name in _RESULT_COLUMNS + _SUMMARY_COLUMNS else name


def results_rows(record: SweepRecord) -> Iterator[dict[str, str]]:
    """One row per trial and epoch; the numbers in the shortest form that reads back the same.

    A trial without an epoch has one row, so that none is lost. The test columns are filled in the
    last row of a chosen, finished trial. Nothing in the rows depends on the time or the order in
    which the trials ran.
    """
    for trial in sorted(record.trials, key=lambda trial: _place(record, trial)):
        start = _choices(record, trial.variant, trial.tuned)
        history = trial.history or [{}]
        for place, row in enumerate(history, start=1):
            last = place == len(history)
            yield start | {
                "seed": str(trial.seed),
                "epoch": f"{row['epoch']:.0f}" if "epoch" in row else "",
                **{column: _number(row.get(column)) for column in _EPOCH_COLUMNS},
                "status": trial.status,
                "chosen": str(trial.chosen).lower(),
                "test_accuracy": _number(trial.test_accuracy if last else None),
                "test_loss": _number(trial.test_loss if last else None),
            }


def results_csv(record: SweepRecord) -> str:
    """The rows of `results_rows` as CSV text with a heading."""
    return _csv(record, _RESULT_COLUMNS, results_rows(record))


def summary_csv(record: SweepRecord) -> str:
    """One row per variant as CSV text, the highest mean test accuracy first.

    `n` counts the finished seeds, `diverged` the chosen trials that did not finish; low and high
    are the ends of the 95% interval; what is not defined is empty.
    """
    rows = (_summary_row(record, summary) for summary in summarize(record))
    return _csv(record, _SUMMARY_COLUMNS, rows)


def _summary_row(record: SweepRecord, summary: VariantSummary) -> dict[str, str]:
    mean, comparison = summary.mean, summary.comparison
    row = _choices(record, summary.variant, summary.tuned)
    row |= {"n": str(len(summary.accuracies)), "diverged": str(summary.diverged)}
    row["parameters"] = str(record.parameters[summary.variant])
    if mean is not None:
        row |= {column: _number(getattr(mean, name)) for column, name in _OF_MEAN.items()}
    if comparison is not None:
        row |= {column: _number(getattr(comparison, n)) for column, n in _OF_COMPARISON.items()}
        row["verdict"] = comparison.verdict
    return row


def _choices(record: SweepRecord, variant: int, tuned: Mapping[str, float]) -> dict[str, str]:
    """The columns of the axes and of the tuned hyperparameters."""
    row = {_column(axis): record.variants[variant][axis] for axis in record.axes}
    return row | {_column(name): _number(tuned.get(name)) for name in record.tuned}


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _csv(record: SweepRecord, columns: Sequence[str], rows: Iterator[dict[str, str]]) -> str:
    text = io.StringIO()
    names = [_column(name) for name in (*record.axes, *record.tuned)]
    writer = csv.DictWriter(text, [*names, *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
