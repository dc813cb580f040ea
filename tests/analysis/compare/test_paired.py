"""Two networks' answers to the same images."""

import numpy as np
import pytest
from scipy.stats import binom

from cnn_jax.analysis.compare import ComparedRun, Pair, compare_answers, render_comparison

RNG = np.random.default_rng(0)


def answers(both: int, first: int, second: int, neither: int):
    counts = (both, first, second, neither)
    one = np.repeat([True, True, False, False], counts)
    two = np.repeat([True, False, True, False], counts)
    return one, two


def test_mcnemar_is_a_binomial_test_of_the_disagreements():
    found = compare_answers(*answers(80, 3, 12, 5))
    assert found[:3] == (100, 3, 12)
    assert found.difference == pytest.approx(0.09)
    assert found.p == pytest.approx(2 * binom.cdf(3, 15, 0.5))
    assert found.low < found.difference < found.high
    other = compare_answers(*answers(80, 12, 3, 5))
    assert other.p == found.p
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


def test_no_disagreement_shows_nothing():
    found = compare_answers(*answers(9, 0, 0, 1))
    assert (found.difference, found.p) == (0, 1)
    assert found.low == pytest.approx(-found.high)


def test_intervals_cover_the_difference():
    # 95% of them should; two thousand draws are off by half a percent in two of three cases.
    kinds = (0.7, 0.12, 0.08, 0.1)
    covered = []
    for counts in RNG.multinomial(200, kinds, size=2000):
        found = compare_answers(*answers(*counts))
        covered.append(found.low <= kinds[2] - kinds[1] <= found.high)
    assert 0.935 < np.mean(covered) < 0.985


@pytest.mark.parametrize("second", [np.ones(3, bool), np.ones(0, bool)])
def test_answers_that_are_no_pairs(second: np.ndarray):
    with pytest.raises(ValueError, match="are no pairs"):
        compare_answers(np.ones(len(second) and 4, bool), second)


def test_the_page_has_runs_curves_and_pairs():
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1.2 / epoch,
         "train_accuracy": 0.5, "validation_accuracy": 0.4}
        for epoch in (1, 2)
    ]  # fmt: skip
    runs = [
        ComparedRun("one", 0.9, (0.85, 0.94), {"activation": "relu"}, history),
        ComparedRun("<two>", None, None, {"activation": "tanh"}, history[:1]),
    ]
    page = render_comparison(
        runs,
        [Pair("one", "<two>", compare_answers(*answers(80, 3, 12, 5))), Pair("one", "three", None)],
    )
    assert "&lt;two&gt;" in page and "<two>" not in page
    assert "90.00%" in page and "not ended" in page
    assert "+9.00" in page and ">0.035<" in page
    assert "no test images in common" in page
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")
