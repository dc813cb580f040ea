import math

import numpy as np
import pytest
from records import random_images, random_probabilities

from cnn_jax.analysis import charts, predictions

RNG = np.random.default_rng(0)


def test_top_guesses_are_ranked_and_leave_nan_for_last():
    probabilities = np.array([[0.1, math.nan, 0.6, 0.3]])
    np.testing.assert_array_equal(predictions.top_guesses(probabilities, 3), [[2, 3, 0]])
    np.testing.assert_array_equal(predictions.top_guesses(probabilities, 9), [[2, 3, 0, 1]])


@pytest.mark.parametrize(
    ("examples", "channels", "classes", "guesses"), [(1, 1, 2, 2), (5, 3, 10, 5), (3, 4, 100, 5)]
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
