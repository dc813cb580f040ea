"""What a model is built from: its static choices, and the models by name."""

from collections import ChainMap
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from flax import nnx
from jaxtyping import Array, Float, PyTree

from cnn_jax.errors import FIELD, FieldError, check_choice
from cnn_jax.models.initialization import INITIALIZATIONS
from cnn_jax.ops import ACTIVATIONS, LOWERINGS, PARAMETRIC_ACTIVATIONS, POOLINGS, Lowering

ImageShape = tuple[int, int, int]
NORMALIZATIONS = ("none", "batch", "group")


class Model(NamedTuple):
    """A network that can be asked for by name.

    Attributes:
        build: `(architecture, image shape, classes, rngs) -> layers by name`.
        options: the fields of `Architecture` that it reads and not every model does.
        from_data: `(statistics, normalized images) -> statistics`: what it takes from the training
            images before the first step, if anything.
    """

    build: Callable[..., dict[str, nnx.Module]]
    options: frozenset[str] = frozenset()
    from_data: Callable[[PyTree, Float[Array, "n h w c"]], PyTree] | None = None


# Filled where the networks are.
MODELS: dict[str, Model] = {}
# What each field that is a word may be.
CHOICES: dict[str, Collection[str]] = {
    "model": MODELS,
    "activation": ChainMap[str, Any](ACTIVATIONS, PARAMETRIC_ACTIVATIONS),
    "normalization": NORMALIZATIONS,
    "pooling": POOLINGS,
    "convolution": LOWERINGS,
    "init": INITIALIZATIONS,
}


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
        init: a key of `INITIALIZATIONS`: how kernels begin that an activation follows (not
            `airnet`, which has its own).

    Raises:
        FieldError: if a choice is not known, out of range, or not read by the model.
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
    init: str = "lecun"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("filters", "hidden"):
            check_positive_integers(name, getattr(self, name))
        for name in ("kernel_size", "convolutions_per_block"):
            check_positive_integers(name, (getattr(self, name),))
        if not 0 < self.width < float("inf"):
            raise FieldError(f"{FIELD.width} must be a positive number, got {self.width}")
        self._check_read()

    def _check_read(self) -> None:
        for field in fields(self):
            readers = [name for name, model in MODELS.items() if field.name in model.options]
            unread = readers and self.model not in readers
            if unread and getattr(self, field.name) != field.default:
                raise FieldError(
                    f"{FIELD[field.name]} has no effect with {FIELD.model}={self.model}; it is for "
                    f"{FIELD.model}={' or '.join(readers)}"
                )


def check_positive_integers(field: str, values: tuple[int, ...]) -> None:
    """Refuses what is not a positive whole number.

    Raises:
        FieldError: naming the field.
    """
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise FieldError(f"{FIELD[field]} must be positive whole numbers, got {value!r}")
