"""The flags of a training run, and what they say as a `Config`, hyperparameters and a data set."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from absl import flags

from cnn_jax import data
from cnn_jax.errors import UsageError
from cnn_jax.models import MODELS, Architecture
from cnn_jax.models.architecture import CHOICES as ARCHITECTURE_CHOICES
from cnn_jax.ops.augment import describe as describe_augmentations
from cnn_jax.training import Config, Task, augmentations, hyperparameters, known_hyperparameters
from cnn_jax.training.config import CHOICES as CONFIG_CHOICES

from ..command_line import GROUPS

FLAGS = flags.FLAGS

# The loss where images have several labels, if none is chosen.
MULTI_LABEL_LOSS = "binary_cross_entropy"

flags.DEFINE_string(
    "dataset",
    "mnist",
    "What to train on: mnist (comes with the package), faces (drawn, several labels each), the "
    "name of any image-classification set of TensorFlow Datasets (cifar10, fashion_mnist, ...), or "
    "a path: a folder of pictures by class, perhaps in train, val and test; one with a table of "
    "labels; IDX files, CIFAR's binary version, .npz, .mat, tables of pixels; a .zip or .tar.gz of "
    "any of these. --dataset=help shows all layouts.",
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Where TensorFlow Datasets are prepared; TFDS_DATA_DIR or ~/tensorflow_datasets if not given.",
)
flags.DEFINE_bool(
    "download",
    False,
    "Download and prepare a TensorFlow data set that is not there yet; needs the network and "
    "pip install 'cnn_jax[prepare]'.",
)
flags.DEFINE_integer(
    "image_size", None, "Crop and resize every image to this many pixels square.", lower_bound=1
)
flags.DEFINE_enum(
    "resize",
    "crop",
    data.RESIZE,
    "How --image_size makes squares: of the center, filled up at the sides, or stretched.",
)
flags.DEFINE_enum(
    "on_error",
    "refuse",
    ("refuse", "skip"),
    "Pictures that cannot be read: list them all and stop, or leave them out and say how many.",
)
flags.DEFINE_enum(
    "labels",
    "auto",
    data.LABELS,
    "Where the labels of pictures stand, if there are two readings: in the names of folders, or in "
    "a table with one class a row or several labels.",
)
flags.DEFINE_string(
    "class_pattern",
    None,
    "Where the class stands in the names of pictures: {class}.* for cat.0.jpg; * is for anything.",
)
flags.DEFINE_bool(
    "list_files",
    False,
    "Print what the data set is, and every file of its folder with what it is used as or why it is "
    "left out, and stop.",
)
flags.DEFINE_integer(
    "train_examples", None, "Train on this many examples only, drawn by class.", lower_bound=1
)
flags.DEFINE_float(
    "validation_fraction",
    0.1,
    "Fraction of the training examples held out, drawn by class: what to choose hyperparameters "
    "on, where the data come without validation split. The test split is read once, at the end.",
)
flags.DEFINE_integer(
    "split_seed",
    0,
    "Decides which training examples are held out and which --train_examples are drawn, so that "
    "runs of several seeds have the same.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)

flags.DEFINE_integer(
    "seed",
    0,
    "Decides initialization, data order and dropout.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)
flags.DEFINE_string(
    "augment",
    "",
    "What is done to training images, by name with arguments after colons: flip,translate:4. Names "
    "are separated by commas or plus signs. --augment=help lists all.",
)

# The flags that say how a folder of pictures is read.
_READING = ("image_size", "resize", "on_error", "labels", "class_pattern")

# The fields of Architecture and Config that have a flag of their name, with its help.
_FIELDS = {
    "model": "The network.",
    "activation": "The activation function after every hidden layer.",
    "normalization": "After every convolution.",
    "pooling": "How cnn and lenet5 shrink feature maps.",
    "filters": "cnn: the filters of each block's convolutions, which pooling follows.",
    "width": "airnet and vgg: times as many filters in every layer.",
    "kernel_size": "cnn: height and width of the kernels in pixels.",
    "convolutions_per_block": "cnn: convolutions before each pooling.",
    "hidden": "cnn: neurons of each dense layer before the output; empty for none.",
    "convolution": "How convolutions are computed: by platform, as matrix products, or as XLA's "
    "convolution.",
    "init": "How kernels begin that an activation follows: he, lecun and glorot by their inputs, "
    "orthogonal and auto by the activation's gain too, so that every activation keeps the size of "
    "what passes through.",
    "tta": "Test-time augmentation: the views of an image whose scores are averaged.",
    "loss": f"What training minimizes; if not given, {MULTI_LABEL_LOSS} where images have several "
    "labels.",
    "optimizer": "How parameters move. gradient_descent takes one step an epoch, along the "
    "gradient of the whole training set.",
    "schedule": "The learning rate over training, as a factor of --learning_rate.",
    "class_weights": "Whether the losses of rare classes count more, so that all classes count "
    "alike.",
    "batch_size": "Examples per step (per micro-batch in gradient_descent); at most all.",
    "sample": "What an epoch takes: every example once, or as many drawn so that every class is "
    "there as often as others.",
    "epochs": "Passes over the training set.",
    "resolutions": "Train the first epochs on smaller images, which cost less: 16:2,24:3 is two "
    "epochs at 16 pixels, three at 24 and the rest at full size. For networks that pool feature "
    "maps whole.",
    "precision": "Of the network's arithmetic; parameters stay float32. bfloat16 is about twice as "
    "fast on TPUs and recent GPUs, and slower on most CPUs.",
    "micro_batches": "Parts of a batch that are computed one after another, to need less memory.",
}


def _define(name: str, meaning: str) -> None:
    default = getattr(Architecture if hasattr(Architecture, name) else Config, name)
    choices = (ARCHITECTURE_CHOICES | CONFIG_CHOICES).get(name)
    if choices is not None:
        flags.DEFINE_enum(name, default, sorted(choices), meaning)
    elif isinstance(default, tuple):
        flags.DEFINE_list(name, list(map(str, default)), meaning)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, meaning, lower_bound=1)
    else:
        flags.DEFINE_float(name, default, meaning, lower_bound=0.01)


for _name, _meaning in _FIELDS.items():
    _define(_name, _meaning)
for _name, _item in known_hyperparameters().items():
    flags.DEFINE_float(_name, None, f"Hyperparameter in {_item.interval.text}: {_item.help}.")


Choices = Mapping[str, Any]


def given() -> dict[str, Any]:
    """The options that the command line or a flagfile gives, by name, with their values."""
    return {
        flag.name: flag.value
        for flag in FLAGS.get_key_flags_for_module(__name__)
        if not flag.using_default_value and flag.value is not None
    }


def read_config(choices: Choices) -> Config:
    """The static choices; options that are not among `choices` have their defaults.

    Raises:
        UsageError: if a choice has no effect with the others or is not a list of positive integers.
    """
    if _value(choices, "dataset").strip() == "help":
        print(data.describe_layouts())
        sys.exit()
    if _value(choices, "augment").strip() == "help":
        print(describe_augmentations())
        sys.exit()
    model = _value(choices, "model")
    for name in sorted(of_other_models(model) & choices.keys()):
        readers = [other for other, entry in MODELS.items() if name in entry.options]
        raise UsageError(
            f"--{name} has no effect with --model={model}; it is for --model={' or '.join(readers)}"
        )
    fields = {name: _value(choices, name) for name in _FIELDS}
    fields["filters"] = _positive_integers(choices, "filters", at_least=1)
    fields["hidden"] = _positive_integers(choices, "hidden", at_least=0)
    network = {name: fields.pop(name) for name in _FIELDS if hasattr(Architecture, name)}
    architecture = Architecture(**network, dropout=bool(_value(choices, "dropout_rate")))
    fields |= {"loss": _loss(choices), "resolutions": _resolutions(choices)}
    return Config(
        architecture,
        **fields,
        clip=_value(choices, "clip_norm") is not None,
        augment=augmentations(_value(choices, "augment"))[0],
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
    chosen = {name: value for name, value in choices.items() if name in known_hyperparameters()}
    if chosen.get("dropout_rate") == 0 and not config.architecture.dropout:
        del chosen["dropout_rate"]
    return hyperparameters(config, chosen | augmentations(_value(choices, "augment"))[1])


def without_effect(choices: Choices) -> frozenset[str]:
    """The choices that have no effect with the others: another model's, another optimizer's."""
    others = of_other_models(_value(choices, "model")) & choices.keys()
    config = read_config({name: value for name, value in choices.items() if name not in others})
    read = hyperparameters(config).keys() | {"dropout_rate"}
    return frozenset(others | ((known_hyperparameters().keys() & choices.keys()) - read))


def read_dataset(
    choices: Choices, *, test_only: bool = False, rule: data.PixelRule | None = None
) -> tuple[data.Dataset, data.Split]:
    """The data set with what the choices leave to train on, and the examples held out.

    Args:
        choices: by name.
        test_only: whether a data set that has nothing to train on will do.
        rule: by which values of pictures that are no bytes become bytes; None: by their range.

    Raises:
        UsageError: if the data cannot be read or the split cannot be made.
    """
    fraction, seed = _value(choices, "validation_fraction"), _value(choices, "split_seed")
    if not 0 <= fraction < 1:
        raise UsageError(f"--validation_fraction must be in [0, 1), got {fraction:g}")
    dataset = data.load(
        _value(choices, "dataset"),
        data_dir=_value(choices, "data_dir"),
        download=_value(choices, "download"),
        **{name: _value(choices, name) for name in _READING},
        test_only=test_only,
        rule=rule,
    )
    if uneven := data.imbalance(dataset.train, dataset.class_names):
        dataset = replace(dataset, notes=(*dataset.notes, uneven))
    if FLAGS.list_files:
        _list_files(dataset)
    if not len(dataset.train):
        return dataset, dataset.train
    train, validation = dataset.train, dataset.validation
    if validation is None:
        train, validation = data.hold_out(train, fraction, seed)
    count = _value(choices, "train_examples")
    if count is not None:
        train = data.take(train, count, seed)
    return replace(dataset, train=train), validation


def _list_files(dataset: data.Dataset) -> None:
    """Prints what a data set is and what became of every file of its folder; ends the program."""
    if dataset.account is None:
        raise UsageError(f"--list_files: {dataset.name} is not read from a folder")
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    shape = "x".join(map(str, dataset.image_shape))
    kind = "labels" if dataset.multi_label else "classes"
    heading = f"{dataset.name}: {sizes}, {shape}, {kind} {', '.join(dataset.class_names)}"
    try:
        print("\n".join([heading, *dataset.notes, *dataset.account.lines()]), flush=True)
    except BrokenPipeError:
        # Who reads has enough; Python would still complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit()


def data_choices(choices: Choices) -> tuple[tuple[str, Any], ...]:
    """What decides the data set and its splits: every data option with its value."""
    return tuple((name, _value(choices, name)) for name in GROUPS["data"] if name != "list_files")


def every_choice(choices: Choices, config: Config, hparams: dict[str, float]) -> dict[str, Any]:
    """Every choice of a run by name: what must be the same to go on with it."""
    fields = config.to_json()
    where = {"data_dir", "download"}
    return (
        {name: value for name, value in data_choices(choices) if name not in where}
        | {"seed": _value(choices, "seed")}
        | fields.pop("architecture")
        | fields
        | hparams
    )


def read_task(dataset: data.Dataset) -> Task:
    """The shape of the problem, and how its images are normalized."""
    mean, std = data.channel_statistics(dataset.train.images)
    return Task(
        dataset.image_shape,
        dataset.num_classes,
        tuple(map(float, mean)),
        tuple(map(float, std)),
        dataset.multi_label,
    )


def _value(choices: Choices, name: str) -> Any:
    return choices.get(name, FLAGS[name].default)


def _loss(choices: Choices) -> str:
    several = data.is_multi_label(_value(choices, "dataset"), labels=_value(choices, "labels"))
    return choices.get("loss", MULTI_LABEL_LOSS if several else FLAGS["loss"].default)


def of_other_models(model: str) -> frozenset[str]:
    """The options that other models read, and not this one."""
    options = (entry.options for entry in MODELS.values())
    return frozenset().union(*options) - MODELS[model].options


def _positive_integers(choices: Choices, name: str, at_least: int) -> tuple[int, ...]:
    words = [word.strip() for word in _value(choices, name) or () if word.strip()]
    if len(words) < at_least or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(
            f"--{name} must be positive integers with commas between, got {','.join(words)!r}"
        )
    return tuple(int(word) for word in words)


def _resolutions(choices: Choices) -> tuple[tuple[int, int], ...]:
    stages = []
    for text in _value(choices, "resolutions") or ():
        words = text.split(":")
        if len(words) != 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
            raise UsageError(
                f"--resolutions must be PIXELS:EPOCHS with commas between, got {text!r}"
            )
        stages.append((int(words[0]), int(words[1])))
    return tuple(stages)
