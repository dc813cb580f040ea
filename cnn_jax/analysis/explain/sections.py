"""What the page that explains a network shows of the network itself, and of chosen images."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from cnn_jax import compilation
from cnn_jax.analysis.explain import attribution, charts, internals
from cnn_jax.analysis.explain.attribution import output
from cnn_jax.analysis.explain.network import Contributions, Evidence, TrainedNetwork
from cnn_jax.analysis.figures import to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# As many classes as are still seen at a glance.
_MAXIMIZED = 20
# With more layers than this, those inside of blocks are left out.
_LAYERS = 24
_TOTAL_VARIATION = 0.5
# Of a network from outside.
UNNAMED = "This network is one module whose layers have no names here, so its {} cannot be shown."


class Labeled(NamedTuple):
    """Images with their true classes, or multi-hot labels."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n l"]


class Chosen(NamedTuple):
    """The images to explain.

    Attributes:
        images: as the network's bytes.
        truths: what each truly shows, None where that is not known.
        names: what each is called.
        probabilities: of each, one row for each image.
        targets: the outputs of each whose evidence is shown.
    """

    images: UInt8[np.ndarray, "n h w c"]
    truths: Sequence[str | None]
    names: Sequence[str]
    probabilities: Float[np.ndarray, "n outputs"]
    targets: Int[np.ndarray, "n t"]


class Depth(NamedTuple):
    """How much is computed for the pictures.

    Attributes:
        samples: noisy copies of an image for SmoothGrad.
        overlap: how many patches of an occlusion cover a pixel, along each side.
        ascent: steps of activation maximization.
    """

    samples: int = 32
    overlap: int = 3
    ascent: int = 256


class Subject(NamedTuple):
    """The network that is explained.

    Attributes:
        trained: the network.
        contribute: what in images speaks for an output; compiled once for all sections.
        class_names: one for each output.
        chosen: the images to explain.
        train: what it was trained on.
        split: where mistakes and ambiguous images are looked for.
        probabilities: of the split, one row for each image.
        thresholds: of each label, where images have several; None where they have one class.
        depth: how much is computed.
        gone: why there are no training images and no split; empty where there are.
    """

    trained: TrainedNetwork
    contribute: Contributions
    class_names: Sequence[str]
    chosen: Chosen
    train: Labeled
    split: Labeled
    probabilities: Float[np.ndarray, "n outputs"]
    thresholds: Float[np.ndarray, "l"] | None
    depth: Depth = Depth()
    gone: str = ""


