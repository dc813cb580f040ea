"""What went wrong in the trials of a row, though it has a number: read from how they trained."""

import math
from collections.abc import Mapping, Sequence

from cnn_jax.analysis.ablation.records import DIVERGED, FINISHED, SweepRecord, TrialRecord
from cnn_jax.analysis.statistics import wilson_interval

AT_CHANCE = "at chance"
STUCK = "stuck at the first loss"
IMPROVING = "still improving"
MEMORIZED = "memorized"
# Of those that did not learn; the others learned too little or too much.
FAILED = (DIVERGED, AT_CHANCE, STUCK)

# A loss that has not fallen by this share since the first epoch has not fallen.
_LEAST_FALL = 0.01
# Mistakes that fell by this share in the last epoch would have gone on falling.
_LAST_FALL = 0.1
_BY_HEART, _GAP = 0.995, 0.02


def symptoms(record: SweepRecord, trials: Sequence[TrialRecord]) -> dict[str, int]:
    """How many trials of one row have what: those of `FAILED`, then what else is to be said.

    A trial diverged if its status says so; is at chance if the 95% interval of its test accuracy
    reaches down to that of always answering the most frequent class; is stuck if its train loss
    has not fallen since the first epoch; has memorized if it knows the training set and is wrong
    more often on the test split. A row is still improving if the mistakes on validation fell by a
    tenth in the last epoch, by more than the chance of so few examples explains.
    """
    found = {
        DIVERGED: [trial.status == DIVERGED for trial in trials],
        AT_CHANCE: [_at_chance(record, trial) for trial in trials],
        STUCK: [_stuck(trial) for trial in trials],
        IMPROVING: [_improving(record, trials)] * len(trials),
        MEMORIZED: [_memorized(trial) for trial in trials],
    }
    return {name: sum(having) for name, having in found.items() if any(having)}


def failed(record: SweepRecord, trials: Sequence[TrialRecord]) -> int:
    """How many trials of one row did not learn."""
    return sum(
        trial.status == DIVERGED or _at_chance(record, trial) or _stuck(trial) for trial in trials
    )


def _at_chance(record: SweepRecord, trial: TrialRecord) -> bool:
    if trial.test_accuracy is None:
        return False
    right = round(trial.test_accuracy * record.test_examples)
    return wilson_interval(right, record.test_examples)[0] <= record.chance


def _stuck(trial: TrialRecord) -> bool:
    if trial.status != FINISHED or len(trial.history) < 2:
        return False
    first, *later = (row["train_loss"] for row in trial.history)
    learned = trial.history[-1]["train_accuracy"] - trial.history[0]["train_accuracy"]
    return min(later) >= first * (1 - _LEAST_FALL) and learned < 1 - _BY_HEART


def _improving(record: SweepRecord, trials: Sequence[TrialRecord]) -> bool:
    ends: list[tuple[Mapping[str, float], ...]] = [
        tuple(trial.history[-2:]) for trial in trials if trial.status == FINISHED
    ]
    if not ends or any(len(end) < 2 or "validation_accuracy" not in end[1] for end in ends):
        return False
    before, last = (
        sum(1 - end[place]["validation_accuracy"] for end in ends) / len(ends) for place in (0, 1)
    )
    examples = max(record.validation_examples, 1) * len(ends)
    noise = math.sqrt(max(before, 1 / examples) / examples)
    return before - last > max(_LAST_FALL * before, 2 * noise)


def _memorized(trial: TrialRecord) -> bool:
    if trial.test_accuracy is None or not trial.history:
        return False
    known = trial.history[-1].get("train_accuracy", 0.0)
    return known >= _BY_HEART and known - trial.test_accuracy >= _GAP
