"""Choices by name, as flags or arguments give them: a `Config`, hyperparameters and a data set.

A choice that is not given has its default. Messages name the choice; programs add the -- of flags.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from cnn_jax import compilation, data
from cnn_jax.errors import FIELD, FieldError, UsageError, check_choice
from cnn_jax.extend import ExtensionFile, loaded_files
from cnn_jax.models import MODELS, Architecture
from cnn_jax.models.architecture import CHOICES as ARCHITECTURE_CHOICES
from cnn_jax.models.architecture import unread
from cnn_jax.training import (
    Config,
    Task,
    augmentations,
    hyperparameters,
    known_hyperparameters,
    task_of,
)
from cnn_jax.training.config import CHOICES as CONFIG_CHOICES
from cnn_jax.training.config import PRECISIONS

Choices = Mapping[str, Any]

# The loss where images have several labels, if none is chosen.
MULTI_LABEL_LOSS = "binary_cross_entropy"

# What decides the data set and its splits, with the defaults.
DATA: dict[str, Any] = {
    "dataset": "mnist",
    "data_dir": None,
    "download": False,
    "image_size": None,
    "resize": "crop",
    "on_error": "refuse",
    "labels": "auto",
    "class_pattern": None,
    "train_examples": None,
    "validation_fraction": 0.1,
    "split_seed": 0,
}
# Where the data set is, which says nothing of what it holds.
_WHERE = frozenset({"data_dir", "download"})
PLACE = _WHERE | {"dataset"}
# How a folder of pictures is read, a data set by its name not.
_OF_FILES = ("on_error", "labels", "class_pattern")
_READING = ("image_size", "resize", *_OF_FILES)
# The fields of `Architecture` and `Config` that follow from other choices.
_FOLLOW = frozenset(
    {"architecture", "numbers", "dropout", "clip", "bias_group", "whitening_group", "lookahead"}
    | {"average"}
)
FIELDS: dict[str, Any] = {
    field.name: field.default
    for kind in (Architecture, Config)
    for field in fields(kind)
    if field.name not in _FOLLOW
}
# The choices of a run that are neither of its data nor fields of its config, the seed apart.
OF_RUN = ("init_seed", "init_from", "keep_epoch", "patience")
# Whole numbers without a default.
WHOLE = frozenset({"image_size", "train_examples", "patience", "init_seed"})
# A precision that is chosen by what the machine has.
AUTO = "auto"
# What each choice that is a word may be.
CHOICES: dict[str, Collection[str]] = {
    **ARCHITECTURE_CHOICES,
    **CONFIG_CHOICES,
    "precision": (*PRECISIONS, AUTO),
    "keep_epoch": ("best", "last"),
    "resize": data.RESIZE,
    "on_error": ("refuse", "skip"),
    "labels": data.LABELS,
}
_DEFAULTS = (
    DATA
    | FIELDS
    | {"seed": 0, "init_seed": None, "augment": "", "init_from": None}
    | {"keep_epoch": "last", "patience": None}
)


def known_choices() -> set[str]:
    """The names of all choices of a run."""
    numbers = {name for model in MODELS.values() for name, _ in model.numbers}
    return {*_DEFAULTS, *known_hyperparameters(), *numbers}


def parse(name: str, text: str) -> Any:
    """A choice from its text in a flagfile.

    Raises:
        ValueError: if it cannot be read as one.
    """
    if name in CHOICES and text not in CHOICES[name]:
        raise ValueError(f"value should be one of {', '.join(sorted(CHOICES[name]))}")
    if name == "download":
        return {"true": True, "false": False}[text]
    if name in WHOLE:
        return int(text)
    default = value_of({}, name)
    if isinstance(default, tuple):
        return [word for word in text.split(",") if word]
    own = dict(number for model in MODELS.values() for number in model.numbers)
    if name in own:
        return type(own[name])(text)
    numeric = isinstance(default, int | float) or name in known_hyperparameters()
    return (int if isinstance(default, int) else float)(text) if numeric else text


def value_of(choices: Choices, name: str) -> Any:
    """A choice, or its default."""
    return choices.get(name, _DEFAULTS.get(name))


def read_config(choices: Choices) -> Config:
    """The static choices; options that are not among `choices` have their defaults.

    Raises:
        UsageError: if a choice has no effect with the others or is not a list of positive integers.
    """
    given = {name: value_of(choices, name) for name in FIELDS if name != "augment"}
    model = given["model"]
    for name in ("keep_epoch", "resize", "on_error", "labels"):
        check_choice(name, value_of(choices, name), CHOICES[name])
    architecture = Architecture(model=model)
    for name in sorted(of_other_models(model) & choices.keys()):
        raise unread(name, model)
    given["filters"] = _positive_integers(choices, "filters", at_least=1)
    given["hidden"] = _positive_integers(choices, "hidden", at_least=0)
    network = {name: given.pop(name) for name in FIELDS if hasattr(architecture, name)}
    numbers = tuple(
        (name, choices[name])
        for name, default in MODELS[model].numbers
        if name in choices and choices[name] != default
    )
    dropout = bool(choices.get("dropout_rate"))
    given |= {"loss": _loss(choices), "resolutions": _resolutions(choices)}
    given["freeze"] = tuple(map(str, given["freeze"] or ()))
    if given["precision"] == AUTO:
        given["precision"] = compilation.fast_precision()
    return Config(
        Architecture(**network, dropout=dropout, numbers=numbers),
        **given,
        clip=choices.get("clip_norm") is not None,
        augment=augmentations(value_of(choices, "augment"))[0],
        bias_group=bool({"bias_rate", "bias_decay"} & choices.keys()),
        whitening_group="whitening_fraction" in choices and MODELS[model].from_data is not None,
        lookahead=bool({"lookahead_period", "lookahead_step"} & choices.keys()),
        average="average_decay" in choices,
    )


def read_hparams(config: Config, choices: Choices) -> dict[str, float]:
    """The numbers that the run reads: those chosen, defaults for the rest.

    Raises:
        UsageError: if a number is chosen that this config does not read, or is out of range.
    """
    known = known_hyperparameters()
    chosen = {name: value for name, value in choices.items() if name in known}
    if chosen.get("dropout_rate") == 0 and not config.architecture.dropout:
        del chosen["dropout_rate"]
    return hyperparameters(config, chosen | augmentations(value_of(choices, "augment"))[1])


def without_effect(choices: Choices) -> frozenset[str]:
    """The choices that have no effect with the others: another model's, another optimizer's."""
    others = of_other_models(value_of(choices, "model")) & choices.keys()
    others |= _of_other_data(choices).keys()
    config = read_config({name: value for name, value in choices.items() if name not in others})
    read = hyperparameters(config).keys() | {"dropout_rate"}
    return frozenset(others | ((known_hyperparameters().keys() & choices.keys()) - read))


def check_data_choices(choices: Choices) -> None:
    """Refuses a choice of how data are read that these data have no use for."""
    for name, needed in _of_other_data(choices).items():
        raise FieldError(f"{FIELD[name]}={choices[name]} has no effect without {needed}")


def _of_other_data(choices: Choices) -> dict[str, str]:
    """Such choices, and what they would need. To say what is so anyway is no mistake."""
    chosen = {name for name in _READING if choices.get(name, DATA[name]) != DATA[name]}
    found = {}
    if "resize" in chosen and value_of(choices, "image_size") is None:
        found["resize"] = str(FIELD.image_size)
    dataset, of_files = value_of(choices, "dataset"), chosen.intersection(_OF_FILES)
    # Every row of a sweep asks: the disk is looked at only where it matters.
    if of_files and not data.is_of_files(dataset):
        files = f"a folder or files: {FIELD.dataset}={dataset} is none here"
        found |= dict.fromkeys(sorted(of_files), files)
    return found


def read_pool(
    choices: Choices, *, test_only: bool = False, rule: data.PixelRule | None = None
) -> data.Dataset:
    """The whole data set, with what is to be said of it.

    Args:
        choices: by name.
        test_only: whether a data set that has nothing to train on will do.
        rule: by which values of pictures that are no bytes become bytes; None: by their range.

    Raises:
        UsageError: if the data cannot be read, or no part of them could be held out.
    """
    fraction = value_of(choices, "validation_fraction")
    if not 0 <= fraction < 1:
        raise FieldError(f"{FIELD.validation_fraction} must be in [0, 1), got {fraction:g}")
    dataset = data.load(
        value_of(choices, "dataset"),
        data_dir=value_of(choices, "data_dir"),
        download=value_of(choices, "download"),
        **{name: value_of(choices, name) for name in _READING},
        test_only=test_only,
        rule=rule,
    )
    if uneven := data.imbalance(dataset.train, dataset.class_names):
        return replace(dataset, notes=(*dataset.notes, uneven))
    return dataset


def divide(dataset: data.Dataset, choices: Choices) -> tuple[data.Dataset, data.Split]:
    """The data set with what the choices leave to train on, and the examples held out.

    Those are the validation split that the data come with, if they do.

    Raises:
        UsageError: if the split cannot be made.
    """
    if not len(dataset.train):
        return dataset, dataset.train
    fraction, seed = value_of(choices, "validation_fraction"), value_of(choices, "split_seed")
    train, validation = dataset.train, dataset.validation
    if validation is None:
        try:
            train, validation = data.hold_out(train, fraction, seed)
        except UsageError as error:
            raise FieldError(f"{error}; {FIELD.validation_fraction}=0 holds none out") from error
    count = value_of(choices, "train_examples")
    if count is not None:
        train = data.take(train, count, seed)
    return replace(dataset, train=train), validation


def read_dataset(choices: Choices) -> tuple[data.Dataset, data.Split]:
    """What `read_pool` reads, as `divide` divides it."""
    return divide(read_pool(choices), choices)


def data_choices(choices: Choices) -> tuple[tuple[str, Any], ...]:
    """What decides the data set and its splits: every data option with its value."""
    return tuple((name, value_of(choices, name)) for name in DATA)


def every_choice(
    choices: Choices,
    config: Config,
    hparams: dict[str, float],
    files: Sequence[ExtensionFile] | None = None,
) -> dict[str, Any]:
    """Every choice of a run by name: what must be the same to go on with it.

    Args:
        choices: options that were given.
        config: what they say.
        hparams: likewise, all its numbers.
        files: of functions from outside, which are known by what is in them; those that were read
            if None.
    """
    content = config.to_json()
    network = content.pop("architecture")
    # As runs were written down before networks had numbers of their own, and layers were frozen.
    network |= dict(network.pop("numbers"))
    frozen = content.pop("freeze")
    content |= {"freeze": frozen} if frozen else {}
    for name in OF_RUN:
        if (chosen := value_of(choices, name)) != _DEFAULTS[name]:
            content[name] = chosen
    held = {file.name: file.sha256 for file in (loaded_files() if files is None else files)}
    return (
        {name: value for name, value in data_choices(choices) if name not in _WHERE}
        | {"seed": value_of(choices, "seed")}
        | network
        | content
        | hparams
        | ({"extensions": held} if held else {})
    )


def read_task(dataset: data.Dataset) -> Task:
    """The shape of the problem, and how its images are normalized."""
    return task_of(dataset.train.images, dataset.train.labels, dataset.num_classes)


def of_other_models(model: str) -> frozenset[str]:
    """The choices that other models read, and not this one."""
    every = (entry.reads | dict(entry.numbers).keys() for entry in MODELS.values())
    own = MODELS[model].reads | dict(MODELS[model].numbers).keys()
    return frozenset().union(*every) - own


def _loss(choices: Choices) -> str:
    several = data.is_multi_label(value_of(choices, "dataset"), labels=value_of(choices, "labels"))
    return choices.get("loss", MULTI_LABEL_LOSS if several else Config.loss)


def _positive_integers(choices: Choices, name: str, at_least: int) -> tuple[int, ...]:
    given = value_of(choices, name)
    items = (given,) if isinstance(given, int | str) else tuple(given or ())
    words = [str(item).strip() for item in items if str(item).strip()]
    if len(words) < at_least or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise FieldError(
            f"{FIELD[name]} must be positive integers with commas between, got {','.join(words)!r}"
        )
    return tuple(int(word) for word in words)


def _resolutions(choices: Choices) -> tuple[tuple[int, int], ...]:
    stages = []
    for stage in value_of(choices, "resolutions") or ():
        text = ":".join(map(str, stage)) if isinstance(stage, tuple | list) else str(stage)
        words = text.split(":")
        if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
            raise FieldError(
                f"{FIELD.resolutions} must be PIXELS:EPOCHS with commas between, got {text!r}"
            )
        stages.append((int(words[0]), int(words[1])))
    return tuple(stages)
