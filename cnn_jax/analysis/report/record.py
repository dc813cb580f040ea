"""What the report of a run is made from: its record, and what its network was looked into for.

Which examples are worth a look is said here once, for who looks and for the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis.explain import (
    Noteworthy,
    TrainedNetwork,
    contributions,
    least_sure,
    surest_mistakes,
)
from cnn_jax.analysis.live import Live

_MISTAKES = 12
_AMBIGUOUS = 6
# Half as many gradients as a page of its own takes: nobody waits long for a report.
_STEPS = 32


class Insight(NamedTuple):
    """What a report shows of a trained network beside its answers.

    Attributes:
        filters: of the first convolution, each scaled to [-1, 1].
        mistakes: evidence in the surest mistakes, in their order.
        ambiguous: evidence in the examples that it is least sure of, in their order.
    """

    filters: Float[np.ndarray, "f kh kw c"]
    mistakes: Float[np.ndarray, "m h w"]
    ambiguous: Float[np.ndarray, "a h w"]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All that the report of one run says, as numpy arrays and builtins.

    Attributes:
        dataset: name of the data set.
        model: name of the model.
        class_names: one per class (or label), in the order of the labels.
        history: one mapping per epoch: epoch, learning_rate, train_loss, train_accuracy,
            validation_loss, validation_accuracy (both absent without a validation split),
            seconds, images_per_second. Accuracies are fractions in [0, 1].
        test_loss: mean loss over the test examples.
        test_probabilities: one row per test example, each in [0, 1], NaN if the run diverged.
        test_labels: true classes; or multi-hot rows, where images have several labels.
        test_images: the images themselves, with 1, 3 or 4 channels.
        parameters: one mapping or named tuple per layer: name, kind, output_shape, formula,
            count (parameters by the formula) and counted (parameters in the model).
        flags: the command that repeats the run, ready to be copied.
        environment: names and versions of what it ran on.
        train_seconds: wall time of the training, without compilation.
        compile_seconds: wall time of the compilation.
        calibrated: whether the loss makes the model's outputs probabilities; if not, the page
            says that they rank but do not measure.
        insight: what is shown of the network itself; None: nothing.
        live: the network for the page to run; None: the page says nothing of it.
        points: what epochs looked like inside, in their order: epoch (a fraction), learning_rate
            and train_loss; perhaps of some epochs only, or of none.

    Raises:
        ValueError: there is no test example, or the shapes disagree.
    """

    dataset: str
    model: str
    class_names: Sequence[str]
    history: Sequence[Mapping[str, float]]
    test_loss: float
    test_probabilities: Float[np.ndarray, "n c"]
    test_labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n c"]
    test_images: UInt8[np.ndarray, "n h w channels"]
    parameters: Sequence[Any]
    flags: str
    environment: Mapping[str, str]
    train_seconds: float
    compile_seconds: float
    calibrated: bool
    insight: Insight | None = None
    live: Live | None = None
    points: Sequence[Mapping[str, float]] = ()

    def __post_init__(self) -> None:
        examples = len(self.test_labels)
        expected = (examples, len(self.class_names))
        if self.test_probabilities.shape != expected:
            raise ValueError(
                f"test_probabilities must have shape {expected} (test examples, classes), "
                f"got {self.test_probabilities.shape}"
            )
        if self.test_labels.shape not in ((examples,), expected):
            raise ValueError(
                f"test_labels must have shape {expected[:1]} or be multi-hot of shape {expected}, "
                f"got {self.test_labels.shape}"
            )
        if len(self.test_images) != examples or not examples:
            raise ValueError(
                "test_images and test_labels must be equally many and at least one, "
                f"got {len(self.test_images)} and {examples}"
            )


def noteworthy(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n c"],
    thresholds: Float[np.ndarray, "c"] | None,
) -> tuple[Noteworthy, Noteworthy]:
    """The test examples that a report shows: the surest mistakes, and the least sure ones.

    Args:
        probabilities: one for each class or label of each example.
        labels: true classes, or multi-hot.
        thresholds: of the labels; None: there is one class an image.
    """
    return (
        surest_mistakes(probabilities, labels, _MISTAKES, thresholds),
        least_sure(probabilities, _AMBIGUOUS, thresholds),
    )


def look(
    trained: TrainedNetwork,
    images: UInt8[np.ndarray, "n h w channels"],
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"] | UInt8[np.ndarray, "n c"],
    thresholds: Float[np.ndarray, "c"] | None,
) -> Insight:
    """The insight into a network that a report shows.

    Args:
        trained: the network.
        images: of the test examples.
        probabilities: what it says of them; the rest is as in `noteworthy`.
        labels: true classes, or multi-hot.
        thresholds: of the labels, if any.
    """
    contribute = contributions(trained, _STEPS)
    mistakes, ambiguous = noteworthy(probabilities, labels, thresholds)
    return Insight(
        trained.filters(), mistakes.shown(contribute, images), ambiguous.shown(contribute, images)
    )
