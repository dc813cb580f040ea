import dataclasses
import functools
import math
import re

import numpy as np
import pytest
from records import Page, record, report_page
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from cnn_jax.analysis.statistics import wilson_interval


@functools.cache
def plain_page():
    """The page of `record()`, rendered once."""
    return report_page(record())


def diverged():
    sample = record()
    history = [dict(sample.history[0]), dict(sample.history[1], train_loss=math.nan)]
    return dataclasses.replace(
        sample,
        history=history,
        test_loss=math.nan,
        test_probabilities=np.full_like(sample.test_probabilities, math.nan),
    )


def partly_undefined():
    sample = record()
    probabilities = sample.test_probabilities.copy()
    probabilities[:7] = math.nan
    return dataclasses.replace(sample, test_probabilities=probabilities)


def one_epoch_without_validation():
    row = {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.75}
    return record(history=[row])


ODD = {
    "plain": record,
    "two classes": lambda: record(classes=2),
    "hundred classes": lambda: record(classes=100),
    "color": lambda: record(channels=3),
    "one example": lambda: record(examples=1),
    "long names": lambda: record(
        class_names=[f"a rather long class name {i} " * 4 for i in "abcd"]
    ),
    "one epoch": one_epoch_without_validation,
    "no epoch": lambda: record(history=[]),
    "no parameter": lambda: record(parameters=[]),
    "diverged": diverged,
    "partly undefined": partly_undefined,
    "not calibrated": lambda: record(calibrated=False),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_renders_well_formed_and_without_outside_references(make):
    page = report_page(make())
    for tag, attributes in Page(page).tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert re.match(r"#|data:image/png;base64,", attributes.get(name) or "#")
        for value in attributes.values():
            assert not re.search(r"url\((?!#)", value or "")
    assert not re.search(r"@import|url\(['\"]?http", page)


def test_deterministic():
    assert report_page(record()) == plain_page()


def test_headline_is_the_accuracy_with_its_interval():
    sample = record()
    correct = int(np.sum(sample.test_probabilities.argmax(axis=1) == sample.test_labels))
    low, high = wilson_interval(correct, 200)
    text = " ".join(Page(plain_page()).text.split())
    assert f"{correct / 200:.2%} test accuracy, 95% interval {low:.2%} to {high:.2%}" in text
    assert f"{correct} of 200 test examples right; one seed" in text
    assert "1 min 05 s" in text
    assert "0.4321" in text


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (10, 10), (9915, 10_000)])
def test_wilson_interval_against_its_formula(successes, trials):
    z = 1.959963984540054
    share = successes / trials
    center = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    half *= z / (1 + z**2 / trials)
    np.testing.assert_allclose(
        wilson_interval(successes, trials), (center - half, center + half), atol=1e-12
    )


def test_scores_per_class_are_those_of_scikit_learn_hardest_first():
    sample = record()
    predictions = sample.test_probabilities.argmax(axis=1)
    expected = precision_recall_fscore_support(sample.test_labels, predictions)
    rows = Page(plain_page()).table("precision")
    assert sorted(int(row[0]) for row in rows) == [0, 1, 2, 3]
    for number, name, *scores, support in rows:
        index = int(number)
        assert name == sample.class_names[index]
        assert scores == [f"{column[index]:.4f}" for column in expected[:3]]
        assert int(support) == expected[3][index]
    f1 = [float(row[4]) for row in rows]
    assert f1 == sorted(f1)


def test_confusions_are_those_of_scikit_learn_largest_first():
    sample = record()
    matrix = confusion_matrix(sample.test_labels, sample.test_probabilities.argmax(axis=1))
    rows = Page(plain_page()).table("guessed")
    index = {name: number for number, name in enumerate(sample.class_names)}
    for truth, guess, count, share in rows:
        row, column = index[truth], index[guess]
        assert row != column
        assert int(count) == matrix[row, column]
        assert share == f"{matrix[row, column] / matrix[row].sum():.1%}"
    np.fill_diagonal(matrix, 0)
    assert [int(row[2]) for row in rows] == sorted(matrix.ravel(), reverse=True)[:10]


def test_bars_are_the_ranked_probabilities():
    sample, page = record(), plain_page()
    drawn = page.index("drawn at random")
    gallery = page[drawn : page.index("most confident mistakes")]
    examples = np.array(re.findall(r"test image (\d+),", gallery), int)
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", gallery)]
    ranked = 100 * np.sort(sample.test_probabilities[examples], axis=1)[:, ::-1]
    np.testing.assert_allclose(np.reshape(widths, (12, 4)), ranked, atol=0.0051)


def test_mistakes_are_ordered_by_confidence():
    sample, page = record(), plain_page()
    part = page[page.index("most confident mistakes") : page.index("Duck or rabbit?")]
    numbers = re.findall(r"test image (\d+),", part)
    shown = np.array(numbers, int)
    wrong = sample.test_probabilities.argmax(axis=1) != sample.test_labels
    confidence = sample.test_probabilities.max(axis=1)
    assert wrong[shown].all()
    np.testing.assert_array_equal(confidence[shown], np.sort(confidence[wrong])[::-1][:12])


def test_a_model_without_mistakes_says_so():
    labels = np.arange(4, dtype=np.int32)
    sample = record(
        test_labels=labels,
        test_probabilities=np.eye(4, dtype=np.float32),
        test_images=np.zeros((4, 8, 8, 1), np.uint8),
    )
    text = Page(report_page(sample)).text
    assert "None among 4 test examples" in text


def test_diverged_run_is_called_so():
    text = " ".join(Page(report_page(diverged())).text.split())
    assert "its training loss is not finite at epoch 2" in text
    assert "0.00% test accuracy" in text
    assert "outputs of 200 of 200 test examples are not finite" in text


def test_undefined_outputs_count_as_mistakes():
    sample = partly_undefined()
    right = np.sum(sample.test_probabilities[7:].argmax(axis=1) == sample.test_labels[7:])
    text = " ".join(Page(report_page(sample)).text.split())
    assert f"{right} of 200 test examples right" in text
    assert "outputs of 7 of 200" in text


def test_says_when_outputs_are_not_probabilities():
    assert "is not calibrated" in Page(report_page(record(calibrated=False))).text
    assert "is not calibrated" not in Page(plain_page()).text


def test_differing_parameter_counts_are_marked():
    row = dict(record().parameters[0], counted=319)
    (shown, total) = Page(report_page(record(parameters=[row]))).table("formula")
    assert shown == ["conv1", "conv", "28 × 28 × 32", "(3·3·1 + 1)·32", "320", "≠ 319"]
    assert total == ["total", "320", "319"]


def test_everything_from_the_user_is_escaped():
    attack = "<script>alert(1)</script>\"'&"
    sample = record(
        dataset=attack,
        model=attack,
        class_names=(attack, "b", "c", "d"),
        flags=attack,
        environment={attack: attack},
        parameters=[dict(record().parameters[0], name=attack, kind=attack, formula=attack)],
    )
    page = report_page(sample)
    assert "<script>alert" not in page
    scripts = [tag for tag, _ in Page(page).tags if tag == "script"]
    assert len(scripts) == 1
    assert attack in Page(page).text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a", "b")}, "test_probabilities must have shape"),
        ({"test_images": np.zeros((3, 8, 8, 1), np.uint8)}, "equally many"),
    ],
)
def test_record_rejects_disagreeing_shapes(changes, message):
    with pytest.raises(ValueError, match=message):
        record(**changes)
