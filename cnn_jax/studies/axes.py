"""Axes of a study: what is compared, tuned and repeated, as the grid of its trials.

A lone run is the study of one trial: nothing varies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from cnn_jax.errors import FIELD, FieldError, check_choice, did_you_mean
from cnn_jax.studies import choices as of_run
from cnn_jax.studies.choices import Choices
from cnn_jax.studies.rounds import Rules, read_rules
from cnn_jax.training import OPTIMIZERS, Config, hyperparameters, known_hyperparameters
from cnn_jax.training.grid import (
    MOST_COMBINATIONS,
    MOST_TRIALS,
    Axis,
    Cell,
    Grid,
    Resolved,
    Trial,
    Value,
    make_grid,
)

# The multiples of its default that a tuned number is tried at when it is given no values.
_MULTIPLES = (0.1, 0.3, 1, 3, 10)
# Seeds are numbers of 31 bits.
MOST_SEEDS = 2**31
# What cannot vary in a study.
NOT_AXES = frozenset(
    {
        "seed",
        "init_seed",
        "split_seed",
        "data_dir",
        "download",
        "init_from",
        "keep_epoch",
        "patience",
    }
)


# What may differ from seed to seed; the first two do if nothing is said.
SOURCES = ("init", "order", "split")


class Multiple(NamedTuple):
    """A number as a multiple of its default, which may depend on the optimizer."""

    factor: float


class Study(NamedTuple):
    """What is compared, tuned and repeated.

    Attributes:
        axes: every axis, tuned ones included.
        tuned: names of those that are tuned.
        seeds: of every combination.
        grid: all of it, split into cells.
        baseline: index of the variant that the others are compared with.
        fixed: options given once for all trials.
        sources: what differs from seed to seed, of `SOURCES`.
        budget: whether it is to be said how much each of them does.
        rules: how it goes on after its first round.
    """

    axes: tuple[Axis, ...]
    tuned: tuple[str, ...]
    seeds: tuple[int, ...]
    grid: Grid
    baseline: int = 0
    fixed: Choices = {}
    sources: tuple[str, ...] = ("init", "order")
    budget: bool = False
    rules: Rules = Rules()

    @property
    def compared(self) -> tuple[Axis, ...]:
        """The axes that are rows of the table."""
        return tuple(axis for axis in self.axes if axis.name not in self.tuned)


def lone_study(choices: Choices) -> Study:
    """The study of one trial.

    Args:
        choices: options that were given, by name.

    Raises:
        UsageError: if one has no effect with the others, or is out of range.
    """
    of_run.check_data_choices(choices)
    config = of_run.read_config(choices)
    seed = choices.get("seed", 0)
    numbers, start = of_run.read_hparams(config, choices), choices.get("init_seed")
    trial = Trial(0, {}, seed, numbers, init_seed=start)
    cell = Cell(of_run.data_choices(choices), config, (trial,))
    return Study((), (), (seed,), Grid(({},), (cell,)), fixed=choices)


def make_study(
    axes: Sequence[Axis],
    tune: Sequence[str],
    seeds: int,
    fixed: Choices,
    baseline: Mapping[str, str] | None = None,
    sources: Sequence[str] | None = None,
    **rounds: Any,
) -> Study:
    """The grid over axes.

    Args:
        axes: options with their values.
        tune: names of hyperparameters to tune; those that are no axis get multiples of their
            default.
        seeds: how many, counted from the fixed `seed`.
        fixed: options given once for all trials.
        baseline: the variant to compare with, by its values; the first if None.
        sources: what differs from seed to seed, of `SOURCES`; of several that are given, trials of
            the baseline beside the grid tell how much each does.
        **rounds: what `read_rules` reads of how values are found and seeds are added.

    Raises:
        UsageError: for an unknown or doubled axis, an impossible value, or one that has no effect.
    """
    axes = list(axes)
    names = [axis.name for axis in axes]
    first = fixed.get("seed", 0)
    numbers = range(first, first + seeds)
    rules = read_rules(**rounds, seeds=numbers, tuned=tune, given=names)
    for name in ("keep_epoch", "patience"):
        if name in fixed:
            raise FieldError(f"{FIELD[name]} is for one run: a sweep trains all equally long")
    for name in names:
        if names.count(name) > 1:
            raise FieldError(f"{FIELD.vary}={name} is given twice; put all its values into one")
        check_axis(name)
        if name in fixed:
            raise FieldError(f"{FIELD[name]} is fixed and an axis of the sweep too; give it once")
    for name in tune:
        if name not in known_hyperparameters():
            raise FieldError(
                f"{FIELD.tune}={name}: only numbers can be tuned: "
                f"{', '.join(known_hyperparameters())}"
            )
        if name in fixed:
            raise FieldError(f"{FIELD[name]} is fixed, so it cannot be tuned; give it once")
        if name not in names:
            axes.append(Axis(name, _first_values(name, rules)))
    if not axes:
        raise FieldError(
            f"nothing varies; give an axis, such as {FIELD.vary}=activation=relu,tanh, or "
            f"{FIELD.tune}"
        )
    _check_size(axes, seeds, first)
    budget = sources is not None and len(sources) > 1 and seeds > 1
    sources = SOURCES[:2] if sources is None else sources
    _check_sources(sources, tune, fixed)
    if rules.looks and "split" in sources:
        raise FieldError(
            f"{FIELD.until} adds seeds of initialization and order: leave split out of "
            f"{FIELD.sources}"
        )
    if rules.looks and any(axis.name == "dataset" for axis in axes):
        raise FieldError(
            f"{FIELD.until} adds seeds until rows of one data set are told apart: sweep each data "
            "set by itself"
        )
    grid = _varied(axes, tune, rules.tune_seeds or tuple(numbers), fixed, sources)
    study = Study(tuple(axes), tuple(tune), tuple(numbers), grid, fixed=fixed, rules=rules)
    study = study._replace(sources=tuple(sources), budget=budget)
    return study._replace(baseline=find_variant(baseline, study)) if baseline else study


def _check_size(axes: Sequence[Axis], seeds: int, first: int) -> None:
    """Refuses a study that is too large to look at, and one that trains the same network twice."""
    if first + seeds > MOST_SEEDS:
        raise FieldError(
            f"{FIELD.seeds}={seeds:,} from {FIELD.seed}={first} on are more than there are; the "
            f"last seed is {MOST_SEEDS - 1}"
        )
    for axis in axes:
        for index, value in enumerate(axis.values):
            same = [other for other in axis.values[:index] if other.value == value.value]
            if same:
                raise FieldError(
                    f"{FIELD.vary}={axis.name} has {same[0].text} and {value.text}, which are the "
                    "same; give one of them"
                )
    combinations = math.prod(len(axis.values) for axis in axes)
    if combinations > MOST_COMBINATIONS or combinations * seeds > MOST_TRIALS:
        raise FieldError(
            f"{' x '.join(f'{len(axis.values):,} {axis.name}' for axis in axes)} x {seeds:,} "
            f"seeds are {combinations * seeds:,} networks; a sweep has at most "
            f"{MOST_COMBINATIONS:,} combinations and {MOST_TRIALS:,} networks"
        )


def _check_sources(sources: Sequence[str], tune: Sequence[str], fixed: Choices) -> None:
    """Refuses sources that are none, or would leave nothing to the seeds."""
    for name in sources:
        check_choice("sources", name, SOURCES)
    if not sources:
        raise FieldError(f"{FIELD.sources} is empty: give what differs from seed to seed")
    if "split" in sources and tune:
        raise FieldError(
            f"{FIELD.sources}=split gives every seed other examples to choose on, so "
            f"{FIELD.tune} would choose for each by itself; tune first, then give the values"
        )
    if len(set(sources)) < len(sources):
        raise FieldError(f"{FIELD.sources} names one of {', '.join(sources)} twice")
    if "init_seed" in fixed and "init" in sources:
        raise FieldError(
            f"{FIELD.init_seed} holds for all trials: leave init out of {FIELD.sources}"
        )


def _varied(
    axes: Sequence[Axis],
    tune: Sequence[str],
    seeds: Sequence[int],
    fixed: Choices,
    sources: Sequence[str],
) -> Grid:
    """The grid, whose seeds differ in these sources alone."""
    first, start = seeds[0], fixed.get("init_seed", seeds[0])

    def of(seeds: Sequence[int], fixed: Choices) -> Grid:
        return make_grid(axes, tune, seeds, lambda values: _resolve(values, fixed, axes))

    if "split" in sources:
        before = of_run.value_of(fixed, "split_seed")
        grids = [of([s], {**fixed, "split_seed": before + s - first}) for s in seeds]
        grid = Grid(grids[0].variants, tuple(cell for each in grids for cell in each.cells))
    else:
        grid = of(seeds, fixed)
    streams: dict[str, Any] = {
        "init_seed": None if "init" in sources else start,
        "order_seed": None if "order" in sources else first,
    }
    if not any(seed is not None for seed in streams.values()):
        return grid
    return replace(
        grid,
        cells=tuple(
            replace(cell, trials=tuple(replace(trial, **streams) for trial in cell.trials))
            for cell in grid.cells
        ),
    )


def trial_choices(study: Study, trial: Trial) -> dict[str, Any]:
    """The choices of a trial as those of a lone run."""
    choices = {**study.fixed, **trial.tuned, "seed": trial.seed}
    if trial.order_seed is not None:
        choices |= {"seed": trial.order_seed, "init_seed": trial.seed}
    if trial.init_seed is not None:
        choices["init_seed"] = trial.init_seed
    if "split" in study.sources:
        choices["split_seed"] = (
            of_run.value_of(study.fixed, "split_seed") + trial.seed - study.seeds[0]
        )
    variant = study.grid.variants[trial.variant]
    for axis in study.compared:
        for text, value in axis.values:
            if text == variant[axis.name]:
                multiple = isinstance(value, Multiple)
                choices[axis.name] = trial.hparams[axis.name] if multiple else value
    # Of what holds for all, another row may have no use for a part.
    unread = of_run.without_effect(choices)
    return {name: value for name, value in choices.items() if name not in unread}


def _first_values(name: str, rules: Rules) -> tuple[Value, ...]:
    """Where a search begins: at multiples of the default; one that draws, at the default itself."""
    known = known_hyperparameters()[name]
    inside = [m for m in _MULTIPLES if m == 1 or known.default * m in known.interval]
    return tuple(Value(f"x{m:g}", Multiple(m)) for m in ([1] if rules.tries else inside))


def check_axis(name: str) -> None:
    """Refuses what cannot vary.

    Raises:
        UsageError: naming the nearest that can.
    """
    if name == "seed":
        raise FieldError(
            f"{FIELD.vary}=seed: say how many seeds with {FIELD.seeds}, and the first with "
            f"{FIELD.seed}"
        )
    known = of_run.known_choices() - NOT_AXES
    if name not in known:
        hint = did_you_mean(name, known) or "; any option of train is one"
        raise FieldError(f"{FIELD.vary}={name}: it is not an option that can vary{hint}")


def find_variant(wanted: Mapping[str, str], study: Study) -> int:
    """The index of the variant that has these values.

    Raises:
        UsageError: if it is none or more than one.
    """
    text = ",".join(f"{name}={value}" for name, value in wanted.items())
    variants = study.grid.variants
    names = [axis.name for axis in study.compared]
    for name, value in wanted.items():
        if name not in names:
            raise FieldError(
                f"{FIELD.baseline}={text}: {name} is not a compared axis: {', '.join(names)}"
            )
        if not any(variant[name] == value for variant in variants):
            values = ", ".join(dict.fromkeys(variant[name] for variant in variants))
            raise FieldError(
                f"{FIELD.baseline}={text} is not in the grid; {name} is one of {values}"
            )
    found = [index for index, variant in enumerate(variants) if wanted.items() <= variant.items()]
    if len(found) != 1:
        rest = ", ".join(name for name in names if name not in wanted)
        raise FieldError(
            f"{FIELD.baseline}={text} fits {len(found)} of the {len(variants)} variants"
            + (f"; give {rest} too" if rest else "")
        )
    return found[0]


def _resolve(values: Mapping[str, Any], fixed: Choices, axes: Sequence[Axis]) -> Resolved:
    choices = {**fixed, **values}
    unread = of_run.without_effect(choices)
    if OPTIMIZERS[choices.get("optimizer", Config.optimizer)].full_batch:
        # The size of a micro-batch changes the memory, not the result.
        unread |= {"batch_size"} & values.keys()
    choices = {name: value for name, value in choices.items() if name not in unread}
    config = of_run.read_config(choices)
    if any(axis.name == "dropout_rate" for axis in axes):
        # One program for all rates: at rate 0 the dropout layers pass everything.
        config = replace(config, architecture=replace(config.architecture, dropout=True))
    defaults = hyperparameters(config)
    for name, value in choices.items():
        if isinstance(value, Multiple):
            if defaults[name] == 0:
                raise FieldError(
                    f"{FIELD[name]} is 0 by default, which has no multiples; give its values with "
                    f"{FIELD.vary}={name}"
                )
            choices[name] = float(f"{defaults[name] * value.factor:.4g}")
    return Resolved(
        of_run.data_choices(choices), config, of_run.read_hparams(config, choices), unread
    )
