"""What a model is built from: the static choices that change the program."""

from dataclasses import dataclass

from cnn_jax.ops.convolution import Lowering

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """The choices of a network's shape; hashable, so that programs can be compiled per choice.

    Attributes:
        model: a key of `MODELS`.
        activation: a key of `ACTIVATIONS` or `PARAMETRIC_ACTIVATIONS`.
        normalization: "none", "batch" or "group".
        dropout: whether the dropout layers are there (their rate is a hyperparameter).
        pooling: a key of `POOLINGS` (`cnn` and `lenet5`).
        filters: filters of each block's convolutions (`cnn`).
        width: times as many filters in every layer (`airnet` and `vgg`).
        kernel_size: height and width of the kernels in pixels (`cnn`).
        convolutions_per_block: convolutions before each pooling (`cnn`).
        hidden: neurons of each dense layer before the output (`cnn`).
        convolution: lowering of the convolutions, see `conv2d`.
    """

    model: str = "cnn"
    activation: str = "relu"
    normalization: str = "none"
    dropout: bool = False
    pooling: str = "max"
    filters: tuple[int, ...] = (32, 64)
    width: float = 1.0
    kernel_size: int = 3
    convolutions_per_block: int = 1
    hidden: tuple[int, ...] = (256,)
    convolution: Lowering = "auto"


# The choices that some models do not have; every other field is read by all of them.
MODEL_OPTIONS: dict[str, frozenset[str]] = {
    "airnet": frozenset({"width"}),
    "cnn": frozenset({"pooling", "filters", "kernel_size", "convolutions_per_block", "hidden"}),
    "lenet5": frozenset({"pooling"}),
    "resnet18": frozenset(),
    "resnet20": frozenset(),
    "resnet32": frozenset(),
    "resnet56": frozenset(),
    "vgg": frozenset({"width"}),
    "wide_resnet": frozenset(),
}