class Picture(NamedTuple):
    """A figure of the page: its address, and what it shows."""

    address: str
    caption: str = ""


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        anchor: its name in an address.
        link: its name in the list of sections.
        title: its heading.
        note: what is to be seen, and where it is from.
        pictures: its figures.
    """

    anchor: str
    link: str
    title: str
    note: str
    pictures: list[Picture]


def picture(figure: "Figure", caption: str = "") -> Picture:
    """The figure, sharp enough for a page."""
    return Picture(to_png(figure, dpi=110), caption)


def first_filters(subject: Subject) -> Section:
    """The kernels of the first convolution."""
    filters = subject.trained.filters()
    count, height, width, channels = filters.shape
    if not count:
        return Section(
            "filters",
            "Filters",
            "Filters of the first convolution",
            "None: this network has no convolution of the image.",
            [],
        )
    return Section(
        "filters",
        "Filters",
        "Filters of the first convolution",
        f"All {count} filters of {height}x{width} pixels and {channels} "
        f"{'channel' if channels == 1 else 'channels'}, each scaled by its largest weight. They "
        "are what training found worth looking for: edges of one direction, spots, colors.",
        [picture(charts.filter_grid(filters))],
    )


def maps_of_one_image(subject: Subject) -> Section:
    """The feature maps of the first chosen image."""
    chosen, trained = subject.chosen, subject.trained

    found = compilation.jit(_maps_of(trained))(trained.weights, chosen.images[:1])
    maps = {name: np.asarray(value[0]) for name, value in found.items()}
    if not maps:
        return Section("maps", "Feature maps", "Feature maps", UNNAMED.format("feature maps"), [])
    if len(maps) > _LAYERS:
        maps = {name: value for name, value in maps.items() if "." not in name}
    return Section(
        "maps",
        "Feature maps",
        f"Feature maps: {chosen.names[0]} on its way through the network",
        "What convolutions, normalizations, activations and poolings return, top to bottom; the "
        "first eight maps of each.",
        [picture(charts.feature_map_strips(chosen.images[0], maps))],
    )


def _maps_of(trained: TrainedNetwork) -> Callable[[PyTree, Array], dict[str, Array]]:
    """The function from weights and images to the feature maps."""
    return lambda weights, images: internals.feature_maps(
        trained.tapped(weights), trained.normalize(images)
    )


def evidence_in_images(subject: Subject) -> Section:
    """Five ways to say what in each chosen image speaks for its targets."""
    chosen = subject.chosen
    height, width = chosen.images.shape[1:3]
    patch = max(2, min(height, width) // 5)
    layer = _last_activation(subject)
    heats = _heats(subject, patch, max(1, patch // subject.depth.overlap), layer)
    count, each = chosen.targets.shape
    rows = np.arange(count * each).reshape(count, each)
    # Where an image has a row for each label, it has a picture of its own.
    parts = [rows[:, 0]] if each == 1 else list(rows)
    return Section(
        "evidence",
        "Evidence",
        f"What in an image speaks for a {'class' if subject.thresholds is None else 'label'}",
        "Left of each row what is explained, with its probability. Saliency: the gradient of its "
        "logit (Simonyan et al. 2013). SmoothGrad: its mean over noisy copies (Smilkov et al. "
        "2017). Integrated gradients: what each pixel contributes, counted from an empty image, of "
        "the training images' ground or their mean color (Sundararajan et al. 2017). Occlusion: "
        f"how far the logit drops where a patch of {patch}x{patch} pixels covers the image (Zeiler "
        f"and Fergus 2014). {_about_grad_cam(layer)} Each map has its own scale.",
        [
            picture(
                charts.explanation_rows(
                    chosen.images[part // each],
                    {name: heat[part] for name, heat in heats.items()},
                    [_caption(subject, *divmod(row, each)) for row in part],
                ),
                "" if each == 1 else _heading(chosen, part[0] // each),
            )
            for part in parts
        ],
    )


def _heats(
    subject: Subject, patch: int, stride: int, layer: str | None
) -> dict[str, Float[np.ndarray, "rows h w"]]:
    """The maps of every method, a row for each target of each image."""
    chosen, trained = subject.chosen, subject.trained
    images = np.repeat(chosen.images, chosen.targets.shape[1], axis=0)
    targets = chosen.targets.ravel().astype(np.int32)

    @compilation.jit
    def methods(weights: PyTree, images: Array, targets: Array) -> dict[str, Array]:
        logits_of = trained.logits_of(weights)
        images, target = trained.normalize(images), output(targets)
        smooth = attribution.smooth_grad(
            logits_of, images, target, jax.random.key(0), samples=subject.depth.samples
        )
        found = {
            "saliency": attribution.strength(attribution.saliency(logits_of, images, target)),
            "SmoothGrad": attribution.strength(smooth),
            "occlusion": attribution.occlusion(
                logits_of, images, target, patch, stride, trained.blank
            ).heat,
        }
        if layer is not None:
            network = trained.tapped(weights)
            found["Grad-CAM"] = attribution.grad_cam(network, images, target, layer)
        return found

    found = methods(trained.weights, images, targets)
    found["integrated gradients"] = subject.contribute(images, Evidence(targets))
    order = ("saliency", "SmoothGrad", "integrated gradients", "occlusion", "Grad-CAM")
    return {name: np.asarray(found[name]) for name in order if name in found}


def _about_grad_cam(layer: str | None) -> str:
    if layer is None:
        return f"No Grad-CAM: {UNNAMED.format('feature maps')}"
    return f"Grad-CAM: where the maps of {layer} speak for it (Selvaraju et al. 2017)."


def _caption(subject: Subject, image: int, place: int) -> str:
    """What the evidence in an image is about."""
    chosen = subject.chosen
    target = chosen.targets[image, place]
    probability = chosen.probabilities[image, target]
    caption = f"{subject.class_names[target]}: {probability:.0%}"
    truth = chosen.truths[image] if subject.thresholds is None else None
    return caption if truth is None else f"{caption}\ntrue {truth}"


def _heading(chosen: Chosen, image: int) -> str:
    truth = chosen.truths[image]
    return chosen.names[image] + ("" if truth is None else f": {truth}")


def _last_activation(subject: Subject) -> str | None:
    """The last layer with feature maps of several pixels, an activation if there is one.

    None in a network whose layers have no names.
    """
    trained = subject.trained
    maps = jax.eval_shape(_maps_of(trained), trained.weights, subject.chosen.images[:1])
    if not maps:
        return None
    several = [name for name, value in maps.items() if value.shape[1] * value.shape[2] > 1]
    outer = [name for name in several or maps if "." not in name]
    return ([name for name in outer if "activation" in name] or outer)[-1]


def best_of_each_class(subject: Subject) -> Section:
    """Activation maximization of the logit of each class."""
    trained, count = subject.trained, min(_MAXIMIZED, len(subject.class_names))
    shape = (count, *subject.chosen.images.shape[1:])
    channels = shape[-1]
    low, high = (
        np.asarray(trained.normalize(jnp.full((1, 1, 1, channels), byte, jnp.uint8)))[0, 0, 0]
        for byte in (0, 255)
    )

    @compilation.jit
    def ascend(weights: PyTree) -> tuple[Array, Array]:
        def logits(images: Array) -> Array:
            return output(jnp.arange(count))(trained.logits_of(weights)(images))

        images = internals.maximize(
            logits,
            shape,
            jax.random.key(0),
            steps=subject.depth.ascent,
            total_variation=_TOTAL_VARIATION,
            low=low,
            high=high,
        )
        return images, logits(images)

    images, logits = ascend(trained.weights)
    captions = [
        f"{name}: {value:.1f}" for name, value in zip(subject.class_names, logits, strict=False)
    ]
    kind = "class" if subject.thresholds is None else "label"
    return Section(
        "classes",
        "Classes" if subject.thresholds is None else "Labels",
        f"What the network takes for the best of each {kind}",
        f"Images found by following the gradient of a {kind}'s logit from noise, kept smooth "
        "(Erhan et al. 2009; Simonyan et al. 2013); beneath, the logit they reach. They need not "
        f"look like the {kind}: they show what the network asks for, and what it does not.",
        [picture(charts.image_grid(np.asarray(images), captions))],
    )
