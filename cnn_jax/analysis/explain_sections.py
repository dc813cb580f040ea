"""What the page that explains a network shows of the network itself, and of chosen images."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from cnn_jax.analysis import explain, explain_plots, feature_map_plots, feature_maps
from cnn_jax.analysis.explain import output
from cnn_jax.analysis.figures import to_png
from cnn_jax.analysis.maximization import maximize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# As many classes as are still seen at a glance.
MAXIMIZED = 20
# With more layers than this, those inside of blocks are left out.
LAYERS = 24
_TOTAL_VARIATION = 0.5


class Labeled(NamedTuple):
    """Images with their true classes."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"]


class Chosen(NamedTuple):
    """The images to explain.

    Attributes:
        images: as the network's bytes.
        labels: true classes, -1 where not known.
        names: what each is called.
        targets: the class of each whose evidence is shown.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, "n"]
    names: Sequence[str]
    targets: Int[np.ndarray, "n"]


class Subject(NamedTuple):
    """The network that is explained.

    Attributes:
        network: `(state, normalised images, tap) -> logits`.
        state: what it was trained to be; its params hold the kernels.
        normalize: from bytes to what the network takes.
        blank: the normalised value of each channel where there is nothing to see.
        class_names: one for each output.
        chosen: the images to explain.
        train: what it was trained on.
        split: where mistakes and ambiguous images are looked for.
        probabilities: of the split, one row for each image.
    """

    network: Callable[[Any, Array, feature_maps.Tap], Array]
    state: Any
    normalize: Callable[[Array], Array]
    blank: Float[Array, "c"]
    class_names: Sequence[str]
    chosen: Chosen
    train: Labeled
    split: Labeled
    probabilities: Float[np.ndarray, "n classes"]


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        anchor: its name in an address.
        link: its name in the list of sections.
        title: its heading.
        note: what is to be seen, and where it is from.
        pictures: addresses of its figures.
    """

    anchor: str
    link: str
    title: str
    note: str
    pictures: list[str]


def png(figure: "Figure") -> str:
    """The figure as an address, sharp enough for a page."""
    return to_png(figure, dpi=110)


def bound(subject: Subject, state: PyTree) -> tuple[feature_maps.Network, explain.LogitsOf]:
    """The network with its state: with a tap, and without."""
    network = partial(subject.network, state)
    return network, lambda images: network(images, lambda name, value: value)


def first_filters(subject: Subject) -> Section:
    """The kernels of the first convolution."""
    kernel = feature_maps.first_kernel(subject.state.params)
    height, width, channels, count = kernel.shape
    images = np.asarray(feature_maps.filter_images(kernel))
    return Section(
        "filters",
        "Filters",
        "Filters of the first convolution",
        f"All {count} filters of {height}x{width} pixels and {channels} "
        f"{'channel' if channels == 1 else 'channels'}, each scaled by its largest weight. They "
        "are what training found worth looking for: edges of one direction, spots, colors.",
        [png(feature_map_plots.filter_grid(images))],
    )


def maps_of_one_image(subject: Subject) -> Section:
    """The feature maps of the first chosen image."""
    chosen = subject.chosen

    @jax.jit
    def look(state: PyTree, images: Array) -> dict[str, Array]:
        return feature_maps.feature_maps(bound(subject, state)[0], subject.normalize(images))

    maps = {
        name: np.asarray(value[0]) for name, value in look(subject.state, chosen.images[:1]).items()
    }
    if len(maps) > LAYERS:
        maps = {name: value for name, value in maps.items() if "." not in name}
    return Section(
        "maps",
        "Feature maps",
        f"Feature maps: {chosen.names[0]} on its way through the network",
        "What convolutions, normalisations, activations and poolings return, top to bottom; the "
        "first eight maps of each.",
        [png(feature_map_plots.feature_map_strips(chosen.images[0], maps))],
    )


