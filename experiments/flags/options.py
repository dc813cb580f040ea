"""The flags of a training run."""

import sys
from typing import Any

from absl import flags

from cnn_jax import data
from cnn_jax.errors import UsageError
from cnn_jax.models import MODELS
from cnn_jax.ops.augment import describe as describe_augmentations
from cnn_jax.studies.choices import CHOICES, DATA, FIELDS, MULTI_LABEL_LOSS
from cnn_jax.training import known_hyperparameters

FLAGS = flags.FLAGS

flags.DEFINE_multi_string(
    "extend",
    [],
    "A Python file that adds activations, losses, networks and more by cnn_jax's decorators. May "
    "be repeated.",
)

flags.DEFINE_string(
    "dataset",
    DATA["dataset"],
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
    DATA["resize"],
    CHOICES["resize"],
    "How --image_size makes squares: of the center, filled up at the sides, or stretched.",
)
flags.DEFINE_enum(
    "on_error",
    DATA["on_error"],
    CHOICES["on_error"],
    "Pictures that cannot be read: list them all and stop, or leave them out and say how many.",
)
flags.DEFINE_enum(
    "labels",
    DATA["labels"],
    CHOICES["labels"],
    "Where the labels of pictures stand, if there are two readings: in the names of folders, or in "
    "a table with one class a row or several labels.",
)
flags.DEFINE_string(
    "class_pattern",
    None,
    "Where the class stands in the names of pictures: {class}.* for cat.0.jpg; * is for anything.",
)
flags.DEFINE_integer(
    "train_examples", None, "Train on this many examples only, drawn by class.", lower_bound=1
)
flags.DEFINE_float(
    "validation_fraction",
    DATA["validation_fraction"],
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
flags.DEFINE_integer(
    "init_seed",
    None,
    "Decides initialization alone; --seed if not given.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)
flags.DEFINE_string(
    "init_from",
    None,
    "The folder of a run to start from its weights, and to normalize images as it did. Classes are "
    "matched by name; where they are others, the last layer is new.",
)
flags.DEFINE_enum(
    "keep_epoch",
    "last",
    CHOICES["keep_epoch"],
    "Which epoch is tested, and used afterwards: the last, or the one of the best accuracy on "
    "validation, which is kept beside the last.",
)
flags.DEFINE_integer(
    "patience",
    None,
    "Stop when the accuracy on validation has not risen for so many epochs.",
    lower_bound=1,
)
flags.DEFINE_string(
    "augment",
    "",
    "What is done to training images, by name with arguments after colons: flip,translate:4. Names "
    "are separated by commas or plus signs. --augment=help lists all.",
)

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
    "orthogonal and auto by the gain of the activation with its numbers too, so that every "
    "activation keeps the size of what passes through.",
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
    "fast on TPUs, recent GPUs and CPUs with AMX, and slower on other CPUs; tensorfloat32 rounds "
    "the factors of products on GPUs, and is float32 on CPUs; auto takes what is fastest here.",
    "freeze": "Layers that stay as they are, their running statistics too (by which they normalize "
    "then), by patterns of their names in the table that train prints: conv*,norm1.",
    "micro_batches": "Parts of a batch that are computed one after another, to need less memory.",
}


def _define(name: str, meaning: str) -> None:
    default = FIELDS[name]
    choices = CHOICES.get(name)
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


# What of them decides nothing that a run computes.
_NO_CHOICES = frozenset({"extend"})


def refresh() -> None:
    """Lets the flags have what was registered from outside since they were defined."""
    for name, known in CHOICES.items():
        parser = FLAGS[name].parser
        assert isinstance(parser, flags.EnumParser)
        parser.enum_values = sorted(known)
    for name, item in known_hyperparameters().items():
        if _is_new(name):
            meaning = f"Hyperparameter in {item.interval.text}: {item.help or 'from outside'}."
            flags.DEFINE_float(name, None, meaning)
            _share(name)
    for model, entry in MODELS.items():
        for name, default in entry.numbers:
            if _is_new(name):
                meaning = f"{model}: a number of this network, {default} if not given."
                define = flags.DEFINE_integer if isinstance(default, int) else flags.DEFINE_float
                define(name, None, meaning)
                _share(name)


def _is_new(name: str) -> bool:
    """Whether a number has no flag yet.

    Raises:
        UsageError: if its flag would be that of something else.
    """
    if name in FLAGS and FLAGS.find_module_defining_flag(name) != __name__:
        raise UsageError(f"the number {name} has the name of another flag; rename it")
    return name not in FLAGS


def _share(name: str) -> None:
    """Gives a new flag to every program that has the options of a run."""
    for module, keys in list(FLAGS.key_flags_by_module_dict().items()):
        if FLAGS["learning_rate"] in keys and module != __name__:
            FLAGS.register_key_flag_for_module(module, FLAGS[name])


def given() -> dict[str, Any]:
    """The options that the command line or a flagfile gives, by name, with their values."""
    if (FLAGS.dataset or "").strip() == "help":
        print(data.describe_layouts())
        sys.exit()
    if (FLAGS.augment or "").strip() == "help":
        print(describe_augmentations())
        sys.exit()
    return {
        flag.name: flag.value
        for flag in FLAGS.get_key_flags_for_module(__name__)
        if not flag.using_default_value and flag.value is not None and flag.name not in _NO_CHOICES
    }
