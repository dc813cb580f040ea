"""What is static and what is traced: a `Config` is compiled in, hyperparameters are inputs."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cnn_jax.errors import FIELD, FieldError, check_choice
from cnn_jax.models import MODELS, NORMALIZATIONS, Architecture
from cnn_jax.models.architecture import check_positive_integers
from cnn_jax.ops import (
    ACTIVATIONS,
    DROPOUT_RATE,
    LOSSES,
    PARAMETRIC_ACTIVATIONS,
    POOLINGS,
    Hyperparameter,
    Interval,
    augment,
)
from cnn_jax.ops.augment import TEST_TIME, AugmentationCall
from cnn_jax.ops.hyperparameters import declared
from cnn_jax.training.optimizers import (
    OPTIMIZERS,
    averaged,
    clipped,
    lookahead,
    vector_rule,
    whitening_rate,
)
from cnn_jax.training.schedules import SCHEDULES

Hparams = dict[str, float]

PRECISIONS = ("bfloat16", "float32", "tensorfloat32")
CLASS_WEIGHTS = ("none", "balanced")
SAMPLES = ("shuffled", "balanced")

# What each field that is a word may be.
CHOICES: dict[str, Collection[str]] = {
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "tta": TEST_TIME,
    "precision": PRECISIONS,
    "class_weights": CLASS_WEIGHTS,
    "sample": SAMPLES,
}

# Begins the names of hyperparameters that are strengths of augmentations.
AUGMENT_PREFIX = "augment_"

LEARNING_RATE = Hyperparameter(
    1e-3, Interval("(0, inf)"), "the peak learning rate; depends on the optimizer if not given"
)


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
        class_weights: "balanced": the loss of an example counts in inverse proportion to the size
            of its class, 1 on average.
        sample: "shuffled": an epoch takes every example once; "balanced": it draws as many, every
            class as often as others.
        lookahead: whether slow parameters follow the optimizer's (see `optimizers.lookahead`).
        average: whether a running average of the parameters is kept and used in evaluation
            (hyperparameter `average_decay`).
        freeze: patterns of the names of layers that stay as they are, "conv*" for one.

    Raises:
        FieldError: if a choice is not known, out of range, or impossible with the others.
    """

    architecture: Architecture = Architecture()
    loss: str = "cross_entropy"
    optimizer: str = "adam"
    schedule: str = "constant"
    batch_size: int = 128
    epochs: int = 5
    clip: bool = False
    resolutions: tuple[tuple[int, int], ...] = ()
    augment: tuple[AugmentationCall, ...] = ()
    tta: str = "none"
    precision: str = "float32"
    micro_batches: int = 1
    class_weights: str = "none"
    sample: str = "shuffled"
    bias_group: bool = False
    whitening_group: bool = False
    lookahead: bool = False
    average: bool = False
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("batch_size", "epochs", "micro_batches"):
            check_positive_integers(name, (getattr(self, name),))
        for stage in self.resolutions:
            check_positive_integers("resolutions", stage)
        early = sum(epochs for _, epochs in self.resolutions)
        if early > self.epochs:
            raise FieldError(
                f"{FIELD.resolutions} are of {early} epochs, and {FIELD.epochs}={self.epochs} has "
                "fewer"
            )
        if self.sample == "balanced" and OPTIMIZERS[self.optimizer].full_batch:
            raise FieldError(
                f"{FIELD.sample}=balanced has no effect with {FIELD.optimizer}={self.optimizer}, "
                f"whose steps take all examples; {FIELD.class_weights}=balanced weighs them"
            )
        if self.batch_size % self.micro_batches:
            raise FieldError(
                f"{FIELD.batch_size}={self.batch_size} cannot be cut into "
                f"{FIELD.micro_batches}={self.micro_batches} equal parts"
            )

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Config":
        """The config that `to_json` wrote, perhaps through a file.

        Raises:
            FieldError: if a field is not known or has a value that it cannot have.
        """
        values = dict(content)
        architecture = _from_fields(Architecture, values.pop("architecture", {}))
        calls = tuple(AugmentationCall(name, _tuples(given)) for name, given in values["augment"])
        return replace(_from_fields(cls, values), architecture=architecture, augment=calls)


