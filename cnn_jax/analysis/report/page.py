"""The report of one training run: plain data in, one self-contained HTML page out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.evaluate import (
    BINS,
    LARGE_SHARE,
    MAX_CLASSES_FULLY_COUNTED,
    Evaluation,
    figures_of,
    reliability_diagram,
)
from cnn_jax.analysis.explain import Noteworthy, filter_grid, heat_over_image, heat_scale
from cnn_jax.analysis.figures import image_to_png, to_svg
from cnn_jax.analysis.pages import page_template
from cnn_jax.analysis.predictions import top_guesses, true_names
from cnn_jax.analysis.report.charts import history_panels, learning_curves
from cnn_jax.analysis.report.record import RunRecord, noteworthy
from cnn_jax.ops import metrics

_GUESSES = 5
_DRAWN = 12
_AT_RANDOM = "Test examples drawn at random"
_BETWEEN_CLASSES = (
    "The right picture shows what speaks for {} (blue) rather than for {} (vermilion), pixel by "
    "pixel (integrated gradients of the difference of their logits)."
)
_FOR_A_LABEL = (
    "The right picture shows what speaks for the label named beneath it (blue) and what against it "
    "(vermilion), pixel by pixel (integrated gradients of its logit)."
)
# The headings of the surest mistakes and of those in doubt, and what their evidence shows.
_OF_CLASSES = (
    ("The most confident mistakes", _BETWEEN_CLASSES.format("the wrong guess", "the true class")),
    (
        "Duck or rabbit? The two best guesses nearest to each other",
        _BETWEEN_CLASSES.format("the first guess", "the second"),
    ),
)
_OF_LABELS = (
    ("The surest wrong answers", _FOR_A_LABEL),
    ("The answers nearest to their threshold", _FOR_A_LABEL),
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


def galleries(
    record: RunRecord, thresholds: Float[np.ndarray, "l"] | None
) -> list[tuple[str, str, list[Card]]]:
    """Test examples drawn at random, the surest mistakes, and those in doubt.

    Args:
        record: of the run.
        thresholds: of the labels; None: there is one class an image.

    Returns:
        Each with its heading, and what the evidence of its cards shows; "" where they have none.
    """
    # Always the same, so that nobody picks the flattering ones.
    drawn = np.sort(np.random.default_rng(0).permutation(len(record.test_labels))[:_DRAWN])
    cards = [_card(record, thresholds, index) for index in drawn]
    seen = record.insight
    heats = (None, None) if seen is None else (seen.mistakes, seen.ambiguous)
    said = _OF_CLASSES if thresholds is None else _OF_LABELS
    chosen = noteworthy(record.test_probabilities, record.test_labels, thresholds)
    return [
        (_AT_RANDOM, "", cards),
        *(
            (title, "" if seen is None else note, _cards(record, thresholds, found, heat))
            for (title, note), found, heat in zip(said, chosen, heats, strict=True)
        ),
    ]


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
        # Where the page has the network, it reads this image: all of its pixels.
        image_to_png(record.test_images[index], max(record.test_images.shape[1:3])),
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
    """Evidence over its image, as an address: blue is for an output, vermilion against it."""
    over = heat_over_image(image, heat, True, heat_scale(heat))
    return image_to_png(np.round(255 * over).astype(np.uint8))


_CONFUSED_PAIRS = 10
# Names of more characters stand above their bars, not beside them: of classes, and of labels.
_LONG_CLASS, _LONG_LABEL = 9, 12


def render_report(record: RunRecord, evaluation: Evaluation) -> str:
    """The page of one run, self-contained: it opens offline and asks for nothing from outside.

    The same arguments give the same text.

    Args:
        record: of the run.
        evaluation: of what it says of the test examples.
    """
    names, confusion = record.class_names, evaluation.confusion
    longest = max(map(len, names))
    answers, truth = _all_answers(record)
    error = metrics.expected_calibration_error(jnp.asarray(answers), jnp.asarray(truth), BINS)
    undefined = int(np.sum(~np.isfinite(record.test_probabilities).all(axis=1)))
    return page_template("report/page.html").render(
        record=record,
        evaluation=evaluation,
        guessed=len(record.test_labels) - undefined,
        calibration_error=float(error),
        warnings=_warnings(record, undefined),
        curves=[
            (panel, to_svg(drawn, panel.replace(" ", "-")))
            for panel in history_panels(record.history)
            for drawn in [learning_curves(record.history, [panel], record.points)]
        ],
        **figures_of(evaluation, list(record.test_probabilities.T)),
        confused_pairs=[] if confusion is None else _confused_pairs(confusion, names),
        classes=sorted(enumerate(evaluation.rows), key=lambda numbered: numbered[1].f1),
        reliability_svg=to_svg(reliability_diagram(answers, truth, BINS), "reliability"),
        galleries=galleries(record, evaluation.thresholds),
        filters_svg=""
        if record.insight is None or not len(record.insight.filters)
        else to_svg(filter_grid(record.insight.filters), "filters"),
        bins=BINS,
        fully_counted=len(names) <= MAX_CLASSES_FULLY_COUNTED,
        large_share=LARGE_SHARE,
        long_names=longest > (_LONG_LABEL if evaluation.several else _LONG_CLASS),
        name_characters=longest + 3,  # room for the mark of what is truly there
    )


def _all_answers(record: RunRecord) -> tuple[Float[np.ndarray, "a c"], Int[np.ndarray, "a"]]:
    """The probabilities of each answer and which one is right: of each example, or of each label.

    Every label of every example is a question of its own, with the answers no and yes.
    """
    if record.test_labels.ndim == 1:
        return record.test_probabilities, record.test_labels
    yes = record.test_probabilities.ravel()
    return np.stack([1 - yes, yes], axis=1), record.test_labels.ravel().astype(np.int32)


def _warnings(record: RunRecord, undefined: int) -> list[str]:
    """What a reader has to know before believing a number of the page."""
    several = record.test_labels.ndim == 2
    lost = [row["epoch"] for row in record.history if not math.isfinite(row["train_loss"])]
    warnings = []
    if lost:
        warnings.append(f"The run diverged: its training loss is not finite at epoch {lost[0]:g}.")
    if undefined:
        they = (
            "They count as wrong in the accuracies, and as saying no in precision and recall; the "
            "curves and the reliability diagram leave them out."
            if several
            else "They count as mistakes in the accuracy; the confusion matrix, the scores per "
            "class and the reliability diagram leave them out."
        )
        warnings.append(
            f"The outputs of {undefined:,} of {len(record.test_labels):,} test examples are not "
            f"finite. {they}"
        )
    if not record.calibrated:
        warnings.append(
            "The loss of this run does not make the outputs probabilities: they rank the "
            f"{'examples' if several else 'guesses'}, but their size, and so the length of a bar, "
            "is not calibrated."
        )
    return warnings


def _confused_pairs(
    confusion: Int[np.ndarray, "c c"], class_names: Sequence[str]
) -> list[tuple[str, str, int, float]]:
    """The largest counts off the diagonal, the largest first: truth, guess, count, share."""
    support = confusion.sum(axis=1)
    mistakes = confusion - np.diag(np.diagonal(confusion))
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:_CONFUSED_PAIRS]
    pairs = zip(*np.unravel_index(largest, mistakes.shape), strict=True)
    return [
        (class_names[row], class_names[column], count, count / support[row])
        for row, column in pairs
        if (count := int(mistakes[row, column]))
    ]
