"""Every augmentation that can be asked for by name, and what its arguments may be."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

from cnn_jax.ops.augment.batch import cutmix, mixup
from cnn_jax.ops.augment.geometry import (
    PADDINGS,
    alternating_flip,
    elastic,
    horizontal_flip,
    random_resized_crop,
    rotate,
    scale,
    shear,
    translate,
)
from cnn_jax.ops.augment.pixels import (
    FILLS,
    blur,
    brightness,
    contrast,
    cutout,
    gaussian_noise,
    grayscale,
    hue,
    invert,
    random_erasing,
    saturation,
)
from cnn_jax.ops.augment.policy import rand_augment, trivial_augment

INFINITY = float("inf")


class Between(NamedTuple):
    """The numbers an argument may be, both ends included; it may be traced."""

    low: float
    high: float

    def __str__(self) -> str:
        if self.high == INFINITY:
            return f"a number from {self.low:g} up"
        return f"a number from {self.low:g} to {self.high:g}"


class Whole(NamedTuple):
    """The whole numbers an argument may be, both ends included; it is static."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


class OneOf(NamedTuple):
    """The words an argument may be; it is static."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return " or ".join(self.words)


Allowed = Between | Whole | OneOf


class Augmentation(NamedTuple):
    """What can be asked for by name.

    Attributes:
        function: `(key, image, **arguments) -> image`, or over a batch
            `(key, images, targets, **arguments) -> (images, targets)`.
        meaning: in one line.
        arguments: what each may be, in the order of the function's keyword arguments.
        batch: whether it works on a batch and its targets.
        color: whether it needs three channels.
        by_epoch: whether it takes the epoch, and one key per image for the whole run.
    """

    function: Callable
    meaning: str
    arguments: dict[str, Allowed] = {}
    batch: bool = False
    color: bool = False
    by_epoch: bool = False

    def defaults(self) -> dict[str, float | int | str]:
        """The arguments and the values they have where none is given."""
        parameters = inspect.signature(self.function).parameters
        return {name: parameters[name].default for name in self.arguments}


PROBABILITY = Between(0, 1)
POSITIVE = Between(0, INFINITY)

AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": Augmentation(horizontal_flip, "mirror left and right", {"p": PROBABILITY}),
    "alternating_flip": Augmentation(
        alternating_flip, "mirror left and right in every other epoch", by_epoch=True
    ),
    "translate": Augmentation(
        translate,
        "shift by up to so many pixels each way",
        {"pixels": POSITIVE, "padding": OneOf(PADDINGS)},
    ),
    "random_resized_crop": Augmentation(
        random_resized_crop,
        "stretch a window of at least this share of the area",
        {"area": Between(0.01, 1), "ratio": Between(1, 10)},
    ),
    "rotate": Augmentation(
        rotate, "turn by up to so many degrees either way", {"degrees": Between(0, 180)}
    ),
    "shear": Augmentation(
        shear, "slant by up to so many degrees along each axis", {"degrees": Between(0, 44)}
    ),
    "scale": Augmentation(scale, "zoom in or out by up to this factor", {"factor": Between(1, 10)}),
    "elastic": Augmentation(
        elastic,
        "move pixels by a random field, alpha pixels strong and sigma pixels smooth",
        {"alpha": POSITIVE, "sigma": POSITIVE},
    ),
    "cutout": Augmentation(
        cutout, "hide a square of this side", {"size": POSITIVE, "fill": OneOf(FILLS)}
    ),
    "random_erasing": Augmentation(
        random_erasing,
        "hide a rectangle of up to this share of the area",
        {"p": PROBABILITY, "area": Between(0, 1), "ratio": Between(1, 10), "fill": OneOf(FILLS)},
    ),
    "brightness": Augmentation(
        brightness, "multiply by 1 - strength to 1 + strength", {"strength": POSITIVE}
    ),
    "contrast": Augmentation(contrast, "stretch about the mean, likewise", {"strength": POSITIVE}),
    "saturation": Augmentation(
        saturation, "stretch about gray, likewise", {"strength": POSITIVE}, color=True
    ),
    "hue": Augmentation(
        hue,
        "turn the color wheel by up to so many turns either way",
        {"turns": Between(0, 0.5)},
        color=True,
    ),
    "grayscale": Augmentation(grayscale, "take the color away", {"p": PROBABILITY}, color=True),
    "invert": Augmentation(invert, "take the negative", {"p": PROBABILITY}),
    "gaussian_noise": Augmentation(
        gaussian_noise, "add noise of this standard deviation (white is 1)", {"std": POSITIVE}
    ),
    "blur": Augmentation(
        blur, "blur by a Gaussian of up to this width in pixels", {"sigma": POSITIVE}
    ),
    "rand_augment": Augmentation(
        rand_augment,
        "RandAugment: n random operations of one magnitude",
        {"n": Whole(1, 16), "magnitude": Between(0, 30)},
    ),
    "trivial_augment": Augmentation(
        trivial_augment, "TrivialAugment: one random operation of random strength"
    ),
    "mixup": Augmentation(mixup, "mix examples and their targets", {"alpha": POSITIVE}, batch=True),
    "cutmix": Augmentation(
        cutmix, "paste a box of another example, targets too", {"alpha": POSITIVE}, batch=True
    ),
}
