"""Every augmentation that can be asked for by name, and what its arguments may be."""

from inspect import Parameter
from typing import NamedTuple, Protocol

from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.ops.augment.batch import cutmix, mixup
from cnn_jax.ops.augment.geometry import (
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
from cnn_jax.ops.hyperparameters import Interval, OneOf, Whole, annotations, keyword_arguments

Allowed = Interval | Whole | OneOf


class OfImage(Protocol):
    """What is done to one image; its arguments are keyword arguments with defaults."""

    def __call__(self, key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """The image, augmented."""


class OfBatch(Protocol):
    """What is done to a batch and its targets; its arguments are as in `OfImage`."""

    def __call__(
        self, key: PRNGKeyArray, images: Float[Array, "n h w c"], targets: Float[Array, "n classes"]
    ) -> tuple[Float[Array, "n h w c"], Float[Array, "n classes"]]:
        """The images and targets, mixed."""


class Augmentation(NamedTuple):
    """What can be asked for by name.

    Attributes:
        function: of one image or of a batch. Its arguments are the keyword-only ones; what each
            may be is in its annotation.
        meaning: in one line.
        batch: whether it works on a batch and its targets.
        color: whether it needs three channels.
        by_epoch: whether it takes the epoch, and one key per image for the whole run.
    """

    function: OfImage | OfBatch
    meaning: str
    batch: bool = False
    color: bool = False
    by_epoch: bool = False

    def arguments(self) -> dict[str, Allowed]:
        """What each argument may be, in their order."""
        return {
            name: (annotations(parameter, Allowed) or [Interval()])[0]
            for name, parameter in self._parameters().items()
        }

    def defaults(self) -> dict[str, float | int | str]:
        """The arguments and the values they have where none is given."""
        return {name: parameter.default for name, parameter in self._parameters().items()}

    def _parameters(self) -> dict[str, Parameter]:
        found = keyword_arguments(self.function)
        return {name: found[name] for name in found if not (self.by_epoch and name == "epoch")}


AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": Augmentation(horizontal_flip, "mirror left and right"),
    "alternating_flip": Augmentation(
        alternating_flip, "mirror left and right in every other epoch", by_epoch=True
    ),
    "translate": Augmentation(translate, "shift by up to so many pixels each way"),
    "random_resized_crop": Augmentation(
        random_resized_crop, "stretch a window of at least this share of the area"
    ),
    "rotate": Augmentation(rotate, "turn by up to so many degrees either way"),
    "shear": Augmentation(shear, "slant by up to so many degrees along each axis"),
    "scale": Augmentation(scale, "zoom in or out by up to this factor"),
    "elastic": Augmentation(
        elastic, "move pixels by a random field, alpha pixels strong and sigma pixels smooth"
    ),
    "cutout": Augmentation(cutout, "hide a square of this side"),
    "random_erasing": Augmentation(
        random_erasing, "hide a rectangle of up to this share of the area"
    ),
    "brightness": Augmentation(brightness, "multiply by 1 - strength to 1 + strength"),
    "contrast": Augmentation(contrast, "stretch about the mean, likewise"),
    "saturation": Augmentation(saturation, "stretch about gray, likewise", color=True),
    "hue": Augmentation(hue, "turn the color wheel by up to so many turns either way", color=True),
    "grayscale": Augmentation(grayscale, "take the color away", color=True),
    "invert": Augmentation(invert, "take the negative"),
    "gaussian_noise": Augmentation(
        gaussian_noise, "add noise of this standard deviation (white is 1)"
    ),
    "blur": Augmentation(blur, "blur by a Gaussian of up to this width in pixels"),
    "rand_augment": Augmentation(rand_augment, "RandAugment: n random operations of one magnitude"),
    "trivial_augment": Augmentation(
        trivial_augment, "TrivialAugment: one random operation of random strength"
    ),
    "mixup": Augmentation(mixup, "mix examples and their targets", batch=True),
    "cutmix": Augmentation(cutmix, "paste a box of another example, targets too", batch=True),
}
