"""What the page that explains a network shows of examples: neighbors, mistakes, doubts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from cnn_jax.analysis import explain, explain_plots, feature_maps
from cnn_jax.analysis.ambiguity import confident_mistakes, most_ambiguous
from cnn_jax.analysis.explain import difference
from cnn_jax.analysis.explain_sections import Section, Subject, bound, png
from cnn_jax.analysis.neighbors import in_chunks, nearest_neighbors
from cnn_jax.analysis.plots import ranked_guesses

# What is enough to see, and still quick on two cores.
NEIGHBORS = 6
LOOKED_AMONG = 20_000
MISTAKES = 8
AMBIGUOUS = 4


def nearest_training_images(subject: Subject) -> Section:
    """The training images nearest to each chosen one in feature space."""
    chosen, train = subject.chosen, subject.train
    step = -(-len(train.labels) // LOOKED_AMONG)
    images, labels = train.images[::step], train.labels[::step]

    @jax.jit
    def features(state: PyTree, images: Array) -> Array:
        network = bound(subject, state)[0]
        return in_chunks(
            lambda some: feature_maps.features(network, subject.normalize(some)), images
        )

    k = min(NEIGHBORS, len(labels))
    rows, queries = (features(subject.state, each) for each in (images, chosen.images))
    found = jax.jit(lambda queries, rows: nearest_neighbors(queries, rows, k))(queries, rows)
    indices, distances = np.asarray(found.indices), np.asarray(found.distances)
    captions = [
        [
            f"{subject.class_names[labels[index]]} ({distance:.3f})"
            for index, distance in zip(*row, strict=True)
        ]
        for row in zip(indices, distances, strict=True)
    ]
    return Section(
        "neighbors",
        "Neighbors",
        "The training images it takes for the same",
        f"Nearest in the features that the last layer decides on, of {len(labels):,} training "
        "images; in brackets the cosine distance, 0 for the same direction.",
        [png(explain_plots.neighbor_rows(chosen.images, chosen.names, images[indices], captions))],
    )


def confident_mistakes_of(subject: Subject) -> Section:
    """The mistakes of the split that the network is surest of."""
    images, labels = subject.split
    found = confident_mistakes(subject.probabilities, labels, MISTAKES)
    pictures = []
    if len(found):
        figure = ranked_guesses(
            images[found], labels[found], subject.probabilities[found], subject.class_names
        )
        pictures.append(png(figure))
    return Section(
        "mistakes",
        "Mistakes",
        "Sure, and wrong",
        f"The mistakes of the largest probability among {len(labels):,} images, with their true "
        "class beneath and the network's guesses as bars; the true class has the plain one."
        if pictures
        else f"None: all {len(labels):,} images are guessed right.",
        pictures,
    )


def torn_between_two(subject: Subject) -> Section:
    """The images of the split whose two first guesses are nearest, and the evidence for each."""
    images, labels = subject.split
    found = most_ambiguous(jnp.asarray(subject.probabilities), AMBIGUOUS)
    guesses = np.argsort(-subject.probabilities[found], axis=1, kind="stable")[:, :2]

    @jax.jit
    def tell_apart(state: PyTree, images: Array, first: Array, second: Array) -> Array:
        logits_of = bound(subject, state)[1]
        images = subject.normalize(images)
        blank = jnp.broadcast_to(subject.blank, images.shape[1:])
        return explain.evidence(
            explain.integrated_gradients(logits_of, images, difference(first, second), blank)
        )

    heat = np.asarray(tell_apart(subject.state, images[found], guesses[:, 0], guesses[:, 1]))
    cards = [
        explain_plots.ambiguous_card(
            images[index],
            subject.probabilities[index],
            subject.class_names,
            np.stack([np.maximum(one, 0), np.maximum(-one, 0)]),
            f"true class {subject.class_names[labels[index]]}",
        )
        for index, one in zip(found, heat, strict=True)
    ]
    return Section(
        "ambiguous",
        "Duck or rabbit?",
        "Duck or rabbit?",
        "The images whose two best guesses are nearest in probability, and what in them speaks for "
        "the one rather than the other (integrated gradients of the difference of their logits).",
        [png(card) for card in cards],
    )
