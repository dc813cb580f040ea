"""Augmentations: pure functions of a key and an image, and the grammar that names them.

`parse("flip,translate:4")` reads what is asked for, `apply` does it to a batch.
"""
# fmt: off

from cnn_jax.ops.augment.batch import (
    TEST_TIME, Views, cutmix, flip_translate_views, flip_views, mixup, no_views, translate_views,
)
from cnn_jax.ops.augment.geometry import (
    affine, alternating_flip, elastic, horizontal_flip, random_resized_crop, rotate, scale, shear,
    shift, translate,
)
from cnn_jax.ops.augment.grammar import (
    AugmentationCall, apply, check_channels, describe, needs_soft_targets, numbers, parse,
    without_numbers,
)
from cnn_jax.ops.augment.pixels import (
    adjust_blur, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, blur,
    brightness, contrast, cutout, gaussian_noise, grayscale, hue, invert, luminance, random_erasing,
    saturation,
)
from cnn_jax.ops.augment.policy import (
    adjust_sharpness, autocontrast, equalize, posterize, rand_augment, solarize, trivial_augment,
)
from cnn_jax.ops.augment.registry import (
    AUGMENTATIONS, Augmentation, OfBatch, OfImage,
)

__all__ = [
    "AUGMENTATIONS", "TEST_TIME", "Augmentation", "AugmentationCall", "OfBatch", "OfImage", "Views",
    "adjust_blur", "adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation",
    "adjust_sharpness", "affine", "alternating_flip", "apply", "autocontrast", "blur", "brightness",
    "check_channels", "contrast", "cutmix", "cutout", "describe", "elastic", "equalize",
    "flip_translate_views", "flip_views", "gaussian_noise", "grayscale", "horizontal_flip", "hue",
    "invert", "luminance", "mixup", "needs_soft_targets", "no_views", "numbers", "parse",
    "posterize", "rand_augment", "random_erasing", "random_resized_crop", "rotate", "saturation",
    "scale", "shear", "shift", "solarize", "translate", "translate_views", "trivial_augment",
    "without_numbers",
]
