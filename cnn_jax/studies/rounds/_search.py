"""Which values of the tuned numbers are tried next, as many for every row.

Around each row's best value the widest gap is halved, and where the best is the smallest or largest
that was tried, the search goes on beyond, up to a limit. So the best ends up with a neighbor on
both sides, within a factor of two.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnn_jax.errors import UsageError
from cnn_jax.studies.rounds._rules import RANDOM, REFINE
from cnn_jax.training import known_hyperparameters
from cnn_jax.training.config import hyperparameters
from cnn_jax.training.grid import Trial, ranking, tuned_groups

if TYPE_CHECKING:
    from cnn_jax.studies.axes import Study

# From the smallest or largest value on, the next one is this many times further.
_STEP = 10**0.5
# The best value has neighbors within this factor at the end.
_NEAR = 2.0
# The farthest from its default that a number is tried.
_FARTHEST = 1000.0
# A random search and TPE draw up to so many times the default, and as far below.
_DRAWN = 100.0
# The end of an interval is not tried: as a share of it, this is near enough.
_BEFORE_END = 1e-3
# TPE sees the results of so many tries, and then proposes as many.
_BATCH = 8


class Limits(NamedTuple):
    """The smallest and the largest value of a number that are tried.

    Attributes:
        low: the smallest.
        high: the largest.
        end: where its range ends.
        default: its own.
    """

    low: float
    high: float
    end: float
    default: float


def limits(name: str, default: float) -> Limits:
    """How far a number is searched: a thousandth to a thousand times its default, in its range.

    Args:
        name: of the number.
        default: more than 0.
    """
    interval = known_hyperparameters()[name].interval
    begin, end = interval.low, interval.high
    low = max(default / _FARTHEST, begin if begin in interval else begin * (1 + _BEFORE_END))
    return Limits(low, min(default * _FARTHEST, end * (1 - _BEFORE_END)), end, default)


class _Row(NamedTuple):
    """What is known of a row.

    Attributes:
        trial: any of its trials before it began.
        limits: by number that is searched.
        scores: mean validation accuracy by the values that were tried.
        best: the best of them.
    """

    trial: Trial
    limits: Mapping[str, Limits]
    scores: Mapping[tuple[tuple[str, float], ...], float]
    best: Mapping[str, float]

    def tried(self, name: str) -> set[float]:
        return {dict(values)[name] for values in self.scores}


def propose(study: "Study", trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials that a search wants next, equally many values for every row; none at its end.

    Args:
        study: with its rules.
        trials: of all rounds so far.

    Raises:
        UsageError: if TPE is asked for, and Optuna is not installed.
    """
    rules, rows = study.rules, _rows(study, trials)
    rows = [row for row in rows if row.limits]
    done = min((len(row.scores) for row in rows), default=0)
    if not rows:
        return ()
    if done < rules.tries:
        wanted = rules.tries - done
        count = wanted if rules.search == RANDOM else min(_BATCH, wanted)
        draw = _random if rules.search == RANDOM else _tpe
        found = [(row, draw(row, count)) for row in rows]
    elif all(_settled(row, rules.search == REFINE) for row in rows):
        return ()
    else:
        count = 2 * max(len(row.limits) for row in rows)
        found = [(row, list(itertools.islice(_around(row), count))) for row in rows]
    seeds = rules.tune_seeds or study.seeds
    return tuple(
        replace(row.trial, tuned=values, hparams={**row.trial.hparams, **values}, seed=seed)
        for row, several in found
        for values in several
        for seed in seeds
    )


def _rows(study: "Study", trials: Sequence[Trial]) -> list[_Row]:
    configs = {row: cell.config for cell in study.grid.cells for row in cell.variants}
    anew = {trial.variant: trial for cell in study.grid.cells for trial in cell.trials}
    found = []
    for variant, config in sorted(configs.items()):
        groups = {
            values: members
            for values, members in tuned_groups(trials, variant).items()
            if not any(trials[index].status == "pruned" for index in members)
        }
        (best, *_) = ranking(groups, trials)
        names, defaults = dict(best), hyperparameters(config)
        scores = {
            values: _score([trials[index] for index in members])
            for values, members in tuned_groups(trials, variant).items()
        }
        searched = {
            name: limits(name, defaults[name]) for name in study.rules.searched if name in names
        }
        found.append(_Row(anew[variant], searched, scores, names))
    return found


