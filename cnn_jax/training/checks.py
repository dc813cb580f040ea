"""What a config asks that its data, its network or the devices cannot give: refused in one line.

All of it is known before anything is compiled.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_jax.errors import FIELD, FieldError, UsageError
from cnn_jax.models import Architecture, build_abstract, check_logits, split_variables
from cnn_jax.ops import LOSSES, augment
from cnn_jax.training.config import Config
from cnn_jax.training.step import is_frozen, layer_names
from cnn_jax.training.task import Task, examples_together, labeling
from cnn_jax.training.weights import Weights, last_layer


def check(config: Config, task: Task, devices: int, start: Weights | None) -> None:
    """Refuses a run that could not be trained.

    Args:
        config: the static choices.
        task: the shape of the problem.
        devices: that every batch is split over.
        start: the weights of another run that it starts from, or None.

    Raises:
        UsageError: if JAX computes in 64 bits, the images are too small for the network, have no
            colors for an augmentation that needs them, or have several labels where the loss
            chooses one class.
        FieldError: naming the field that asks for what cannot be.
    """
    if jax.config.read("jax_enable_x64"):
        raise UsageError(
            "training computes in 32 bits, and JAX is set to 64: unset JAX_ENABLE_X64, or "
            "jax_enable_x64 of jax.config"
        )
    _check_channels(config, task)
    _check_resolutions(config, task)
    check_divides(config, devices)
    check_logits(config.architecture, task.image_shape, task.num_classes)
    _check_loss(config, task)
    _check_balance(config, task.multi_label)
    _check_layers(config, task, start)


def _check_channels(config: Config, task: Task) -> None:
    try:
        augment.check_channels(config.augment, task.image_shape[2])
    except ValueError as error:
        raise FieldError(f"{FIELD.augment}: {error}") from error


def _check_resolutions(config: Config, task: Task) -> None:
    """Refuses sizes no smaller than the images, and those of a network that depends on the size."""
    if not config.resolutions:
        return
    full = _shapes(config.architecture, task, task.image_shape)
    for pixels, _ in config.resolutions:
        height, width, channels = task.image_shape
        if pixels >= height:
            raise FieldError(
                f"{FIELD.resolutions}: {pixels} pixels are no smaller than the images, which have "
                f"{height}x{width}; the epochs after the smaller ones have that size anyway"
            )
        small = (pixels, round(pixels * width / height), channels)
        if _shapes(config.architecture, task, small) != full:
            raise FieldError(
                f"{FIELD.resolutions}: {FIELD.model}={config.architecture.model} flattens its "
                "feature maps, so its parameters depend on the size of the images; networks that "
                "pool them whole (airnet, vgg, resnets) do not"
            )


def check_divides(config: Config, devices: int) -> None:
    """Refuses devices that batches cannot be split over.

    Raises:
        FieldError: naming what would be right.
    """
    size = examples_together(config)
    if size % devices:
        fewer = max(n for n in range(1, devices) if size % n == 0)
        raise FieldError(
            f"batches of {size} cannot be split evenly over {devices} devices; give a "
            f"{FIELD.batch_size} that can, or {fewer} of them"
        )


def _check_balance(config: Config, multi_label: bool) -> None:
    """Refuses to balance classes where images have labels instead."""
    for name, value in (("class_weights", config.class_weights), ("sample", config.sample)):
        if multi_label and value == "balanced":
            raise FieldError(
                f"{FIELD[name]}=balanced needs images of one class each, and those of this data "
                "set have several labels"
            )


def _check_loss(config: Config, task: Task) -> None:
    """Refuses a loss that is none of so many classes, or of soft targets where there are any."""
    loss, labels = LOSSES[config.loss], labeling(config.loss, task.multi_label)
    rows = jax.ShapeDtypeStruct((2, task.num_classes), jnp.float32)
    kept = jax.ShapeDtypeStruct((2,), jnp.int32)
    if task.multi_label:
        kept = jax.ShapeDtypeStruct(rows.shape, jnp.uint8)
    try:
        jax.eval_shape(lambda logits, kept: loss(logits, labels.targets(kept)), rows, kept)
    except Exception as error:
        raise FieldError(
            f"{FIELD.loss}={config.loss} cannot be computed of {task.num_classes} classes: "
            f"{' '.join(str(error).split())}"
        ) from error
    if not augment.needs_soft_targets(config.augment):
        return
    try:
        jax.eval_shape(loss, rows, rows)
    except Exception as error:
        raise FieldError(
            f"{FIELD.augment} mixes examples, but {FIELD.loss}={config.loss} takes no soft "
            f"targets: {' '.join(str(error).split())}"
        ) from error


def _check_layers(config: Config, task: Task, start: Weights | None) -> None:
    """Refuses layers to freeze that are not there, and weights of another network."""
    if not config.freeze and start is None:
        return
    shape, classes = task.image_shape, task.num_classes
    drawn = split_variables(build_abstract(config.architecture, shape, classes))
    if start is not None:
        last = last_layer(config.architecture, shape, classes)
        jax.eval_shape(lambda *parts: start.into(parts, last), *drawn)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(drawn[0])[0]]
    layers = ", ".join(dict.fromkeys(layer_names(path)[0] for path in paths))
    for pattern in config.freeze:
        if not any(is_frozen([pattern], path) for path in paths):
            raise FieldError(f"{FIELD.freeze}={pattern} is no layer with parameters: {layers}")
    if all(is_frozen(config.freeze, path) for path in paths):
        raise FieldError(f"{FIELD.freeze} leaves no layer to train: {layers}")


def _shapes(architecture: Architecture, task: Task, image_shape: tuple[int, int, int]) -> list:
    model = build_abstract(architecture, image_shape, task.num_classes)
    return [leaf.shape for leaf in jax.tree.leaves(nnx.state(model))]
