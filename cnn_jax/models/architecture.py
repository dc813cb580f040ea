"""What a model is built from: its static choices, and the models by name."""

from collections import ChainMap
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PyTree

from cnn_jax.errors import FIELD, FieldError, check_choice
from cnn_jax.models.initialization import INITIALIZATIONS
from cnn_jax.ops import ACTIVATIONS, LOWERINGS, PARAMETRIC_ACTIVATIONS, POOLINGS, Lowering

ImageShape = tuple[int, int, int]
# Functions of feature maps `n h w c`; None where there is nothing to do, or a Flax module does it.
NORMALIZATIONS: dict[str, Callable[..., Array] | None] = {
    "none": None,
    "batch": None,
    "group": None,
}
# The fields of `Architecture` that a network composed of our layers reads.
_OF_LAYERS = frozenset({"activation", "normalization", "dropout", "convolution"})


class Model(NamedTuple):
    """A network that can be asked for by name.

    Attributes:
        build: `(architecture, image shape, classes, rngs) -> layers by name`.
        options: the fields of `Architecture` that it reads and not every model does.
        from_data: `(statistics, normalized images) -> statistics`: what it takes from the training
            images before the first step, if anything.
        whole: whether `build` is called without the architecture, and may return one `nnx.Module`
            of its own, called on images, in the place of layers.
        outside: whether it is not one of the project's, so that nothing is known of its logits.
        numbers: of such a network, the static numbers that shape it, with their defaults.
    """

    build: Callable[..., Any]
    options: frozenset[str] = frozenset()
    from_data: Callable[[PyTree, Float[Array, "n h w c"]], PyTree] | None = None
    whole: bool = False
    outside: bool = False
    numbers: tuple[tuple[str, float], ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        """The fields of `Architecture` that make a difference to it."""
        return self.options if self.whole else self.options | _OF_LAYERS


# No computer holds the product of two layers that are wider, nor compiles more in minutes.
_MOST_WIDTH = 10_000
_MOST_UNITS = 10_000_000
_MOST_LAYERS = 200

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
        normalization: a key of `NORMALIZATIONS`.
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
        numbers: those that shape a network from outside, by name, where not its defaults.

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
    numbers: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("filters", "hidden"):
            check_positive_integers(name, getattr(self, name), _MOST_UNITS)
        for name in ("kernel_size", "convolutions_per_block"):
            check_positive_integers(name, (getattr(self, name),))
        if not 0 < self.width <= _MOST_WIDTH:
            raise FieldError(
                f"{FIELD.width} must be a positive number up to {_MOST_WIDTH:,}, got {self.width:g}"
            )
        self._check_depth()
        self._check_read()

    def functions(self) -> list[Callable[..., Array]]:
        """The functions chosen by name that its layers call: what may have hyperparameters."""
        reads = MODELS[self.model].reads
        found: list[Callable[..., Array] | None] = []
        if "activation" in reads:
            parametric = PARAMETRIC_ACTIVATIONS.get(self.activation)
            found.append(parametric.function if parametric else ACTIVATIONS[self.activation])
        if "normalization" in reads:
            found.append(NORMALIZATIONS[self.normalization])
        if "pooling" in reads:
            found.append(POOLINGS[self.pooling])
        return [function for function in found if function is not None]

    def _check_depth(self) -> None:
        layers = len(self.filters) * self.convolutions_per_block + len(self.hidden)
        if layers > _MOST_LAYERS:
            raise FieldError(
                f"{FIELD.filters}, {FIELD.convolutions_per_block}={self.convolutions_per_block} "
                f"and {FIELD.hidden} make {layers:,} layers, which would compile for hours; give "
                f"at most {_MOST_LAYERS}"
            )

    def _check_read(self) -> None:
        model = MODELS[self.model]
        for field in fields(self):
            readers = [name for name, other in MODELS.items() if field.name in other.reads]
            if field.name in model.reads or not readers:
                continue
            if getattr(self, field.name) != field.default:
                raise unread(field.name, self.model)
        known = dict(model.numbers)
        for name, _ in self.numbers:
            if name not in known:
                raise FieldError(f"{FIELD[name]} is not a number of {FIELD.model}={self.model}")


def unread(field: str, model: str) -> FieldError:
    """What is wrong with a choice that a model does not read, and for which models it is."""
    readers = " or ".join(name for name, other in MODELS.items() if field in other.options)
    whole = "a network of its own, not of our layers"
    return FieldError(
        f"{FIELD[field]} has no effect with {FIELD.model}={model}"
        + (f"; it is for {FIELD.model}={readers}" if readers else f", which is {whole}")
    )


def check_positive_integers(field: str, values: tuple[int, ...], most: int = 2**31 - 1) -> None:
    """Refuses what is not a positive whole number, or is greater than any of use.

    Raises:
        FieldError: naming the field.
    """
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise FieldError(f"{FIELD[field]} must be positive whole numbers, got {value!r}")
        if value > most:
            raise FieldError(f"{FIELD[field]} must be at most {most:,}, got {value:,}")
