"""What a report shows of the network itself: which examples, and why, on a planted network."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from records import Page, label_record, record, report_page, scored

from cnn_jax.analysis import predictions
from cnn_jax.analysis.explain import (
    Evidence,
    TrainedNetwork,
    contributions,
    difference,
    evidence,
    integrated_gradients,
    least_sure,
    surest_mistakes,
)
from cnn_jax.analysis.report import look, noteworthy

RNG = np.random.default_rng(0)
SIDE = 8


def quadrants(weights: tuple, images: jax.Array, tap) -> jax.Array:
    """A network whose output says how light each quadrant is, and lighter counts for more."""
    halves = images.reshape(-1, 2, SIDE // 2, 2, SIDE // 2).mean((2, 4)).reshape(-1, 4)
    return tap("output", jnp.tanh(halves) * weights[0]["scale"])


WEIGHTS = ({"scale": jnp.float32(5), "conv1": {"kernel": RNG.normal(size=(3, 3, 1, 6))}}, {})


@pytest.fixture(scope="module")
def trained() -> TrainedNetwork:
    return TrainedNetwork(
        quadrants,
        jax.jit(partial(quadrants, tap=lambda name, value: value)),
        WEIGHTS,
        lambda images: images / 255,
        jnp.zeros(1),
        structure=None,
    )


def light(*quadrants: int) -> np.ndarray:
    """An image with some quadrants light."""
    image = np.zeros((2, SIDE // 2, 2, SIDE // 2), np.uint8)
    for quadrant in quadrants:
        image[quadrant // 2, :, quadrant % 2] = 200
    return image.reshape(SIDE, SIDE, 1)


def test_contributions_point_at_what_was_planted_and_add_up(trained: TrainedNetwork):
    images = np.stack([light(0, 3), light(1, 2), light(0)])
    contribute = contributions(trained)
    heats = contribute(images, Evidence(np.array([0, 1, 0])))
    assert heats.shape == (3, SIDE, SIDE)
    logits = np.asarray(trained.logits(WEIGHTS, images / np.float32(255)))
    # An image of nothing has logits of 0, so that contributions add up to the logit.
    np.testing.assert_allclose(heats.sum((1, 2)), logits[[0, 1, 2], [0, 1, 0]], rtol=1e-4)
    assert (heats[0, :4, :4] > 0).all()
    assert np.abs(heats[0, 4:, 4:]).max() < 1e-6
    between = contribute(images, Evidence(np.array([0, 1, 0]), np.array([3, 2, 1])))
    assert (between[0, :4, :4] > 0).all() and (between[0, 4:, 4:] < 0).all()
    np.testing.assert_allclose(between[2], heats[2], atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 8, 11])
def test_contributions_of_any_number_of_images(trained: TrainedNetwork, count: int):
    images = RNG.integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
    outputs, others = RNG.integers(0, 4, (2, count))
    heats = contributions(trained, 8)(images, Evidence(outputs, others))
    assert heats.shape == (count, SIDE, SIDE)
    if count:
        expected = integrated_gradients(
            trained.logits_of(WEIGHTS),
            trained.normalize(images.astype(np.float32)),
            difference(outputs, others),
            jnp.zeros((SIDE, SIDE, 1)),
            8,
        )
        np.testing.assert_allclose(heats, evidence(expected), rtol=1e-4, atol=1e-6)


def test_a_report_shows_what_was_looked_at(trained: TrainedNetwork):
    sample = record(channels=1)
    images = np.asarray(sample.test_images)
    assert images.shape[1:] == (SIDE, SIDE, 1), images.shape
    said = sample.test_probabilities, sample.test_labels, None
    mistakes, ambiguous = noteworthy(*said)
    assert (len(mistakes.examples), len(ambiguous.examples)) == (12, 6)
    assert (mistakes.evidence.outputs != sample.test_labels[mistakes.examples]).all()
    seen = look(trained, images, *said)
    assert seen.filters.shape == (6, 3, 3, 1)
    plain = Page(report_page(sample))
    page = report_page(dataclasses.replace(sample, insight=seen))
    assert "What the first convolution looks for" in page
    assert "first convolution looks" not in plain.text
    pictures = len(re.findall("<img", page))
    count = len(mistakes.examples) + len(ambiguous.examples)
    assert pictures == len([tag for tag, _ in plain.tags if tag == "img"]) + count
    first, second = (
        sample.class_names[index]
        for index in (mistakes.evidence.outputs[0], sample.test_labels[mistakes.examples[0]])
    )
    shown = [attributes.get("alt") for tag, attributes in Page(page).tags if tag == "img"]
    assert f"what in it speaks for {first} rather than {second}" in shown


def test_a_report_of_labels_shows_it_too(trained: TrainedNetwork):
    sample = label_record()
    thresholds = np.full(3, 0.5, np.float32)
    said = sample.test_probabilities, sample.test_labels, thresholds
    wrong, doubtful = noteworthy(*said)
    seen = look(trained, np.asarray(sample.test_images), *said)
    text = Page(report_page(dataclasses.replace(sample, insight=seen))).text
    assert text.count("evidence for ") == len(wrong.examples) + len(doubtful.examples)
    assert "What the first convolution looks for" in text


def test_wrong_answers_and_doubts_of_labels():
    probabilities = np.array([[0.9, 0.2], [0.6, 0.45], [np.nan, 0.1], [0.1, 0.55]])
    labels = np.array([[0, 0], [1, 1], [1, 1], [0, 1]], np.uint8)
    thresholds = np.array([0.5, 0.5])
    errors = predictions.label_error(probabilities, labels, thresholds)
    nothing = -np.inf
    expected = [[0.4, nothing], [nothing, 0.05], [nothing, nothing], [nothing, nothing]]
    np.testing.assert_allclose(errors, expected)
    doubts = predictions.label_doubt(probabilities, thresholds)
    assert (doubts[2] == nothing).all()
    np.testing.assert_allclose(doubts[3], [-0.4, -0.05])
    np.testing.assert_array_equal(predictions.largest(errors[:, 0], 3), [0])
    np.testing.assert_array_equal(predictions.largest(doubts[:, 1], 2), [1, 3])
    found = surest_mistakes(probabilities, labels, 5, thresholds)
    np.testing.assert_array_equal(found.examples, [0, 1])
    np.testing.assert_array_equal(found.evidence.outputs, [0, 1])
    assert found.evidence.rather_than is None


def test_what_is_not_finite_is_not_looked_at():
    probabilities = np.full((3, 4), np.nan)
    assert not len(least_sure(probabilities, 3).examples)
    assert not len(surest_mistakes(probabilities, np.zeros(3, int), 3).examples)
    held = scored(5)[0]
    held[1] = np.nan
    assert 1 not in least_sure(held, 5, np.full(3, 0.5)).examples


def test_filters_of_a_run_that_diverged_are_zero(trained: TrainedNetwork):
    lost = {"conv1": {"kernel": np.full((3, 3, 1, 2), np.nan)}}
    np.testing.assert_array_equal(trained._replace(weights=(lost, {})).filters(), 0)