def _from_fields(kind: Callable[..., Any], content: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in content.keys() - known:
        raise FieldError(f"{FIELD[name]} is not a field of {kind.__name__}")
    return kind(**{name: _tuples(value) for name, value in content.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def augmentations(text: str) -> tuple[tuple[AugmentationCall, ...], Hparams]:
    """What `text` asks for, as the static part of a config and as hyperparameters.

    Texts that differ only in numbers ("translate:2", "translate:4") have the same static part, and
    so one program.

    Raises:
        FieldError: if the text cannot be read.
    """
    try:
        calls = augment.parse(text)
    except ValueError as error:
        raise FieldError(f"{FIELD.augment}: {error}; {FIELD.augment}=help lists all") from error
    named = {f"{AUGMENT_PREFIX}{name}": value for name, value in augment.numbers(calls).items()}
    return augment.without_numbers(calls), named


def hyperparameters(config: Config, chosen: Mapping[str, float] | None = None) -> Hparams:
    """The numbers that a run of `config` reads, each with its default or its chosen value.

    Args:
        config: the static choices.
        chosen: values by name, in place of the defaults.

    Raises:
        FieldError: if a chosen number is not read by this config or is out of range.
    """
    read = dict(_read(config))
    values = {name: item.default for name, item in read.items()}
    for name, value in augment.numbers(config.augment).items():
        values[AUGMENT_PREFIX + name] = value
    for name, value in (chosen or {}).items():
        if name not in values:
            raise _unread(name, config, values)
        if name in read and value not in read[name].interval:
            raise FieldError(
                f"{FIELD[name]} must be in {read[name].interval.text}, got {value:g} (numbers are "
                "of 32 bits)"
            )
        values[name] = value
    if config.schedule == "exponential" and values["final_fraction"] == 0:
        raise FieldError(
            f"{FIELD.final_fraction} must be positive with {FIELD.schedule}=exponential, got 0"
        )
    return values


def known_hyperparameters() -> dict[str, Hyperparameter]:
    """Every hyperparameter that some config reads, augmentations' strengths apart, by name.

    The default is that of the first function that reads it; others may have another.

    Raises:
        ValueError: if two functions say different things of a hyperparameter of one name.
    """
    found = {"learning_rate": LEARNING_RATE, "dropout_rate": DROPOUT_RATE}
    for function in [*(function for _, function in readers()), *_OPTIONAL.values()]:
        for name, item in declared(function).items():
            same = found.setdefault(name, item)
            says = item.interval, item.help
            # A number that says nothing of itself is the one that others declare.
            if says not in ((same.interval, same.help), (Interval(), "")):
                raise ValueError(f"{name} is declared in two ways: {same} and {item}")
    return dict(sorted(found.items()))


def readers() -> list[tuple[str, Callable[..., Any]]]:
    """The functions chosen by name that may have hyperparameters, each with its name."""
    return [
        *((name, item.build) for name, item in OPTIMIZERS.items()),
        *SCHEDULES.items(),
        *LOSSES.items(),
        *ACTIVATIONS.items(),
        *((name, item.function) for name, item in PARAMETRIC_ACTIVATIONS.items()),
        *((name, item) for name, item in NORMALIZATIONS.items() if item is not None),
        *POOLINGS.items(),
    ]


# What reads hyperparameters where a field of the config asks for it.
_OPTIONAL: dict[str, Callable[..., Any]] = {
    "clip": clipped,
    "bias_group": vector_rule,
    "whitening_group": whitening_rate,
    "lookahead": lookahead,
    "average": averaged,
}


def _read(config: Config) -> Iterator[tuple[str, Hyperparameter]]:
    """The hyperparameters of a config, in the order in which they are listed."""
    optimizer = OPTIMIZERS[config.optimizer]
    yield "learning_rate", replace(LEARNING_RATE, default=optimizer.learning_rate)
    numbers = declared(optimizer.build)
    chosen = (SCHEDULES[config.schedule], LOSSES[config.loss], *config.architecture.functions())
    for function in chosen:
        numbers |= declared(function)
    if config.architecture.dropout:
        numbers["dropout_rate"] = DROPOUT_RATE
    for field, function in _OPTIONAL.items():
        if getattr(config, field):
            numbers |= declared(function)
    if "weight_decay" not in numbers:
        numbers.pop("bias_decay", None)
    yield from numbers.items()


def _unread(name: str, config: Config, values: Mapping[str, float]) -> FieldError:
    if name == "dropout_rate":
        return FieldError(f"{FIELD.dropout_rate} needs a model with dropout layers")
    if name == "whitening_fraction":
        models = [name for name, model in MODELS.items() if model.from_data]
        return FieldError(
            f"{FIELD.whitening_fraction} needs a model with a whitening: {FIELD.model}="
            + " or ".join(models)
        )
    return FieldError(
        f"{FIELD[name]} has no effect with {FIELD.optimizer}={config.optimizer}, "
        f"{FIELD.schedule}={config.schedule} and {FIELD.loss}={config.loss}, which read "
        f"{', '.join(sorted(values))}"
    )
