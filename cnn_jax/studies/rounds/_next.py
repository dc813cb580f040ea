"""The next round of a study."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cnn_jax.analysis.statistics import compare_sequentially
from cnn_jax.studies.rounds._search import propose
from cnn_jax.training.grid import Trial, choose

if TYPE_CHECKING:
    from cnn_jax.studies.axes import Study


class Round(NamedTuple):
    """Trials that come next.

    Attributes:
        trials: none of which has begun.
        tests: whether they are reported, and so read the test split; if not they only choose.
    """

    trials: tuple[Trial, ...]
    tests: bool


def next_round(study: "Study", trials: Sequence[Trial]) -> Round | None:
    """What is trained next, or None at the end.

    Args:
        study: with its rules, and the trials of its first round.
        trials: of all rounds so far, to their end, in order.
    """
    if not trials:
        first = tuple(trial for cell in study.grid.cells for trial in cell.trials)
        return Round(first, tests=not study.rules.apart)
    if not any(trial.chosen for trial in trials):
        more = propose(study, trials)
        return Round(more, tests=False) if more else Round(_reported(study, trials), tests=True)
    more = _open(study, trials)
    return Round(more, tests=True) if more else None


def _reported(study: "Study", trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Every row at its best values, with the seeds of the study."""
    best = {trials[index].variant: trials[index] for index in sorted(choose(trials))}
    return tuple(_anew(study, trial, seed) for trial in best.values() for seed in study.seeds)


def _anew(study: "Study", trial: Trial, seed: int) -> Trial:
    """The same row and values with another seed, from the beginning."""
    of_row = (t for cell in study.grid.cells for t in cell.trials if t.variant == trial.variant)
    return replace(next(of_row), tuned=trial.tuned, hparams=trial.hparams, seed=seed)


def _open(study: "Study", trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The seeds up to the next look, of rows that are not settled and of the baseline."""
    rules, chosen = study.rules, [trial for trial in trials if trial.chosen]
    done = len({trial.seed for trial in chosen})
    following = next((look for look in rules.looks if look > done), None)
    if following is None:
        return ()
    groups: list[dict[int, float]] = [{} for _ in study.grid.variants]
    for trial in chosen:
        if trial.test_accuracy is not None:
            groups[trial.variant][trial.seed] = trial.test_accuracy
    rows = compare_sequentially(
        groups, study.baseline, rules.looks, rules.within, replicated=rules.replicated
    ).open
    if not rows:
        return ()
    one = {trial.variant: trial for trial in chosen}
    first = study.seeds[0]
    return tuple(
        _anew(study, one[row], seed)
        for row in sorted({*rows, study.baseline})
        for seed in range(first + done, first + following)
    )
