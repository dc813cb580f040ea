import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from cnn_jax.analysis import charts, evaluate, figures, predictions, report
from cnn_jax.ops import metrics

RNG = np.random.default_rng(0)


def epoch_row(epoch, **changes):
    row = {
        "epoch": epoch,
        "learning_rate": 0.1 / epoch,
        "train_loss": 1.0 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_loss": 1.1 / epoch,
        "validation_accuracy": 1 - 0.6 / epoch,
    }
    return row | changes


def without_validation(row):
    return {key: value for key, value in row.items() if not key.startswith("validation")}


def random_probabilities(examples, classes):
    return RNG.dirichlet(np.ones(classes), examples).astype(np.float32)


def random_images(examples, channels):
    return RNG.integers(0, 256, (examples, 8, 8, channels), dtype=np.uint8)


def texts(figure):
    """All the text of a figure, as a reader sees it."""
    root = ElementTree.fromstring(figures.to_svg(figure))
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")]


HISTORIES = {
    "one epoch": [epoch_row(1)],
    "several": [epoch_row(epoch) for epoch in range(1, 6)],
    "many": [epoch_row(epoch) for epoch in range(1, 101)],
    "no validation": [without_validation(epoch_row(epoch)) for epoch in range(1, 4)],
    "diverged": [epoch_row(1), epoch_row(2, train_loss=math.nan, validation_loss=math.inf)],
    "never finite": [epoch_row(1, train_loss=math.nan, validation_loss=math.nan)],
    "loss of zero": [epoch_row(1), epoch_row(2, train_loss=0.0)],
    "decades": [epoch_row(1, train_loss=1e6), epoch_row(2)],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_learning_curves_of_odd_histories(history):
    assert "epoch" in texts(report.learning_curves(history))


def test_learning_curves_hold_the_history():
    history = HISTORIES["several"]
    axes = report.learning_curves(history).axes
    assert [panel.get_title(loc="left") for panel in axes] == ["Loss", "Accuracy", "Learning rate"]
    for line, key in zip(axes[0].lines, ["train_loss", "validation_loss"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [row[key] for row in history])
    assert axes[0].lines[0].get_linestyle() != axes[0].lines[1].get_linestyle()


def test_learning_curves_tell_where_a_run_diverged():
    figure = report.learning_curves(HISTORIES["diverged"], ["loss"])
    assert "not finite at epoch 2" in texts(figure)


def test_learning_curves_without_learning_rate():
    assert report.history_panels([{"epoch": 1, "train_loss": 1.0}]) == ("loss",)


@pytest.mark.parametrize(("history", "panels"), [([], None), ([epoch_row(1)], ["speed"])])
def test_learning_curves_reject(history, panels):
    with pytest.raises(ValueError, match="panels"):
        report.learning_curves(history, panels)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix_shows_counts_and_names(classes):
    matrix = RNG.integers(0, 3, (classes, classes)) + 1000 * np.eye(classes, dtype=int)
    matrix[0] = 0
    names = [f"class {index}" for index in range(classes)]
    figure = evaluate.confusion_matrix(matrix, names)
    shown = texts(figure)
    assert set(names) <= set(shown)
    assert {str(count) for count in np.diagonal(matrix)[1:]} <= set(shown)
    assert "0" not in shown
    shade = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shade[1:].sum(axis=1), 1)
    np.testing.assert_array_equal(shade[0], 0)


def test_confusion_matrix_takes_names_literally_and_shortens_them():
    shown = texts(evaluate.confusion_matrix(np.eye(2, dtype=int), ["$x^2$ <b>", "long " * 20]))
    assert "$x^2$ <b>" in shown
    assert any(text.startswith("long long") and text.endswith("…") for text in shown)


def test_reliability_bins_agree_with_scikit_learn():
    confidence = RNG.uniform(0.5, 1, 500)
    correct = RNG.random(500) < confidence
    # Of two classes, the first is the guess; the label says whether it is right.
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    binned = evaluate.reliability_bins(probabilities, np.where(correct, 0, 1), bins=10)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=10)
    some = binned.examples > 0
    np.testing.assert_allclose(binned.accuracy[some], accuracy)
    np.testing.assert_allclose(binned.confidence[some], mean_confidence)
    assert binned.examples.sum() == 500


def test_reliability_bins_add_up_to_the_calibration_error():
    probabilities, labels = random_probabilities(400, 7), RNG.integers(0, 7, 400)
    binned = evaluate.reliability_bins(probabilities, labels)
    gap = np.abs(binned.accuracy - binned.confidence)
    error = np.nansum(gap * binned.examples) / 400
    np.testing.assert_allclose(
        error, metrics.expected_calibration_error(probabilities, labels), rtol=1e-5
    )


def test_reliability_diagram_of_a_diverged_run():
    probabilities = np.full((4, 3), math.nan)
    figure = evaluate.reliability_diagram(probabilities, np.zeros(4, int))
    assert "no finite probabilities" in texts(figure)


def test_top_guesses_are_ranked_and_leave_nan_for_last():
    probabilities = np.array([[0.1, math.nan, 0.6, 0.3]])
    np.testing.assert_array_equal(predictions.top_guesses(probabilities, 3), [[2, 3, 0]])
    np.testing.assert_array_equal(predictions.top_guesses(probabilities, 9), [[2, 3, 0, 1]])


@pytest.mark.parametrize(
    ("examples", "channels", "classes", "guesses"),
    [(1, 1, 2, 2), (5, 3, 10, 5), (3, 4, 100, 5)],
)
def test_ranked_guesses(examples, channels, classes, guesses):
    labels = RNG.integers(0, classes, examples)
    probabilities = random_probabilities(examples, classes)
    names = [f"name {index}" for index in range(classes)]
    figure = charts.ranked_guesses(random_images(examples, channels), labels, probabilities, names)
    assert len(figure.axes) == 2 * examples
    for index in range(examples):
        above, below = figure.axes[2 * index : 2 * index + 2]
        assert above.get_xlabel() == names[labels[index]]
        widths = [bar.get_width() for bar in below.patches]
        np.testing.assert_allclose(widths, np.sort(probabilities[index])[::-1][:guesses])
        shown = [label.get_text() for label in below.get_yticklabels()]
        hatched = [bar.get_hatch() is not None for bar in below.patches]
        assert hatched == [name != names[labels[index]] for name in shown]


def test_ranked_guesses_without_labels():
    figure = charts.ranked_guesses(random_images(1, 3), None, random_probabilities(1, 3), "abc")
    assert figure.axes[0].get_xlabel() == ""


def test_ranked_guesses_reject_no_image():
    with pytest.raises(ValueError, match="at least one image"):
        charts.ranked_guesses(random_images(0, 1), None, random_probabilities(1, 2)[:0], "ab")


def test_import_leaves_matplotlib_alone():
    code = (
        "import sys, cnn_jax.analysis.report; print(*{'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
