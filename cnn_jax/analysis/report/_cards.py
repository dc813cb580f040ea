"""The cards of a report: an image, what the network says of it, and the evidence for that."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.explain import Noteworthy, heat_over_image, heat_scale
from cnn_jax.analysis.figures import image_to_png
from cnn_jax.analysis.predictions import top_guesses, true_names
from cnn_jax.analysis.report.record import RunRecord, noteworthy

_GUESSES = 5
_DRAWN = 12
_AT_RANDOM = "Test examples drawn at random"
_BETWEEN_CLASSES = (
    "The right picture shows what speaks for {} (blue) rather than for {} (vermillion), pixel by "
    "pixel (integrated gradients of the difference of their logits)."
)
_FOR_A_LABEL = (
    "The right picture shows what speaks for the label named beneath it (blue) and what against it "
    "(vermillion), pixel by pixel (integrated gradients of its logit)."
)


class Bar(NamedTuple):
    """A guess, or the answer to the question whether a label is there.

    Attributes:
        name: of the class or label.
        probability: in [0, 1].
        there: whether the image truly has it.
        right: whether the guess or answer is right.
        threshold: the probability from which on the answer is yes; None of a guess.
    """

    name: str
    probability: float
    there: bool
    right: bool
    threshold: float | None = None


class Card(NamedTuple):
    """One test image with the network's answers; none where an output is not finite.

    Attributes:
        number: of the test example.
        image: its address.
        truth: its true class, or the labels that are there.
        bars: the best guesses, or the answer for each label.
        evidence: a picture of what speaks for a class or label.
        about: that class or label.
        rather_than: the class that it is set against; "" of a label.
    """

    number: int
    image: str
    truth: str
    bars: list[Bar]
    evidence: str = ""
    about: str = ""
    rather_than: str = ""


class Gallery(NamedTuple):
    """Cards beneath a heading.

    Attributes:
        title: the heading.
        note: what their evidence shows; "" where they have none.
        cards: one for each example.
    """

    title: str
    note: str
    cards: list[Card]


def galleries(record: RunRecord, thresholds: Float[np.ndarray, "l"] | None) -> list[Gallery]:
    """Test examples drawn at random, the surest mistakes, and those in doubt.

    Args:
        record: of the run.
        thresholds: of the labels; None: there is one class an image.
    """
    mistakes, doubts = noteworthy(record.test_probabilities, record.test_labels, thresholds)
    if thresholds is None:
        words = [
            ("The most confident mistakes", ("the wrong guess", "the true class")),
            (
                "Duck or rabbit? The two best guesses nearest to each other",
                ("the first guess", "the second"),
            ),
        ]
        said = [(title, _BETWEEN_CLASSES.format(*between)) for title, between in words]
    else:
        titles = ("The surest wrong answers", "The answers nearest to their threshold")
        said = [(title, _FOR_A_LABEL) for title in titles]
    seen = record.insight
    heats = (None, None) if seen is None else (seen.mistakes, seen.ambiguous)
    drawn = [_card(record, thresholds, index) for index in _drawn_at_random(record)]
    return [
        Gallery(_AT_RANDOM, "", drawn),
        *(
            Gallery(title, "" if seen is None else note, _cards(record, thresholds, found, heat))
            for (title, note), found, heat in zip(said, (mistakes, doubts), heats, strict=True)
        ),
    ]


def _drawn_at_random(record: RunRecord) -> Int[np.ndarray, " m"]:
    """Some of the examples; always the same, so that nobody picks the flattering ones."""
    return np.sort(np.random.default_rng(0).permutation(len(record.test_labels))[:_DRAWN])


def _cards(
    record: RunRecord,
    thresholds: Float[np.ndarray, "l"] | None,
    found: Noteworthy,
    heats: Float[np.ndarray, "m h w"] | None,
) -> list[Card]:
    cards = [_card(record, thresholds, index) for index in found.examples]
    if heats is None:
        return cards
    names = np.array([*record.class_names, ""])
    others = found.evidence.rather_than
    against = names[np.full(len(cards), -1) if others is None else others]
    images = record.test_images[found.examples]
    return [
        card._replace(evidence=_heat_image(image, heat), about=str(name), rather_than=str(other))
        for card, image, heat, name, other in zip(
            cards, images, heats, names[found.evidence.outputs], against, strict=True
        )
    ]


def _card(record: RunRecord, thresholds: Float[np.ndarray, "l"] | None, index: int) -> Card:
    truth = record.test_labels[index]
    finite = bool(np.isfinite(record.test_probabilities[index]).all())
    bars = _guesses(record, index) if thresholds is None else _answers(record, thresholds, index)
    return Card(
        int(index),
        image_to_png(record.test_images[index]),
        true_names(truth, record.class_names),
        bars if finite else [],
    )


def _guesses(record: RunRecord, index: int) -> list[Bar]:
    """The best guesses."""
    probabilities, truth = record.test_probabilities[index], record.test_labels[index]
    guesses = top_guesses(probabilities[None], _GUESSES)[0]
    right = (guesses == truth).tolist()
    return [
        Bar(record.class_names[guess], float(probabilities[guess]), there, there)
        for guess, there in zip(guesses, right, strict=True)
    ]


def _answers(record: RunRecord, thresholds: Float[np.ndarray, "l"], index: int) -> list[Bar]:
    """The answer for each label."""
    probabilities, labels = record.test_probabilities[index], record.test_labels[index] > 0
    answers = zip(record.class_names, probabilities, labels, thresholds, strict=True)
    return [
        Bar(name, float(p), bool(there), bool((p >= least) == there), float(least))
        for name, p, there, least in answers
    ]


def _heat_image(image: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"]) -> str:
    """Evidence over its image, as an address: blue is for an output, vermillion against it."""
    over = heat_over_image(image, heat, True, heat_scale(heat))
    return image_to_png(np.round(255 * over).astype(np.uint8))
