"""The grid of a sweep: axes over options, split into cells (compiled) and trials (traced).

A *variant* is one value for each compared axis: a row of the final table. A *trial* is one run: a
variant, values for the tuned axes, and a seed. A *cell* is the trials that share their static
choices and their data, and so one program.

Tuned values are chosen on the validation split, and those that cannot win are stopped.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from cnn_jax.errors import FIELD, FieldError
from cnn_jax.training.config import Config

DataChoices = tuple[tuple[str, Any], ...]

# Looking at so many takes half a minute.
MOST_COMBINATIONS = 10_000
MOST_TRIALS = 100_000

UNREAD = "–"  # the value of an axis that a variant does not read
_SPACES: dict[str, Callable[..., np.ndarray]] = {"log": np.geomspace, "lin": np.linspace}


class Value(NamedTuple):
    """One value of an axis: as written, and as the option takes it."""

    text: str
    value: Any


@dataclass(frozen=True)
class Axis:
    """An option and the values that it takes in turn."""

    name: str
    values: tuple[Value, ...]


def split_axis(text: str) -> tuple[str, list[str]]:
    """The name and the values of `name=a,b,c`, `name=log:low:high:n` or `name=lin:low:high:n`.

    Numbers of a range are rounded to four significant digits, so that what is printed is what was
    used.

    Raises:
        FieldError: if the text is none of these, or names a value twice.
    """
    name, equals, rest = text.partition("=")
    name, rest = name.strip().removeprefix("--"), rest.strip()
    kind, colon, numbers = rest.partition(":")
    if not name or not equals:
        raise FieldError(f"{FIELD.vary}={text} must be name=value,value,... or name=log:low:high:n")
    if colon and kind in _SPACES:
        values = _range(text, kind, numbers)
    else:
        values = [value.strip() for value in rest.split(",")]
    if values == [""]:
        raise FieldError(
            f"{FIELD.vary}={text} gives no value, so the grid is empty; give at least one"
        )
    if "" in values:
        raise FieldError(
            f"{FIELD.vary}={text} has an empty value; put one comma between two values"
        )
    for value in values:
        if values.count(value) > 1:
            raise FieldError(f"{FIELD.vary}={text} has {value} more than once")
    return name, values


def _range(text: str, kind: str, numbers: str) -> list[str]:
    try:
        low, high, count = numbers.split(":")
        ends, points = (float(low), float(high)), int(count)
        if points > MOST_COMBINATIONS:
            raise FieldError(
                f"{FIELD.vary}={text} asks for {points:,} values, and a sweep has at most "
                f"{MOST_COMBINATIONS:,} combinations"
            )
        if points < 1 or (kind == "log" and min(ends) <= 0) or not all(map(np.isfinite, ends)):
            raise ValueError
    except FieldError:
        raise
    except ValueError:
        positive = "positive " if kind == "log" else ""
        raise FieldError(
            f"{FIELD.vary}={text} must be name={kind}:low:high:n with two {positive}numbers and "
            "how many values to take"
        ) from None
    return [f"{value:.4g}" for value in _SPACES[kind](*ends, points)]


class Resolved(NamedTuple):
    """What a choice of options means.

    Attributes:
        data: options with their values, which identify the data set and its splits.
        config: the static choices.
        hparams: every number that the config reads.
        unread: names of chosen options that have no effect with the others.
    """

    data: DataChoices
    config: Config
    hparams: dict[str, float]
    unread: frozenset[str]


Status = Literal["training", "finished", "diverged", "pruned"]


@dataclass(frozen=True)
class Trial:
    """One run, and what has come of it so far; builtins only, so that it can be written down.

    Attributes:
        variant: index of its row in the table.
        tuned: values of the tuned hyperparameters that it reads.
        seed: of initialization, data order and every other draw.
        hparams: all its numbers, the tuned ones among them.
        status: "training" until it is "finished", or "diverged" (its loss or its parameters are not
            finite) or "pruned".
        history: one record an epoch, up to that at which it was stopped: epoch, learning_rate,
            train_loss, train_accuracy and, where examples are held out, validation_loss and
            validation_accuracy; accuracies in [0, 1].
        seconds: its share of the wall time of training, evaluation on validation included.
        chosen: whether its tuned values are those chosen for its variant.
        test_accuracy: in [0, 1]; None unless chosen and finished.
        test_loss: mean over the test examples; None unless chosen and finished.
        calibration_error: of what it says of them; likewise.
        right: which test examples it has right, as `cnn_jax.analysis.answers` packs them; likewise.
        init_seed: of initialization, if not `seed`.
        order_seed: of all that is drawn in training, if not `seed`.
        source: of a trial beside the grid, the only one in which it differs from the first seed.
    """

    variant: int
    tuned: dict[str, float]
    seed: int
    hparams: dict[str, float]
    status: Status = "training"
    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    chosen: bool = False
    test_accuracy: float | None = None
    test_loss: float | None = None
    calibration_error: float | None = None
    right: str | None = None
    init_seed: int | None = None
    order_seed: int | None = None
    source: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it still trains."""
        return self.status == "training"

    def to_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold, but for numbers that are NaN."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """What `to_json` gave; in the history, null is NaN.

        Raises:
            KeyError, TypeError: if the record is not of a trial.
        """
        return cls(**{**record, "history": tuple(map(with_nan, record["history"]))})


def with_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """One record of a history that was written as strict JSON: null was a number, NaN."""
    return {name: math.nan if value is None else value for name, value in row.items()}


@dataclass(frozen=True)
class Cell:
    """The trials of one program, those of a variant next to each other."""

    data: DataChoices
    config: Config
    trials: tuple[Trial, ...]

    @property
    def variants(self) -> list[int]:
        """The rows of the table that this cell fills, in order."""
        return list(dict.fromkeys(trial.variant for trial in self.trials))


@dataclass(frozen=True)
class Grid:
    """All cells of a sweep, and the value of each compared axis per variant."""

    variants: tuple[dict[str, str], ...]
    cells: tuple[Cell, ...]


def make_grid(
    axes: Sequence[Axis],
    tuned: Sequence[str],
    seeds: Sequence[int],
    resolve: Callable[[Mapping[str, Any]], Resolved],
) -> Grid:
    """Splits the product of the axes into variants, cells and trials.

    Combinations that differ only in an option that has no effect there (momentum with an optimizer
    that has none) are one.

    Args:
        axes: every axis, tuned ones included.
        tuned: names of the axes that are tuned, not compared; traced hyperparameters.
        seeds: every combination is run once with each.
        resolve: what a choice of values means; may raise UsageError.

    Raises:
        FieldError: if an option has no effect in any combination.
    """
    variants: dict[tuple, int] = {}
    members: dict[tuple, dict[tuple, Trial]] = {}
    unread: list[frozenset[str]] = []
    for combination in itertools.product(*(axis.values for axis in axes)):
        values = {axis.name: value for axis, value in zip(axes, combination, strict=True)}
        resolved = resolve({name: value.value for name, value in values.items()})
        unread.append(resolved.unread)
        text = {
            name: UNREAD if name in resolved.unread else value.text
            for name, value in values.items()
            if name not in tuned
        }
        variant = variants.setdefault(tuple(text.items()), len(variants))
        chosen = {name: resolved.hparams[name] for name in tuned if name not in resolved.unread}
        trials = members.setdefault((resolved.data, resolved.config), {})
        for seed in seeds:
            trial = Trial(variant, chosen, seed, resolved.hparams)
            trials.setdefault((variant, tuple(chosen.items()), seed), trial)
    for name in sorted(frozenset.intersection(*unread)):
        raise FieldError(f"{FIELD[name]} has no effect on any network of this sweep")
    cells = [
        Cell(data, config, tuple(sorted(trials.values(), key=lambda trial: trial.variant)))
        for (data, config), trials in members.items()
    ]
    return Grid(tuple(dict(items) for items in variants), tuple(cells))


def tuned_groups(trials: Sequence[Trial], variant: int) -> dict[tuple, list[int]]:
    """The trials of a variant by their tuned values: indices into `trials`, one per seed."""
    found: dict[tuple, list[int]] = {}
    for index, trial in enumerate(trials):
        if trial.variant == variant:
            found.setdefault(tuple(trial.tuned.items()), []).append(index)
    return found


def ranking(found: Mapping[tuple, Sequence[int]], trials: Sequence[Trial]) -> list[tuple]:
    """Tuned values from the best to the worst, judged by their last epoch on validation.

    First come those of which fewer seeds diverged, then the higher mean accuracy over seeds, then
    the lower mean loss, then the value named first. A single candidate needs no validation.

    Args:
        found: what `tuned_groups` found among the trials.
        trials: with their histories.
    """
    if len(found) == 1:
        return list(found)

    def badness(values: tuple) -> tuple[int, float, float]:
        last = [trials[index].history[-1] for index in found[values]]
        fine = [row for row in last if math.isfinite(row["validation_loss"])]
        if not fine:
            return len(last), 0.0, 0.0
        accuracy = sum(row["validation_accuracy"] for row in fine) / len(fine)
        loss = sum(row["validation_loss"] for row in fine) / len(fine)
        return len(last) - len(fine), -accuracy, loss

    return sorted(found, key=badness)


def choose(trials: Sequence[Trial]) -> set[int]:
    """The trials of the best tuned values of every variant, of those not pruned: indices."""
    chosen: set[int] = set()
    for variant in dict.fromkeys(trial.variant for trial in trials):
        found = {
            values: members
            for values, members in tuned_groups(trials, variant).items()
            if not any(trials[index].status == "pruned" for index in members)
        }
        chosen.update(found[ranking(found, trials)[0]])
    return chosen


def partition(trials: Sequence[Trial], most: int, whole_variants: bool) -> list[list[int]]:
    """Splits trials into groups of at most `most`, about equally large: indices, in order.

    Args:
        trials: of a cell, those of a variant next to each other.
        most: trials in a group.
        whole_variants: keep a variant's trials together, even if they alone are more than `most`.
    """
    variants = [trial.variant if whole_variants else i for i, trial in enumerate(trials)]
    blocks = [list(b) for _, b in itertools.groupby(range(len(trials)), variants.__getitem__)]
    most = math.ceil(len(trials) / math.ceil(len(trials) / most))
    groups: list[list[int]] = [[]]
    for block in blocks:
        if groups[-1] and len(groups[-1]) + len(block) > most:
            groups.append([])
        groups[-1] += block
    return groups


def rungs(epochs: int, values: int) -> dict[int, int]:
    """Successive halving (Jamieson and Talwalkar 2016): after which epochs how many values go on.

    The halvings are spread so that each stage has about twice the epochs of the one before, and
    the last epoch is left to at least one value.

    Args:
        epochs: of a whole run.
        values: tuned values of a variant.

    Returns:
        epoch -> how many values train beyond it; empty where there is nothing to halve.
    """
    halvings = min(math.ceil(math.log2(values)), math.floor(math.log2(epochs))) if values > 1 else 0
    return {
        epochs // 2 ** (halvings - index): math.ceil(values / 2 ** (index + 1))
        for index in range(halvings)
    }


def losers(trials: Sequence[Trial], epoch: int, epochs: int) -> list[int]:
    """The trials to stop after `epoch`: all seeds of the tuned values that halving drops.

    A value counts as in the running while any of its seeds is alive.
    """
    stopped = []
    for variant in dict.fromkeys(trial.variant for trial in trials):
        found = tuned_groups(trials, variant)
        keep = rungs(epochs, len(found)).get(epoch)
        if keep is None:
            continue
        running = {v: group for v, group in found.items() if any(trials[i].alive for i in group)}
        for values in ranking(running, trials)[keep:] if running else ():
            stopped += [index for index in found[values] if trials[index].alive]
    return stopped
