"""The page that explains a network: a section for each way to look into it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from cnn_jax import compilation
from cnn_jax.analysis import predictions
from cnn_jax.analysis.charts import ranked_guesses
from cnn_jax.analysis.explain import charts, internals
from cnn_jax.analysis.explain.network import Evidence, TrainedNetwork, least_sure, surest_mistakes
from cnn_jax.analysis.explain.sections import (
    UNNAMED,
    Picture,
    Section,
    Subject,
    best_of_each_class,
    evidence_in_images,
    first_filters,
    maps_of_one_image,
    picture,
)
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import true_names

if TYPE_CHECKING:
    from cnn_jax.analysis.live import Live

# What is enough to see, and still quick on two cores.
_NEIGHBORS = 6
_LOOKED_AMONG = 20_000
_MISTAKES = 8
_AMBIGUOUS = 4
# Of more labels than this, the first ones are shown.
_LABELS = 20


def nearest_training_images(subject: Subject) -> Section:
    """The training images nearest to each chosen one in feature space."""
    chosen, train, trained = subject.chosen, subject.train, subject.trained
    names = jax.eval_shape(_layers_of(trained), trained.weights, chosen.images[:1])
    if len(names) < 2:
        note = UNNAMED.format("features")
        return Section("neighbors", "Neighbors", "Nearest training images", note, [])
    step = -(-len(train.labels) // _LOOKED_AMONG)
    images, labels = train.images[::step], train.labels[::step]

    @compilation.jit
    def features(weights: PyTree, images: Array) -> Array:
        network = trained.tapped(weights)
        return internals.in_chunks(
            lambda some: internals.features(network, trained.normalize(some)), images
        )

    k = min(_NEIGHBORS, len(labels))
    # One call, and so one program, for what is looked up and what is looked among.
    rows = features(trained.weights, np.concatenate([chosen.images, images]))
    queries, rows = rows[: len(chosen.images)], rows[len(chosen.images) :]
    found = compilation.jit(partial(internals.nearest_neighbors, k=k))(queries, rows)
    indices, distances = np.asarray(found.indices), np.asarray(found.distances)

    between = "\n" if subject.thresholds is not None else " "
    captions = [
        [
            f"{true_names(labels[index], subject.class_names)}{between}({distance:.3f})"
            for index, distance in zip(*row, strict=True)
        ]
        for row in zip(indices, distances, strict=True)
    ]
    if subject.thresholds is not None:
        captions = [[caption.replace(", ", "\n") for caption in row] for row in captions]
    return Section(
        "neighbors",
        "Neighbors",
        "The training images it takes for the same",
        f"Nearest in the features that the last layer decides on, of {len(labels):,} training "
        "images; in brackets the cosine distance, 0 for the same direction.",
        [picture(charts.neighbor_rows(chosen.images, chosen.names, images[indices], captions))],
    )


def _layers_of(trained: TrainedNetwork) -> Callable[[PyTree, Array], dict[str, Array]]:
    """The function from weights and images to what every layer returns."""
    return lambda weights, images: internals.layer_outputs(
        trained.tapped(weights), trained.normalize(images)
    )


def confident_mistakes_of(subject: Subject) -> Section:
    """The mistakes of the split that the network is surest of, and the evidence it saw."""
    if subject.thresholds is not None:
        return _surest_wrong_answers(subject, subject.thresholds)
    images, labels = subject.split
    mistakes = surest_mistakes(subject.probabilities, labels, _MISTAKES)
    found = mistakes.examples
    pictures = []
    if len(found):
        guesses = ranked_guesses(
            images[found], labels[found], subject.probabilities[found], subject.class_names
        )
        evidence = charts.evidence_grid(
            images[found],
            mistakes.shown(subject.contribute, images),
            [
                f"for {subject.class_names[guess]}\nagainst {subject.class_names[label]}"
                for guess, label in zip(mistakes.evidence.outputs, labels[found], strict=True)
            ],
        )
        pictures = [
            picture(guesses),
            picture(evidence, "What spoke for the guess, and not for the true class"),
        ]
    return Section(
        "mistakes",
        "Mistakes",
        "Sure, and wrong",
        f"The mistakes of the largest probability among {len(labels):,} images, with their true "
        "class beneath and the network's guesses as bars; the true class has the plain one. "
        "Then what in each image speaks for the wrong guess (blue) rather than for the true class "
        "(vermilion): integrated gradients of the difference of their logits."
        if pictures
        else f"None: all {len(labels):,} images are guessed right.",
        pictures,
    )


def torn_between_two(subject: Subject) -> Section:
    """The images of the split whose two first guesses are nearest, and the evidence for each."""
    if subject.thresholds is not None:
        return _answers_in_doubt(subject, subject.thresholds)
    images, labels = subject.split
    ambiguous = least_sure(subject.probabilities, _AMBIGUOUS)
    heats = ambiguous.shown(subject.contribute, images)
    cards = [
        charts.ambiguous_card(
            images[index],
            subject.probabilities[index],
            subject.class_names,
            np.stack([np.maximum(heat, 0), np.maximum(-heat, 0)]),
            f"true class {true_names(labels[index], subject.class_names)}",
        )
        for index, heat in zip(ambiguous.examples, heats, strict=True)
    ]
    return Section(
        "ambiguous",
        "Duck or rabbit?",
        "Duck or rabbit?",
        "The images whose two best guesses are nearest in probability, and what in them speaks for "
        "the one rather than the other (integrated gradients of the difference of their logits).",
        [picture(card) for card in cards],
    )


def _surest_wrong_answers(subject: Subject, thresholds: Float[np.ndarray, "l"]) -> Section:
    """For each label, the wrong answers farthest from its threshold."""
    errors = predictions.label_error(subject.probabilities, subject.split.labels, thresholds)
    pictures = _label_pictures(subject, errors, _MISTAKES)
    examples = len(subject.split.labels)
    return Section(
        "mistakes",
        "Mistakes",
        "Sure, and wrong",
        f"For each label, the wrong answers that are farthest from its threshold, of {examples:,} "
        "images, and what in the image speaks for the label (blue) and against it (vermilion): "
        "integrated gradients of its logit."
        if pictures
        else f"None: all answers for {examples:,} images are right.",
        pictures,
    )


def _answers_in_doubt(subject: Subject, thresholds: Float[np.ndarray, "l"]) -> Section:
    """For each label, the images whose probability is nearest to its threshold."""
    doubts = predictions.label_doubt(subject.probabilities, thresholds)
    return Section(
        "ambiguous",
        "In doubt",
        "There, or not?",
        "For each label, the images whose probability is nearest to its threshold, where the "
        "answer turns, and what in them speaks for the label (blue) and against it (vermilion).",
        _label_pictures(subject, doubts, _AMBIGUOUS),
    )


def _label_pictures(subject: Subject, scores: Float[np.ndarray, "n l"], most: int) -> list[Picture]:
    """A picture for each label: the images of the largest scores, and the evidence for it."""
    assert subject.thresholds is not None
    images, labels = subject.split
    pictures = []
    for label, name in enumerate(subject.class_names[:_LABELS]):
        found = predictions.largest(scores[:, label], most)
        if not len(found):
            continue
        heats = subject.contribute(images[found], Evidence(np.full(len(found), label)))
        captions = [
            f"{'there' if labels[index, label] else 'not there'}, "
            f"said {subject.probabilities[index, label]:.0%}"
            for index in found
        ]
        figure = charts.evidence_grid(images[found], heats, captions)
        threshold = subject.thresholds[label]
        pictures.append(picture(figure, f"{name} (threshold {threshold:.0%})"))
    return pictures


_SECTIONS = (
    first_filters,
    maps_of_one_image,
    evidence_in_images,
    best_of_each_class,
    nearest_training_images,
    confident_mistakes_of,
    torn_between_two,
)


_OF_EXAMPLES = (nearest_training_images, confident_mistakes_of, torn_between_two)


def make_sections(subject: Subject) -> Iterator[Section]:
    """The parts of the page, each made when it is asked for.

    Those that look at examples of the data set are left out where these are gone.
    """
    for make in _SECTIONS:
        if not (subject.gone and make in _OF_EXAMPLES):
            yield make(subject)


def render_explanations(
    parts: Sequence[Section],
    *,
    title: tuple[str, str],
    facts: dict[str, str],
    live: "Live | None" = None,
) -> str:
    """The page, self-contained.

    Args:
        parts: its sections.
        title: what was explained, and on what.
        facts: what to say of it, by heading.
        live: the network for the page to run; None: the page says nothing of it.
    """
    template = page_template("explain/page.html")
    return template.render(parts=parts, title=title, facts=facts, live=live)
