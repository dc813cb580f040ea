"""The cards of a report: an image, what the network says of it, and the evidence for that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn_jax.analysis import figures
from cnn_jax.analysis.explain import charts as explain_charts
from cnn_jax.analysis.report import charts as report_charts
from cnn_jax.analysis.report.insight import Insight


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


def counted_parameters(record: RunRecord) -> int:
    """How many parameters the model of a run has."""
    return sum(
        int(row["counted"] if isinstance(row, Mapping) else row.counted)
        for row in record.parameters
    )


def divergence(history: Sequence[Mapping[str, float]]) -> list[str]:
    """A sentence that says when a run diverged, if it did."""
    lost = [row["epoch"] for row in history if not math.isfinite(row["train_loss"])]
    if not lost:
        return []
    return [f"The run diverged: its training loss is not finite at epoch {lost[0]:g}."]


def curves(history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    """Learning curves, a figure for each panel, so that a narrow page can stack them."""
    return [
        (
            panel,
            figures.to_svg(
                report_charts.learning_curves(history, [panel]), panel.replace(" ", "-")
            ),
        )
        for panel in report_charts.history_panels(history)
    ]


RANDOM_EXAMPLES = 12


def drawn_at_random(examples: int) -> Int[np.ndarray, " m"]:
    """Some of so many examples; always the same, so that nobody picks the flattering ones."""
    return np.sort(np.random.default_rng(0).permutation(examples)[:RANDOM_EXAMPLES])


def heat_images(
    images: UInt8[np.ndarray, "n h w c"], heats: Float[np.ndarray, "n h w"]
) -> list[str]:
    """Evidence over its images, as addresses: blue is for an output, vermillion against it."""
    return [
        figures.image_to_png(
            np.round(
                255
                * explain_charts.heat_over_image(image, heat, True, explain_charts.heat_scale(heat))
            ).astype(np.uint8)
        )
        for image, heat in zip(images, heats, strict=True)
    ]


def filters_svg(filters: Float[np.ndarray, "f kh kw c"]) -> str:
    """The filters of the first convolution as one <svg>."""
    from cnn_jax.analysis.explain.map_charts import filter_grid

    return figures.to_svg(filter_grid(filters), "filters")
