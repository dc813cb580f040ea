"""The report of a run on images with several labels."""

import dataclasses
import math
import re

import numpy as np
import pytest
from records import NAMES, Page, label_record, report_page, scored

from cnn_jax.analysis.evaluate import evaluate_labels
from cnn_jax.analysis.report import RunRecord
from cnn_jax.ops import best_thresholds


@pytest.fixture(scope="module")
def page() -> str:
    return report_page(label_record(), scored(50, seed=1))


def diverged() -> RunRecord:
    sample = label_record()
    history = [dict(sample.history[0], train_loss=math.nan)]
    nan = np.full_like(sample.test_probabilities, math.nan)
    return dataclasses.replace(sample, history=history, test_probabilities=nan)


ODD = {
    "one label": lambda: label_record(
        class_names=NAMES[:1],
        test_probabilities=scored(80)[0][:, :1],
        test_labels=scored(80)[1][:, :1],
    ),
    "one example": lambda: label_record(examples=1),
    "color": lambda: label_record(test_images=np.zeros((80, 8, 8, 3), np.uint8)),
    "long names": lambda: label_record(
        class_names=[f"a label of many words {i}" * 2 for i in range(3)]
    ),
    "no positives": lambda: label_record(test_labels=np.zeros((80, 3), np.uint8)),
    "all right": lambda: label_record(test_probabilities=scored(80)[1].astype(np.float32)),
    "no epoch": lambda: label_record(history=[]),
    "diverged": diverged,
    "not calibrated": lambda: label_record(calibrated=False),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_renders_well_formed_and_without_outside_references(make):
    text = report_page(make())
    for tag, attributes in Page(text).tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"#|data:image/png;base64,", attributes.get(name) or "#")
    assert not re.search(r"url\(['\"]?http|@import", text)


def test_the_page_is_the_same_for_the_same_record(page: str):
    assert report_page(label_record(), scored(50, seed=1)) == page
    assert "eyes <open>" not in page


def test_the_page_says_what_was_measured(page: str):
    found = evaluate_labels(*scored(80), NAMES, scored(50, seed=1))
    low, high = found.interval
    text = " ".join(Page(page).text.split())
    assert f"{found.accuracy:.2%} of the labels right, 95% interval {low:.2%} to {high:.2%}" in text
    assert "highest F1 on 50 examples held out" in text
    assert "every threshold is 50%" in " ".join(Page(report_page(label_record())).text.split())
    rows = {row[0]: row[1:] for row in Page(page).table("threshold")}
    for row in found.rows:
        numbers = (row.threshold, row.accuracy, row.precision, row.recall, row.f1)
        assert rows[row.name][:5] == [f"{number:.4f}" for number in numbers]
    counted = {row[0]: [int(cell) for cell in row[1:]] for row in Page(page).table("missed")}
    for row in found.rows:
        assert counted[row.name] == [row.found, row.missed, row.false_alarms, row.denied]


def test_the_surest_wrong_answers_are_wrong(page: str):
    sample = label_record()
    thresholds = np.asarray(best_thresholds(*scored(50, seed=1)))
    part = page[page.index("surest wrong answers") : page.index("nearest to their threshold")]
    shown = np.array(re.findall(r"test image (\d+),", part), int)
    wrong = (sample.test_probabilities >= thresholds) != sample.test_labels
    distance = np.where(wrong, np.abs(sample.test_probabilities - thresholds), -1).max(axis=1)
    assert wrong[shown].any(axis=1).all()
    np.testing.assert_array_equal(distance[shown], np.sort(distance)[::-1][:12])


def test_what_is_wrong_with_a_run_is_said():
    text = Page(report_page(diverged())).text
    assert "not finite at epoch 1" in text
    assert "outputs of 80 of 80 test examples" in text
    assert "is not calibrated" in Page(report_page(label_record(calibrated=False))).text


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"test_labels must have shape \(80,\) or be multi-hot"):
        label_record(test_labels=np.zeros((80, 2), np.uint8))
