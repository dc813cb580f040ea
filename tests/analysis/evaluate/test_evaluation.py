"""Numbers of classes and of labels against scikit-learn, their calibration, and their page."""

import json

import numpy as np
import pytest
from records import NAMES, Page, scored
from scipy import optimize, special, stats
from scipy.special import softmax
from sklearn import metrics as reference
from sklearn.metrics import top_k_accuracy_score

from cnn_jax.analysis.evaluate import (
    Evaluation,
    as_json,
    calibrate,
    evaluate,
    evaluate_labels,
    render_evaluation,
)
from cnn_jax.ops import best_thresholds

RNG = np.random.default_rng(0)
CLASSES = ("ape", "bee", "cat", "dog")


def draw(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from them at a temperature."""
    logits = RNG.normal(0, 3, (n, 4))
    probabilities = softmax(logits / temperature, axis=1)
    labels = (RNG.random((n, 1)) > np.cumsum(probabilities, axis=1)).sum(axis=1)
    return logits, np.minimum(labels, 3).astype(np.int32)


def logits_and_labels(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = scored(examples, seed)
    return special.logit(probabilities.astype(np.float64)).astype(np.float32), labels


def measured(logits: np.ndarray, labels: np.ndarray, held_out=None) -> Evaluation:
    found = evaluate(logits, labels, NAMES, "sigmoid", held_out)
    return calibrate(found, logits, "sigmoid", held_out)


def surprise(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean log loss of yes-no answers."""
    return float(-np.mean(special.log_expit(np.where(labels, logits, -logits))))


def best_temperature(scored: tuple[np.ndarray, np.ndarray], label: int) -> float:
    logits, labels = scored[0][:, label].astype(np.float64), scored[1][:, label]
    return optimize.minimize_scalar(
        lambda t: surprise(logits / t, labels) - stats.norm.logpdf(np.log(t)) / len(labels),
        bounds=(0.01, 100),
        method="bounded",
    ).x


def test_each_label_is_a_question_with_two_answers():
    (logits, labels), held_out = logits_and_labels(300, 0), logits_and_labels(200, 1)
    found = measured(logits, labels, held_out).calibrations
    for index, each in enumerate(found):
        z, there = logits[:, index].astype(np.float64), labels[:, index]
        assert each.before.nll == pytest.approx(surprise(z, there), rel=1e-5)
        np.testing.assert_allclose(each.before.probabilities[:, 1], special.expit(z), atol=1e-6)
        confidence = np.maximum(special.expit(z), special.expit(-z))
        right = (z >= 0) == there
        bins = np.ceil(confidence * 15).astype(int)
        error = sum(
            abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
            for b in np.unique(bins)
        )
        assert each.before.ece == pytest.approx(error, abs=1e-5)
        assert each.temperature == pytest.approx(best_temperature(held_out, index), rel=1e-2)
        assert each.after.nll == pytest.approx(surprise(z / each.temperature, there), rel=1e-4)


def test_without_examples_held_out_there_is_no_temperature():
    found = measured(*logits_and_labels(50, 0))
    assert all(each.temperature is each.after is None for each in found.calibrations)
    numbers = json.loads(json.dumps(as_json(found)))
    assert numbers["calibration"][0]["temperature"] is None


@pytest.mark.parametrize("held_out", [True, False])
def test_page(held_out: bool):
    (logits, labels), others = logits_and_labels(80, 0), logits_and_labels(60, 1)
    evaluation = measured(logits, labels, others if held_out else None)
    page = render_evaluation(
        evaluation,
        title=("cnn of <run>", "faces, test"),
        notes=["A note & more."],
        facts={"Epochs trained": "3"},
    )
    read = Page(page)
    assert "cnn of <run>" in read.text and "<run>" not in page
    assert "A note & more." in read.text
    assert f"{evaluation.accuracy:.2%}" in read.text
    rows = {row[0]: row[1:] for row in read.table("calibration error")}
    for each in evaluation.calibrations:
        assert rows[each.name][0] == f"{each.before.ece:.2%}"
        assert len(rows[each.name]) == (5 if held_out else 2)
    for tag, _ in read.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}


def test_numbers_are_those_of_scikit_learn():
    (probabilities, labels), held_out = scored(80), scored(50, seed=1)
    found = evaluate_labels(probabilities, labels, NAMES, held_out)
    thresholds = np.asarray(best_thresholds(*held_out))
    said = probabilities >= thresholds
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        labels, said, zero_division=0
    )
    area = reference.average_precision_score(labels, probabilities, average=None)
    counts = reference.multilabel_confusion_matrix(labels, said)
    for index, row in enumerate(found.rows):
        assert row.name == NAMES[index]
        ours = [row.threshold, row.precision, row.recall, row.f1, row.average_precision]
        theirs = [column[index] for column in (thresholds, precision, recall, f1, area)]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        np.testing.assert_allclose(row.accuracy, (said == labels)[:, index].mean(), rtol=1e-6)
        assert [row.denied, row.false_alarms, row.missed, row.found] == [*counts[index].ravel()]
    right = (probabilities >= 0.5) == labels
    np.testing.assert_allclose([found.accuracy, found.exact], [right.mean(), right.all(1).mean()])
    assert found.chosen_on == 50
    assert json.loads(json.dumps(as_json(found)))["labels"][1]["name"] == NAMES[1]


def test_without_examples_held_out_thresholds_are_a_half():
    found = evaluate_labels(*scored(20), NAMES)
    assert [row.threshold for row in found.rows] == [0.5] * 3
    assert found.chosen_on == 0


def test_evaluation_and_its_page():
    logits, labels = draw(3000, 2)
    held_out = draw(3000, 2)
    given = logits.astype(np.float32), labels, CLASSES, "softmax"
    result = calibrate(evaluate(*given, top=2), given[0], "softmax", held_out)
    (calibration,) = result.calibrations
    guesses = logits.argmax(1)
    assert result.correct == int((guesses == labels).sum())
    assert result.interval[0] < result.accuracy < result.interval[1]
    np.testing.assert_allclose(result.top[2], top_k_accuracy_score(labels, logits, k=2), rtol=1e-6)
    np.testing.assert_array_equal(
        result.confusion, np.histogram2d(labels, guesses, bins=4, range=[[0, 4], [0, 4]])[0]
    )
    assert calibration.after is not None and calibration.temperature is not None
    assert 1.8 < calibration.temperature < 2.2
    assert calibration.after.nll < calibration.before.nll
    assert calibration.after.ece < 0.03 < calibration.before.ece
    record = as_json(result)
    assert record["top_2_accuracy"] == result.top[2]
    page = render_evaluation(result, title=("a<b", "c"), notes=["mind & heed"], facts={"fact": "1"})
    assert "a&lt;b" in page and "mind &amp; heed" in page
    assert page.count("<svg") == 3
    alone = calibrate(evaluate(logits, labels, CLASSES, "softmax", top=4), logits, "softmax")
    (calibration,) = alone.calibrations
    assert (alone.top, calibration.temperature, calibration.after) == ({}, None, None)
    assert as_json(alone)["nll_with_temperature"] is None
