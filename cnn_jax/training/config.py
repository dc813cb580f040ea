"""What is static and what is traced: a `Config` is compiled in, hyperparameters are inputs."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.ops import augment
from cnn_jax.ops.augment import AugmentationCall
from cnn_jax.ops.losses import LOSSES
from cnn_jax.training.optimizers import OPTIMIZERS, lookahead
from cnn_jax.training.schedules import SCHEDULES

Hparams = dict[str, float]

PRECISIONS = ("bfloat16", "float32")

# Begins the names of hyperparameters that are strengths of augmentations.
AUGMENT_PREFIX = "augment_"


@dataclass(frozen=True)
class Config:
    """The static choices of a run; one compiled program per combination.

    Attributes:
        architecture: the network.
        loss: a key of `LOSSES`.
        optimizer: a key of `OPTIMIZERS`.
        schedule: a key of `SCHEDULES`.
        batch_size: examples per step; for full-batch gradient descent, per micro-batch.
        epochs: passes over the training set.
        clip: whether gradients are clipped (to the hyperparameter `clip_norm`).
        resolutions: height in pixels and number of epochs of the first stages of training, whose
            images are smaller than those of the rest.
        augment: what is done to training images, without its numbers (see `augmentations`).
        tta: a key of `TEST_TIME`: the views of an image whose logits are averaged in evaluation.
        precision: of the network's arithmetic, a member of `PRECISIONS`; parameters, statistics,
            losses and updates are float32 throughout.
        micro_batches: parts of a batch whose gradients are summed before an update; as one batch,
            in less memory, except that batch normalization sees the parts.
        bias_group: whether biases and the vectors of normalization have a learning rate and weight
            decay of their own (hyperparameters `bias_rate`, `bias_decay`: factors of the kernels').
        whitening_group: whether the bias of a whitening is trained in the beginning only, by a
            schedule of its own (hyperparameter `whitening_fraction`: how much of training that is).
        lookahead: whether slow parameters follow the optimizer's (see `optimizers.lookahead`).
        average: whether a running average of the parameters is kept and used in evaluation
            (hyperparameter `average_decay`).
    """

    architecture: Architecture = Architecture()
    loss: str = "cross_entropy"
    optimizer: str = "adam"
    schedule: str = "constant"
    batch_size: int = 128
    epochs: int = 1
    clip: bool = False
    resolutions: tuple[tuple[int, int], ...] = ()
    augment: tuple[AugmentationCall, ...] = ()
    tta: str = "none"
    precision: str = "float32"
    micro_batches: int = 1
    bias_group: bool = False
    whitening_group: bool = False
    lookahead: bool = False
    average: bool = False


def augmentations(text: str) -> tuple[tuple[AugmentationCall, ...], Hparams]:
    """What `text` asks for, as the static part of a config and as hyperparameters.

    Texts that differ only in numbers ("translate:2", "translate:4") have the same static part, and
    so one program.

    Raises:
        UsageError: if the text cannot be read.
    """
    try:
        calls = augment.parse(text)
    except ValueError as error:
        raise UsageError(f"--augment: {error}; --augment=help lists all") from error
    named = {f"{AUGMENT_PREFIX}{name}": value for name, value in augment.numbers(calls).items()}
    return augment.without_numbers(calls), named


def hyperparameters(config: Config, chosen: Mapping[str, float] | None = None) -> Hparams:
    """The numbers that a run of `config` reads, each with its default or its chosen value.

    Args:
        config: the static choices.
        chosen: values by name, in place of the defaults.

    Raises:
        UsageError: if a chosen number is not read by this config or is out of range.
    """
    values = {"learning_rate": OPTIMIZERS[config.optimizer].learning_rate}
    for function in (
        OPTIMIZERS[config.optimizer].build,
        SCHEDULES[config.schedule],
        LOSSES[config.loss],
    ):
        values |= keyword_defaults(function)
    if config.architecture.dropout:
        values["dropout_rate"] = 0.5
    if config.clip:
        values["clip_norm"] = 1.0
    if config.bias_group:
        values["bias_rate"] = 1.0
        if "weight_decay" in values:
            values["bias_decay"] = 1.0
    if config.whitening_group:
        values["whitening_fraction"] = 1.0
    if config.lookahead:
        values |= keyword_defaults(lookahead)
    if config.average:
        values["average_decay"] = 0.999
    for name, value in augment.numbers(config.augment).items():
        values[AUGMENT_PREFIX + name] = value
    for name, value in (chosen or {}).items():
        if name not in values:
            raise UsageError(_unread(name, config, values))
        values[name] = value
    for name, value in values.items():
        if name in HPARAM_RANGES:
            _check_range(name, value)
    if config.schedule == "exponential" and values["final_fraction"] == 0:
        raise UsageError("--final_fraction must be positive with --schedule=exponential, got 0")
    return values


def keyword_defaults(function: Callable) -> dict[str, float]:
    """The keyword-only arguments of a function that have a default, with it."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }


def read_by(function: Callable, hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the hyperparameters that a function reads."""
    return {name: hparams[name] for name in keyword_defaults(function)}


# Lower bound, whether the bound itself is allowed, upper bound, whether it is allowed.
HPARAM_RANGES: dict[str, tuple[float, bool, float, bool]] = {
    "average_decay": (0, True, 1, False),
    "b1": (0, True, 1, False),
    "b2": (0, True, 1, False),
    "bias_decay": (0, True, float("inf"), False),
    "bias_rate": (0, True, float("inf"), False),
    "clip_norm": (0, False, float("inf"), False),
    "decay_factor": (0, True, 1, True),
    "dropout_rate": (0, True, 1, False),
    "epsilon": (0, False, float("inf"), False),
    "final_fraction": (0, True, 1, True),
    "focal_gamma": (0, True, float("inf"), False),
    "label_smoothing": (0, True, 1, False),
    "learning_rate": (0, False, float("inf"), False),
    "lookahead_period": (1, True, float("inf"), False),
    "lookahead_step": (0, False, 1, True),
    "margin": (0, False, float("inf"), False),
    "momentum": (0, True, 1, False),
    "muon_momentum": (0, True, 1, False),
    "sgd_rate": (0, True, float("inf"), False),
    "warmup_fraction": (0, True, 1, True),
    "weight_decay": (0, True, float("inf"), False),
    "whitening_fraction": (0, False, 1, True),
}


def describe_range(name: str) -> str:
    """The values that a hyperparameter may take, as an interval."""
    low, closed_low, high, closed_high = HPARAM_RANGES[name]
    return f"{'[' if closed_low else '('}{low:g}, {high:g}{']' if closed_high else ')'}"


def _check_range(name: str, value: float) -> None:
    low, closed_low, high, closed_high = HPARAM_RANGES[name]
    above = value >= low if closed_low else value > low
    below = value <= high if closed_high else value < high
    if not (above and below):
        raise UsageError(f"--{name} must be in {describe_range(name)}, got {value:g}")


def _unread(name: str, config: Config, values: Mapping[str, float]) -> str:
    if name == "dropout_rate":
        return "--dropout_rate needs a model with dropout layers"
    if name == "whitening_fraction":
        return "--whitening_fraction needs a model with a whitening: --model=airnet"
    return (
        f"--{name} has no effect with --optimizer={config.optimizer}, --schedule="
        f"{config.schedule} and --loss={config.loss}, which read {', '.join(sorted(values))}"
    )