def evidence_in_images(subject: Subject) -> Section:
    """Five ways to say what in each chosen image speaks for its target."""
    chosen = subject.chosen
    height, width = chosen.images.shape[1:3]
    patch = max(2, min(height, width) // 5)
    stride = max(1, patch // 3)
    layer = last_activation(subject)

    @jax.jit
    def methods(state: PyTree, images: Array, targets: Array) -> dict[str, Array]:
        network, logits_of = bound(subject, state)
        images, target = subject.normalize(images), output(targets)
        blank = jnp.broadcast_to(subject.blank, images.shape[1:])
        smooth = explain.smooth_grad(logits_of, images, target, jax.random.key(0))
        return {
            "saliency": explain.strength(explain.saliency(logits_of, images, target)),
            "SmoothGrad": explain.strength(smooth),
            "integrated gradients": explain.evidence(
                explain.integrated_gradients(logits_of, images, target, blank)
            ),
            "occlusion": explain.occlusion(
                logits_of, images, target, patch, stride, subject.blank
            ).heat,
            "Grad-CAM": feature_maps.grad_cam(network, images, target, layer),
        }

    found = methods(subject.state, chosen.images, chosen.targets)
    order = ("saliency", "SmoothGrad", "integrated gradients", "occlusion", "Grad-CAM")
    heats = {name: np.asarray(found[name]) for name in order}
    captions = [
        f"for {subject.class_names[target]}" + _truth(subject, label)
        for target, label in zip(chosen.targets, chosen.labels, strict=True)
    ]
    return Section(
        "evidence",
        "Evidence",
        "What in an image speaks for a class",
        "Left of each row the class that is explained. Saliency: the gradient of its logit "
        "(Simonyan et al. 2013). SmoothGrad: its mean over noisy copies (Smilkov et al. 2017). "
        "Integrated gradients: what each pixel contributes, counted from an empty image, of the "
        "training images' ground or their mean color (Sundararajan et al. 2017). Occlusion: how "
        f"far the logit drops where a patch of {patch}x{patch} pixels covers the image (Zeiler and "
        "Fergus 2014). Grad-CAM: where the "
        f"maps of {layer} speak for the class (Selvaraju et al. 2017). Each map has its own scale.",
        [png(explain_plots.explanation_rows(chosen.images, heats, captions))],
    )


def last_activation(subject: Subject) -> str:
    """The last layer with feature maps of several pixels, an activation if there is one."""
    images = jax.eval_shape(subject.normalize, subject.chosen.images[:1])
    maps = jax.eval_shape(
        lambda images: feature_maps.feature_maps(bound(subject, subject.state)[0], images), images
    )
    several = [name for name, value in maps.items() if value.shape[1] * value.shape[2] > 1]
    outer = [name for name in several or maps if "." not in name]
    return ([name for name in outer if "activation" in name] or outer)[-1]


def best_of_each_class(subject: Subject) -> Section:
    """Activation maximisation of the logit of each class."""
    count = min(MAXIMIZED, len(subject.class_names))
    shape = (count, *subject.chosen.images.shape[1:])
    channels = shape[-1]
    low, high = (
        np.asarray(subject.normalize(jnp.full((1, 1, 1, channels), byte, jnp.uint8)))[0, 0, 0]
        for byte in (0, 255)
    )

    @jax.jit
    def ascend(state: PyTree) -> tuple[Array, Array]:
        def logits(images: Array) -> Array:
            return output(jnp.arange(count))(bound(subject, state)[1](images))

        images = maximize(
            logits,
            shape,
            jax.random.key(0),
            total_variation=_TOTAL_VARIATION,
            low=low,
            high=high,
        )
        return images, logits(images)

    images, logits = ascend(subject.state)
    captions = [
        f"{name}: {value:.1f}" for name, value in zip(subject.class_names, logits, strict=False)
    ]
    return Section(
        "classes",
        "Classes",
        "What the network takes for the best of each class",
        "Images found by following the gradient of a class's logit from noise, kept smooth "
        "(Erhan et al. 2009; Simonyan et al. 2013); beneath, the logit they reach. They need not "
        "look like the class: they show what the network asks for, and what it does not.",
        [png(explain_plots.image_grid(np.asarray(images), captions))],
    )


def _truth(subject: Subject, label: int) -> str:
    return "" if label < 0 else f", true {subject.class_names[label]}"
