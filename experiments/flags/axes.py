"""What --vary, --tune, --seeds and the fixed flags say, as the grid of a study.

A lone run is the study of one trial: nothing varies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from absl import flags

from cnn_jax.errors import UsageError, did_you_mean
from cnn_jax.training import OPTIMIZERS, Config, hyperparameters, known_hyperparameters
from cnn_jax.training.grid import Axis, Cell, Grid, Resolved, Trial, Value, make_grid, split_axis

from . import options

# The multiples of its default that a tuned number is tried at when --vary does not give it values.
TUNING_MULTIPLES = ("x0.1", "x0.3", "x1", "x3", "x10")
_NOT_AXES = frozenset({"seed", "split_seed", "data_dir", "download"})


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
    """

    axes: tuple[Axis, ...]
    tuned: tuple[str, ...]
    seeds: tuple[int, ...]
    grid: Grid
    baseline: int = 0

    @property
    def compared(self) -> tuple[Axis, ...]:
        """The axes that are rows of the table."""
        return tuple(axis for axis in self.axes if axis.name not in self.tuned)


def lone_study(choices: options.Choices) -> Study:
    """The study of one trial.

    Args:
        choices: options that were given, by name.

    Raises:
        UsageError: if one has no effect with the others, or is out of range.
    """
    config = options.read_config(choices)
    seed = choices.get("seed", 0)
    trial = Trial(0, {}, seed, options.read_hparams(config, choices))
    cell = Cell(options.data_choices(choices), config, (trial,))
    return Study((), (), (seed,), Grid(({},), (cell,)))


def read_study(
    vary: Sequence[str],
    tune: Sequence[str],
    seeds: int,
    fixed: options.Choices,
    baseline: str | None = None,
) -> Study:
    """The grid that the flags describe.

    Args:
        vary: texts `name=value,value,...`.
        tune: names of hyperparameters to tune.
        seeds: how many, counted from the fixed `seed`.
        fixed: options given once for all trials.
        baseline: the variant to compare with, as `name=value,name=value`; the first if None.

    Raises:
        UsageError: for an unknown or doubled axis, an impossible value, or one that has no effect.
    """
    axes = [read_axis(text) for text in vary]
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--vary={name} is given twice; put all its values into one")
        if name in fixed:
            raise UsageError(f"--{name} is fixed and an axis of the sweep too; give it once")
    for name in tune:
        if name not in known_hyperparameters():
            raise UsageError(
                f"--tune={name}: only numbers can be tuned: {', '.join(known_hyperparameters())}"
            )
        if name in fixed:
            raise UsageError(f"--{name} is fixed, so it cannot be tuned; give it once")
        if name not in names:
            axes.append(read_axis(f"{name}={','.join(TUNING_MULTIPLES)}"))
    if not axes:
        raise UsageError(
            "nothing varies; give an axis, such as --vary=activation=relu,tanh, or --tune"
        )
    first = fixed.get("seed", 0)
    numbers = tuple(range(first, first + seeds))
    grid = make_grid(axes, tune, numbers, lambda values: _resolve(values, fixed, axes))
    study = Study(tuple(axes), tuple(tune), numbers, grid)
    return study._replace(baseline=find_variant(baseline, study)) if baseline else study


def read_axis(text: str) -> Axis:
    """An axis over an option of a training run.

    Values are those that the option's flag takes. In an option that is a list itself, + stands
    between its items and `none` for no item. A number may be a multiple of its default: x0.1.

    Raises:
        UsageError: if there is no such option or it does not take such a value.
    """
    name, texts = split_axis(text)
    known = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(options.__name__)}
    if name == "seed":
        raise UsageError("--vary=seed: say how many seeds with --seeds, and the first with --seed")
    if name not in known - _NOT_AXES:
        hint = did_you_mean(name, known - _NOT_AXES) or "; any option of train is one"
        raise UsageError(f"--vary={text}: {name} is not an option that can vary{hint}")
    values = []
    for item in texts:
        try:
            values.append(Value(item, _parse(name, item)))
        except (ValueError, TypeError, flags.Error) as error:
            raise UsageError(f"--vary={text}: {item}: {error}") from error
    return Axis(name, tuple(values))


def find_variant(text: str, study: Study) -> int:
    """The index of the variant that `name=value,name=value` describes.

    Raises:
        UsageError: if it is none or more than one.
    """
    wanted: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--baseline={text} must be name=value,name=value")
        wanted[name.strip()] = value.strip()
    variants = study.grid.variants
    names = [axis.name for axis in study.compared]
    for name, value in wanted.items():
        if name not in names:
            raise UsageError(
                f"--baseline={text}: {name} is not a compared axis: {', '.join(names)}"
            )
        if not any(variant[name] == value for variant in variants):
            values = ", ".join(dict.fromkeys(variant[name] for variant in variants))
            raise UsageError(f"--baseline={text} is not in the grid; {name} is one of {values}")
    found = [index for index, variant in enumerate(variants) if wanted.items() <= variant.items()]
    if len(found) != 1:
        rest = ", ".join(name for name in names if name not in wanted)
        raise UsageError(
            f"--baseline={text} fits {len(found)} of the {len(variants)} variants"
            + (f"; give {rest} too" if rest else "")
        )
    return found[0]


def _parse(name: str, text: str) -> Any:
    flag = flags.FLAGS[name]
    if name in known_hyperparameters() and text.startswith("x"):
        return Multiple(float(text[1:]))
    if isinstance(flag.parser, flags.ListParser):
        return flag.parser.parse("" if text == "none" else text.replace("+", ","))
    return flag.parser.parse(text)


def _resolve(values: Mapping[str, Any], fixed: options.Choices, axes: Sequence[Axis]) -> Resolved:
    choices = {**fixed, **values}
    unread = options.without_effect(choices)
    if OPTIMIZERS[choices.get("optimizer", Config.optimizer)].full_batch:
        # The size of a micro-batch changes the memory, not the result.
        unread |= {"batch_size"} & values.keys()
    choices = {name: value for name, value in choices.items() if name not in unread}
    config = options.read_config(choices)
    if any(axis.name == "dropout_rate" for axis in axes):
        # One program for all rates: at rate 0 the dropout layers pass everything.
        config = replace(config, architecture=replace(config.architecture, dropout=True))
    defaults = hyperparameters(config)
    for name, value in choices.items():
        if isinstance(value, Multiple):
            if defaults[name] == 0:
                raise UsageError(
                    f"--{name} is 0 by default, which has no multiples; give its values with "
                    f"--vary={name}"
                )
            choices[name] = float(f"{defaults[name] * value.factor:.4g}")
    return Resolved(
        options.data_choices(choices), config, options.read_hparams(config, choices), unread
    )
