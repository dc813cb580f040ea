"""Augmentations by name, as on a command line: "flip, translate:4, cutout:8".

`parse` reads such a text, `apply` runs what it says on a batch, `numbers` gives its numbers a name
each, under which `apply` takes traced ones in their place, and `describe` is the help text.

Names are separated by commas or plus signs; a colon stands before each argument, which is given by
position or as name=value: "cutout:size=8:fill=mean". "none" or nothing is no augmentation.
"""

import difflib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn_jax.ops.augment.registry import AUGMENTATIONS, Allowed, OfBatch
from cnn_jax.ops.hyperparameters import Interval, Number, OneOf, Whole


class AugmentationCall(NamedTuple):
    """An augmentation and a value for each of its arguments, in their order. Hashable."""

    name: str
    values: tuple[float | int | str, ...]


def parse(text: str) -> tuple[AugmentationCall, ...]:
    """Reads "flip, translate:4, cutout:8".

    Args:
        text: names with arguments, separated by commas or plus signs; see above.

    Returns:
        The augmentations in the order they are applied, each with all of its arguments.

    Raises:
        ValueError: names what could not be read, and what could be.
    """
    if text.strip() in ("", "none"):
        return ()
    calls = tuple(_parse_call(part.strip(), text) for part in re.split(r"[,+]", text))
    names = [call.name for call in calls]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} stands twice in {text!r}; give it once")
    return calls


def check_channels(calls: Sequence[AugmentationCall], channels: int) -> None:
    """Refuses what needs colors where images have none.

    Raises:
        ValueError: names the augmentation.
    """
    for call in calls:
        if AUGMENTATIONS[call.name].color and channels != 3:
            raise ValueError(
                f"{call.name} needs color images, of 3 channels; these have {channels}: "
                f"leave {call.name} out"
            )


def needs_soft_targets(calls: Sequence[AugmentationCall]) -> bool:
    """Whether the targets must be one-hot or soft, because examples are mixed."""
    return any(AUGMENTATIONS[call.name].batch for call in calls)


def numbers(calls: Sequence[AugmentationCall]) -> dict[str, float]:
    """The numbers of the augmentations, each of which may be traced.

    Returns:
        A value for each: an augmentation's first argument under the name of the augmentation,
        another under augmentation_argument: {"translate": 4.0, "elastic": 1.0, "elastic_sigma":
        4.0}. Words and counts are not among them, as they change the program.
    """
    return {
        name: float(value)
        for call in calls
        for argument, value in _arguments(call).items()
        if (name := _number_name(call.name, argument)) is not None
    }


def without_numbers(calls: Sequence[AugmentationCall]) -> tuple[AugmentationCall, ...]:
    """The augmentations with the defaults of all that `numbers` names: what stays is static."""
    return tuple(
        AugmentationCall(
            call.name,
            tuple(
                value
                if _number_name(call.name, argument) is None
                else AUGMENTATIONS[call.name].defaults()[argument]
                for argument, value in _arguments(call).items()
            ),
        )
        for call in calls
    )


def apply(
    calls: Sequence[AugmentationCall],
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    targets: Array,
    *,
    indices: Int[Array, " n"] | None = None,
    epoch: Number = 0,
    numbers: Mapping[str, Number] | None = None,
) -> tuple[Float[Array, "n h w c"], Array]:
    """Augments a batch, by one augmentation after the other in the order given.

    What happens to an example depends on the key, its index and the epoch: not on its place in the
    batch, on who else is in it, or on the other augmentations asked for. Only mixtures look at
    the batch; they draw by the index of its first example.

    Args:
        calls: from `parse`; static.
        key: the same over the whole run.
        images: values in [0, 1], floating point.
        targets: one-hot or soft rows where examples are mixed; otherwise anything, and returned
            as it is.
        indices: of the examples in the training set; their places in the batch if not given, and
            then the key must be another for each batch.
        epoch: epochs done, a whole number >= 0.
        numbers: values by the names of `numbers`, perhaps traced, to use in the place of those in
            the calls.

    Raises:
        ValueError: if the images are not a batch or lack colors that are needed.
        TypeError: if the images are not floating point, or examples are mixed and targets are not.
    """
    _check_images(images)
    check_channels(calls, images.shape[-1])
    if indices is None:
        indices = jnp.arange(images.shape[0])
    given = numbers or {}
    for call in calls:
        augmentation = AUGMENTATIONS[call.name]
        arguments = _arguments(call)
        for argument, value in arguments.items():
            name = _number_name(call.name, argument)
            arguments[argument] = value if name is None else given.get(name, value)
        # By its name, not its place, so that adding one leaves what the others draw as it was.
        stream = random.fold_in(key, zlib.crc32(call.name.encode()))
        if augmentation.by_epoch:
            arguments["epoch"] = epoch
        else:
            stream = random.fold_in(stream, epoch)
        if augmentation.batch:
            stream = random.fold_in(stream, indices[0])
            mix = cast(OfBatch, augmentation.function)
            images, targets = mix(stream, images, targets, **arguments)
        else:
            images = _each(augmentation.function, stream, indices, images, arguments)
        images = _computed_once(images)
    return images, targets


