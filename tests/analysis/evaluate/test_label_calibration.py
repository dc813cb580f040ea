"""Calibration of labels, against its definition label by label, and the page of an evaluation."""

import json

import numpy as np
import pytest
from records import NAMES, Page, scored
from scipy import optimize, special

from cnn_jax.analysis.evaluate import (
    Evaluation,
    as_json,
    calibrate,
    evaluate,
    render_evaluation,
)


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
        lambda temperature: surprise(logits / temperature, labels),
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
