"""Axes as text, and their product split into variants, cells and trials."""

from dataclasses import replace
from typing import Any

import pytest

from cnn_jax.errors import UsageError
from cnn_jax.training import Config
from cnn_jax.training.grid import UNREAD, Axis, Grid, Resolved, Value, make_grid, split_axis


@pytest.mark.parametrize(
    "text, name, values",
    [
        ("activation=relu,tanh", "activation", ["relu", "tanh"]),
        ("--activation = relu , tanh", "activation", ["relu", "tanh"]),
        ("filters=16+32,32+64", "filters", ["16+32", "32+64"]),
        ("learning_rate=log:1e-3:1e-1:3", "learning_rate", ["0.001", "0.01", "0.1"]),
        ("momentum=lin:0:0.9:4", "momentum", ["0", "0.3", "0.6", "0.9"]),
        ("learning_rate=log:1:2:3", "learning_rate", ["1", "1.414", "2"]),
        ("dataset=mnist:3", "dataset", ["mnist:3"]),
    ],
)
def test_an_axis_is_a_name_and_values(text: str, name: str, values: list[str]):
    assert split_axis(text) == (name, values)


@pytest.mark.parametrize(
    "text, message",
    [
        ("activation", "must be name=value,value"),
        ("=relu", "must be name=value,value"),
        ("activation=", "the grid is empty"),
        ("activation=relu,,tanh", "has an empty value"),
        ("activation=relu,relu", "has relu more than once"),
        ("learning_rate=log:0:1:3", "two positive numbers"),
        ("learning_rate=log:1e-3:1e-1", "log:low:high:n"),
        ("learning_rate=lin:0:1:0", "lin:low:high:n"),
        ("learning_rate=lin:0:inf:3", "lin:low:high:n"),
        ("learning_rate=log:1:1:2", "has 1 more than once"),
    ],
)
def test_what_is_no_axis_is_refused(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        split_axis(text)


def axis(name: str, *values: Any) -> Axis:
    return Axis(name, tuple(Value(str(value), value) for value in values))


def resolve(values: dict[str, Any]) -> Resolved:
    """Optimizers, of which only momentum reads `momentum`, and numbers that are traced."""
    config = replace(Config(), optimizer=values.get("optimizer", "sgd"))
    unread = {"momentum"} & values.keys() if config.optimizer == "sgd" else set()
    numbers = {name: values[name] for name in ("learning_rate", "momentum") if name in values}
    hparams = {name: value for name, value in numbers.items() if name not in unread}
    return Resolved((), config, hparams, frozenset(unread))


def count(grid: Grid) -> list[int]:
    return [len(cell.trials) for cell in grid.cells]


def test_static_axes_are_cells_and_numbers_are_trials():
    axes = [axis("optimizer", "sgd", "momentum"), axis("learning_rate", 0.1, 0.2, 0.3)]
    grid = make_grid(axes, [], (0, 1), resolve)
    assert len(grid.variants) == 6 and count(grid) == [6, 6]
    assert grid.variants[4] == {"optimizer": "momentum", "learning_rate": "0.2"}
    assert [cell.config.optimizer for cell in grid.cells] == ["sgd", "momentum"]
    assert [(t.variant, t.seed) for t in grid.cells[1].trials[:3]] == [(3, 0), (3, 1), (4, 0)]
    assert grid.cells[1].variants == [3, 4, 5]


def test_tuned_axes_are_not_rows():
    axes = [axis("learning_rate", 0.1, 0.2, 0.3), axis("optimizer", "sgd", "momentum")]
    grid = make_grid(axes, ["learning_rate"], (0, 1), resolve)
    assert grid.variants == ({"optimizer": "sgd"}, {"optimizer": "momentum"})
    assert count(grid) == [6, 6]
    assert grid.cells[0].trials[2].tuned == {"learning_rate": 0.2}
    assert [trial.seed for trial in grid.cells[0].trials] == [0, 1] * 3


def test_combinations_that_differ_in_nothing_that_is_read_are_one():
    axes = [axis("optimizer", "sgd", "momentum"), axis("momentum", 0.5, 0.9)]
    grid = make_grid(axes, [], (0,), resolve)
    assert [variant["momentum"] for variant in grid.variants] == [UNREAD, "0.5", "0.9"]
    assert count(grid) == [1, 2]
    tuned = make_grid(axes, ["momentum"], (0,), resolve)
    assert [trial.tuned for trial in tuned.cells[0].trials] == [{}]
    assert [trial.tuned for trial in tuned.cells[1].trials] == [
        {"momentum": 0.5},
        {"momentum": 0.9},
    ]


def test_what_nothing_reads_is_refused():
    with pytest.raises(UsageError, match="momentum has no effect on any network"):
        make_grid([axis("momentum", 0.5, 0.9)], [], (0,), resolve)


def test_a_fixed_option_may_be_read_by_some():
    def fixed(values: dict[str, Any]) -> Resolved:
        return resolve({**values, "momentum": 0.9})

    make_grid([axis("optimizer", "sgd", "momentum")], [], (0,), fixed)
    with pytest.raises(UsageError, match="momentum has no effect on any network"):
        make_grid([axis("learning_rate", 0.1, 0.2)], [], (0,), fixed)