def describe() -> str:
    """The help text: every augmentation, its arguments with their defaults and what they may be."""
    lines = []
    width = max(map(len, AUGMENTATIONS)) + 2
    for name, augmentation in AUGMENTATIONS.items():
        lines.append(f"{name:{width}}{augmentation.meaning}")
        for argument, default in augmentation.defaults().items():
            shown = default if isinstance(default, str) else f"{default:.3g}"
            allowed = augmentation.arguments()[argument]
            lines.append(f"{'':{width}}  {argument}={shown}: {allowed}")
    return "\n".join(lines)


def _each(
    function: Callable, stream: PRNGKeyArray, indices: Array, images: Array, arguments: dict
) -> Array:
    def one(image: Array, index: Array) -> Array:
        return function(random.fold_in(stream, index), image, **arguments)

    return jax.vmap(one)(images, indices)


def _computed_once(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """The images, which whatever reads a pixel several times does not compute as often.

    XLA on CPU fuses a pixel's origin into each of its uses: four for each interpolation that
    follows, and as many as the first layer's kernel has pixels. It does so across optimization
    barriers, but not across a condition whose outcome it cannot know.
    """

    def on_cpu(images: Array) -> Array:
        return lax.cond(images[0, 0, 0, 0] < jnp.inf, lambda same: same, jnp.negative, images)

    return lax.platform_dependent(images, cpu=on_cpu, default=lambda same: same)


def _arguments(call: AugmentationCall) -> dict:
    return dict(zip(AUGMENTATIONS[call.name].arguments(), call.values, strict=True))


def _number_name(name: str, argument: str) -> str | None:
    """Under which name an argument can be traced, if it can."""
    arguments = AUGMENTATIONS[name].arguments()
    if not isinstance(arguments[argument], Interval):
        return None
    return name if argument == next(iter(arguments)) else f"{name}_{argument}"


def _check_images(images: Array) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must be n h w c, got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}")


def _parse_call(part: str, text: str) -> AugmentationCall:
    name, *given = (piece.strip() for piece in part.split(":"))
    if not name:
        raise ValueError(f"a name is missing in {text!r}; as in 'flip, translate:4'")
    if name == "none":
        raise ValueError(f"none stands alone, not with others as in {text!r}")
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}{_suggest(name, AUGMENTATIONS)}")
    allowed, values = AUGMENTATIONS[name].arguments(), AUGMENTATIONS[name].defaults()
    if len(given) > len(allowed):
        takes = f"takes {', '.join(allowed)}" if allowed else "takes no arguments"
        raise ValueError(f"too many arguments in {part!r}: {name} {takes}")
    seen: list[str] = []
    by_name = False
    for piece in given:
        argument, equals, value = (word.strip() for word in piece.rpartition("="))
        if not equals and by_name:
            raise ValueError(f"{value!r} in {part!r} needs its name: it comes after a named one")
        by_name = bool(equals)
        argument = argument if by_name else list(allowed)[len(seen)]
        if argument not in allowed:
            guess = _suggest(argument, allowed)
            raise ValueError(f"unknown argument {argument!r} in {part!r}{guess}")
        if argument in seen:
            raise ValueError(f"{argument} is given twice in {part!r}")
        seen.append(argument)
        values[argument] = _parse_value(f"{argument} of {name}", value, allowed[argument])
    return AugmentationCall(name, tuple(values.values()))


def _parse_value(what: str, text: str, allowed: Allowed) -> float | int | str:
    wrong = ValueError(f"{what} must be {allowed}, got {text!r}")
    if isinstance(allowed, OneOf):
        if text not in allowed.words:
            raise wrong
        return text
    try:
        value = int(text) if isinstance(allowed, Whole) else float(text)
    except ValueError:
        raise wrong from None
    inside = (
        value in allowed if isinstance(allowed, Interval) else allowed.low <= value <= allowed.high
    )
    if not inside:
        raise wrong
    return value


def _suggest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name.casefold(), known, n=1)
    guess = f": did you mean {close[0]}?" if close else "."
    return f"{guess} Known are {', '.join(sorted(known))}"
