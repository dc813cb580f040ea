"""Which numbers a run reads, their defaults, and which values they may take."""

import dataclasses
import math

import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.ops.losses import LOSSES
from cnn_jax.training import (
    HPARAM_RANGES,
    OPTIMIZERS,
    SCHEDULES,
    Config,
    describe_range,
    hyperparameters,
)


def test_defaults_are_those_of_the_functions_chosen():
    assert hyperparameters(Config()) == {
        "learning_rate": 1e-3,
        "b1": 0.9,
        "b2": 0.999,
        "epsilon": 1e-8,
        "label_smoothing": 0.0,
    }
    everything = Config(
        Architecture(dropout=True),
        loss="focal",
        optimizer="nesterov",
        schedule="warmup_cosine",
        clip=True,
    )
    assert hyperparameters(everything) == {
        "learning_rate": 0.02,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "warmup_fraction": 0.2,
        "final_fraction": 0.0,
        "focal_gamma": 2.0,
        "dropout_rate": 0.5,
        "clip_norm": 1.0,
    }


def test_chosen_numbers_take_the_place_of_defaults():
    config = Config(optimizer="momentum")
    chosen = {"momentum": 0.5, "learning_rate": 1.0}
    assert hyperparameters(config, chosen) == hyperparameters(config) | chosen


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_combination_has_numbers_within_their_ranges(name: str):
    for schedule in SCHEDULES:
        for loss in LOSSES:
            values = hyperparameters(Config(loss=loss, optimizer=name, schedule=schedule))
            assert values.keys() <= HPARAM_RANGES.keys()
            assert values["learning_rate"] == OPTIMIZERS[name].learning_rate


@pytest.mark.parametrize(
    "config, name, message",
    [
        (Config(optimizer="adam"), "momentum", "--momentum has no effect with --optimizer=adam"),
        (Config(optimizer="sgd"), "b1", "which read label_smoothing, learning_rate, weight_decay"),
        (Config(loss="hinge"), "label_smoothing", "--loss=hinge"),
        (Config(schedule="cosine"), "warmup_fraction", "--schedule=cosine"),
        (Config(), "dropout_rate", "dropout layers"),
        (Config(), "clip_norm", "--clip_norm has no effect"),
        (Config(), "no_such_number", "--no_such_number"),
    ],
)
def test_a_number_that_is_not_read_is_refused(config: Config, name: str, message: str):
    with pytest.raises(UsageError, match=message):
        hyperparameters(config, {name: 0.1})


READERS = Config(
    Architecture(dropout=True),
    "focal",
    "adamw",
    "warmup_cosine",
    clip=True,
    bias_group=True,
    lookahead=True,
    average=True,
), Config(optimizer="momentum", schedule="step"), Config(loss="hinge"), Config(
    optimizer="muon_sgd", whitening_group=True
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(HPARAM_RANGES))
def test_ranges(name: str):
    config = next(config for config in READERS if name in hyperparameters(config))
    low, closed_low, high, closed_high = HPARAM_RANGES[name]
    inside = [low + 0.5, math.nextafter(low, 1)] + [low] * closed_low + [high] * closed_high
    outside = [-0.1, -math.inf, math.inf, math.nan]
    outside += [low] * (not closed_low) + [high] * (not closed_high)
    if math.isfinite(high):
        outside.append(math.nextafter(high, math.inf))
    for value in inside:
        assert hyperparameters(config, {name: value})[name] == value
    for value in outside:
        with pytest.raises(UsageError, match=rf"--{name} must be in .{low:g}, .*, got "):
            hyperparameters(config, {name: value})


def test_ranges_read_as_intervals():
    assert describe_range("learning_rate") == "(0, inf)"
    assert describe_range("momentum") == "[0, 1)"
    assert describe_range("warmup_fraction") == "[0, 1]"


def test_exponential_decay_cannot_end_at_zero():
    with pytest.raises(UsageError, match="--final_fraction must be positive"):
        hyperparameters(Config(schedule="exponential"), {"final_fraction": 0.0})


def test_config_is_a_key_of_compiled_programs():
    assert hash(Config()) == hash(Config())
    assert Config() == dataclasses.replace(Config(epochs=2), epochs=1)
