"""Which numbers a run reads, their defaults, and which values they may take."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from cnn_jax.errors import FieldError, UsageError
from cnn_jax.models import Architecture
from cnn_jax.ops import LOSSES
from cnn_jax.training import (
    OPTIMIZERS,
    SCHEDULES,
    Config,
    augmentations,
    hyperparameters,
    known_hyperparameters,
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
            assert values.keys() <= known_hyperparameters().keys()
            assert values["learning_rate"] == OPTIMIZERS[name].learning_rate


@pytest.mark.parametrize(
    "config, name, message",
    [
        (Config(optimizer="adam"), "momentum", "^momentum has no effect with optimizer=adam"),
        (Config(optimizer="sgd"), "b1", "which read label_smoothing, learning_rate, weight_decay"),
        (Config(loss="hinge"), "label_smoothing", " loss=hinge"),
        (Config(schedule="cosine"), "warmup_fraction", " schedule=cosine"),
        (Config(), "dropout_rate", "dropout layers"),
        (Config(), "clip_norm", "^clip_norm has no effect"),
        (Config(), "no_such_number", "^no_such_number"),
    ],
)
def test_a_number_that_is_not_read_is_refused(config: Config, name: str, message: str):
    with pytest.raises(UsageError, match=message):
        hyperparameters(config, {name: 0.1})


FLIPS = augmentations("flip,translate:4,cutout:8:fill=mean")[0]
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


@pytest.mark.parametrize("name", list(known_hyperparameters()))
def test_ranges(name: str):
    config = next(config for config in READERS if name in hyperparameters(config))
    interval = known_hyperparameters()[name].interval
    low, high = interval.low, interval.high
    closed_low, closed_high = interval.text[0] == "[", interval.text[-1] == "]"
    inside = (
        [low + 0.5, float(np.nextafter(np.float32(low), np.float32(1)))]
        + [low] * closed_low
        + [high] * closed_high
    )
    outside = [-0.1, -math.inf, math.inf, math.nan]
    outside += [low] * (not closed_low) + [high] * (not closed_high)
    if math.isfinite(high):
        outside.append(math.nextafter(high, math.inf))
    for value in inside:
        assert hyperparameters(config, {name: value})[name] == value
    for value in outside:
        with pytest.raises(UsageError, match=rf"^{name} must be in .{low:g}, .*, got "):
            hyperparameters(config, {name: value})


def test_ranges_read_as_intervals():
    known = known_hyperparameters()
    assert known["learning_rate"].interval.text == "(0, inf)"
    assert known["momentum"].interval.text == "[0, 1)"
    assert str(known["warmup_fraction"].interval) == "a number in [0, 1]"


def test_exponential_decay_cannot_end_at_zero():
    with pytest.raises(UsageError, match="^final_fraction must be positive"):
        hyperparameters(Config(schedule="exponential"), {"final_fraction": 0.0})


def test_config_is_a_key_of_compiled_programs():
    assert hash(Config()) == hash(Config())
    assert Config() == dataclasses.replace(Config(epochs=2), epochs=5)


WRONG = [
    (
        lambda: Config(precision="float16"),
        "not one of bfloat16, float32, tensorfloat32; did you mean bfloat16?",
    ),
    (lambda: Config(loss="hinge2"), "weston_watkins; did you mean hinge?"),
    (lambda: Config(optimizer="adamm"), "did you mean adam?"),
    (lambda: Config(schedule="cosin"), "did you mean cosine?"),
    (lambda: Config(tta="flop"), "tta=flop is not one of"),
    (lambda: Config(epochs=0), "epochs must be positive whole numbers, got 0"),
    (lambda: Config(batch_size=1.5), "batch_size must be positive whole numbers, got 1.5"),
    (lambda: Config(micro_batches=3), "batch_size=128 cannot be cut into micro_batches=3 equal"),
    (lambda: Config(resolutions=((8, 9),)), "resolutions are of 9 epochs, and epochs=5 has fewer"),
    (lambda: Architecture(model="lenet"), "wide_resnet; did you mean lenet5?"),
    (lambda: Architecture(activation="rleu"), "did you mean relu?"),
    (lambda: Architecture(activation="ReLU"), "did you mean relu?"),
    (lambda: Architecture(pooling="mean"), "pooling=mean is not one of average, max"),
    (lambda: Architecture(normalization="layer"), "=layer is not one of batch, group, none"),
    (lambda: Architecture(convolution="fft"), "convolution=fft is not one of"),
    (lambda: Architecture(filters=(3, -1)), "filters must be positive whole numbers, got -1"),
    (lambda: Architecture(kernel_size=0), "kernel_size must be positive"),
    (lambda: Architecture(model="vgg", width=-1.0), "width must be a positive number"),
    (
        lambda: Architecture(model="lenet5", filters=(1, 2)),
        "filters has no effect with model=lenet5; it is for model=cnn",
    ),
]


@pytest.mark.parametrize("make, message", WRONG, ids=lambda item: item if callable(item) else "")
def test_a_choice_that_cannot_be_is_refused_by_its_field(make, message: str):
    with pytest.raises(FieldError, match=re.escape(message)) as caught:
        make()
    field = str(caught.value).split()[0].split("=")[0]
    assert caught.value.named("--").startswith(f"--{field}")


@pytest.mark.parametrize("config", [*READERS, Config(resolutions=((8, 1),), augment=FLIPS)])
def test_a_config_comes_back_from_json(config: Config):
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_field_is_refused():
    with pytest.raises(FieldError, match="depth is not a field of Config"):
        Config.from_json({**Config().to_json(), "depth": 3})