def _score(trials: Sequence[Trial]) -> float:
    """The mean validation accuracy at the end; a trial that diverged counts as 0."""
    last = [trial.history[-1]["validation_accuracy"] for trial in trials]
    return sum(value if math.isfinite(value) else 0.0 for value in last) / len(last)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


class _Gap(NamedTuple):
    """A place to try.

    Attributes:
        width: from the best to its neighbor, as a factor; infinite where there is none.
        value: in between, or beyond.
    """

    width: float
    value: float


def _gaps(best: float, tried: set[float], bounds: Limits) -> Iterator[_Gap]:
    """What lies beside the best value, on both sides; nothing where a limit is."""
    below = max((value for value in tried if value < best), default=None)
    above = min((value for value in tried if value > best), default=None)
    if below is not None:
        yield _Gap(best / below, math.sqrt(best * below))
    elif best > bounds.low * (1 + _BEFORE_END):
        yield _Gap(math.inf, max(best / _STEP, bounds.low))
    if above is not None:
        yield _Gap(above / best, math.sqrt(above * best))
    elif best < bounds.high * (1 - _BEFORE_END):
        nearer = (best + bounds.end) / 2
        yield _Gap(math.inf, min(best * _STEP, nearer, bounds.high))


def _settled(row: _Row, refine: bool) -> bool:
    """Whether the best lies inside of what was tried, and near others; at a limit it may end."""
    widths = [
        gap.width
        for name, bounds in row.limits.items()
        for gap in _gaps(row.best[name], row.tried(name), bounds)
    ]
    near = _NEAR * (1 + _BEFORE_END)
    return all(width <= near if refine else math.isfinite(width) for width in widths)


def _around(row: _Row) -> Iterator[dict[str, float]]:
    """Values around the best of a row without end, the widest gap first."""
    tried = {name: row.tried(name) for name in row.limits}
    while True:
        places = [
            (gap, name)
            for name, bounds in row.limits.items()
            for gap in _gaps(row.best[name], tried[name], bounds)
        ]
        gap, name = max(places, key=lambda place: place[0].width)
        value = _rounded(gap.value)
        if value in tried[name]:
            value = gap.value
        tried[name].add(value)
        yield {**row.best, name: value}


def _bounds(row: _Row) -> dict[str, tuple[float, float]]:
    """What a draw lies between."""
    return {
        name: (max(default / _DRAWN, low), min(default * _DRAWN, high))
        for name, (low, high, _, default) in row.limits.items()
    }


def _random(row: _Row, count: int) -> list[dict[str, float]]:
    """Draws whose logarithms are uniform, the same multiples of the default for every row."""
    rng, bounds = np.random.default_rng(len(row.scores)), _bounds(row)
    return [
        {
            **row.best,
            **{
                name: _rounded(float(np.exp(rng.uniform(math.log(low), math.log(high)))))
                for name, (low, high) in bounds.items()
            },
        }
        for _ in range(count)
    ]


def _tpe(row: _Row, count: int) -> list[dict[str, float]]:
    """What Optuna's tree-structured Parzen estimator wants to see next."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("a search by TPE needs Optuna: pip install 'cnn_jax[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in _bounds(row).items()
    }
    sampler = optuna.samplers.TPESampler(seed=len(row.scores), n_startup_trials=_BATCH)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for values, score in row.scores.items():
        params = {name: value for name, value in values if name in distributions}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=score)
        )
    found: list[dict[str, float]] = []
    while len(found) < count:
        asked = study.ask(distributions).params
        wanted = {**row.best, **{name: _rounded(value) for name, value in asked.items()}}
        if wanted not in found and tuple(wanted.items()) not in row.scores:
            found.append(wanted)
    return found
