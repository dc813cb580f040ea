"""Predict, evaluate and explain on a run whose images have several labels."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import starter
from sklearn import metrics as reference

from cnn_jax.data.faces import LABELS, make_faces
from experiments import evaluate, explain, predict

SMALL = ("--dataset=faces", "--filters=4", "--hidden=8", "--batch_size=20", "--epochs=4")
FEW = make_faces(240, 40)


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is drawn and read in no time."""
    monkeypatch.setattr("cnn_jax.data.faces.make_faces", lambda: FEW)


@pytest.fixture(scope="module")
def trained(program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "faces"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_JAX_CACHE", str(folder.parent / "cache"))
        patch.setattr("cnn_jax.data.faces.make_faces", lambda: FEW)
        flags = ("--learning_rate=0.01", "--validation_fraction=0.25", f"--workdir={folder}")
        assert program(*SMALL, *flags).code == 0
    return folder


@pytest.fixture
def start(program, trained: Path):
    """Runs one of the programs on that run."""
    return lambda main, *arguments: starter(program, main, takes_paths=main is not evaluate.main)(
        f"--run={trained}", *arguments
    )


def numbers_of(outcome) -> dict:
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_the_report_shows_filters_and_evidence(trained: Path):
    page = (trained / "report.html").read_text()
    assert "What the first convolution looks for" in page
    assert "evidence for " in page


def test_evaluate_finds_what_training_wrote_down(start, trained: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    record = numbers_of(start(evaluate.main, "--json", f"--out={page}"))
    stored = json.loads((trained / "result.json").read_text())
    assert record["accuracy"] == pytest.approx(stored["test_accuracy"])
    assert record["accuracy_interval_95"] == pytest.approx(stored["test_accuracy_interval_95"])
    assert (record["examples"], record["thresholds_chosen_on"]) == (40, 60)
    for ours, theirs in zip(record["labels"], stored["labels"], strict=True):
        assert ours["name"] == theirs["name"]
        for key in ("threshold", "accuracy", "precision", "recall", "f1", "average_precision"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-5)
    assert [row["name"] for row in record["calibration"]] == list(LABELS)
    for row in record["calibration"]:
        assert row["temperature"] > 0 and row["nll"] > 0 and 0 <= row["ece"] <= 1
    # The loss of training is the surprise at all labels of an image together.
    surprise = sum(row["nll"] for row in record["calibration"])
    assert surprise == pytest.approx(stored["test_loss"], rel=1e-4)
    text = page.read_text()
    assert "</html>" in text and "Label by label" in text
    assert not re.search(r"""(src|href)\s*=\s*(?!["']?(data:|#|index\.html"))""", text)


def test_evaluate_tells_people(start, trained: Path):
    outcome = start(evaluate.main, "--split=validation")
    assert (outcome.code, outcome.err) == (0, "")
    assert "of the labels right on faces, validation" in outcome.out
    assert "thresholds and temperatures were fitted to these same examples" in outcome.out
    assert "false alarms" in outcome.out and "NLL with it" in outcome.out
    assert (trained / "evaluation-validation.html").is_file()


def test_predict_lists_the_labels_over_their_thresholds(start, trained: Path, tmp_path: Path):
    folder = tmp_path / "smiling"  # A label's name says nothing of what is in the folder.
    folder.mkdir()
    for index, image in enumerate(FEW.test.images):
        Image.fromarray(image[..., 0]).save(folder / f"{index:02}.png")
    records = json.loads(start(predict.main, folder, "--json").out)
    thresholds = {
        row["name"]: row["threshold"]
        for row in json.loads((trained / "result.json").read_text())["labels"]
    }
    said = np.zeros(FEW.test.labels.shape, bool)
    for row, record in zip(said, records, strict=True):
        assert "label" not in record
        over = {n for n, p in record["probabilities"].items() if p >= thresholds[n] - 1e-6}
        assert {each["name"] for each in record["labels"]} == over
        ranked = [each["probability"] for each in record["labels"]]
        assert ranked == sorted(ranked, reverse=True)
        row[:] = [name in over for name in LABELS]
    stored = json.loads((trained / "result.json").read_text())["labels"]
    theirs = reference.f1_score(FEW.test.labels, said, average=None, zero_division=0)
    np.testing.assert_allclose(theirs, [row["f1"] for row in stored], atol=1e-6)

    rows = list(csv.DictReader(io.StringIO(start(predict.main, folder, "--csv").out)))
    for row, record in zip(rows, records, strict=True):
        assert row["labels"] == ";".join(each["name"] for each in record["labels"])
        assert float(row["hat"]) == pytest.approx(record["probabilities"]["hat"], abs=1e-5)


def test_predict_draws_and_tells_people(start, tmp_path: Path):
    picture, drawing = tmp_path / "face.png", tmp_path / "guesses.png"
    Image.fromarray(FEW.test.images[0, ..., 0]).resize((90, 90)).save(picture)
    outcome = start(predict.main, picture, f"--picture={drawing}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "below their thresholds: " in outcome.out or outcome.out.count(" on\n") == 4
    with Image.open(drawing) as drawn:
        assert min(drawn.size) > 200


def test_explain_has_every_part_label_by_label(start, trained: Path):
    outcome = start(explain.main, "--images=3,17")
    assert (outcome.code, outcome.err) == (0, "")
    page = (trained / "explain.html").read_text()
    for part in ("filters", "maps", "evidence", "classes", "neighbors", "mistakes", "ambiguous"):
        assert f'<section id="{part}">' in page
    assert "test image 17: " in page
    for label in LABELS:
        assert re.search(rf"<figcaption>{label} \(threshold \d+%\)", page)


def test_evidence_is_for_every_label_or_the_one_that_is_named(
    start, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def sections(subject):
        seen.append(subject.chosen)
        return iter(())

    monkeypatch.setattr("experiments.explain.make_sections", sections)
    for flags in ([], ["--target=hat"]):
        assert start(explain.main, "--images=3,17", "--out=page.html", *flags).code == 0
    np.testing.assert_array_equal(seen[0].targets, [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(seen[1].targets, [[LABELS.index("hat")]] * 2)
    there = [name for name, one in zip(LABELS, FEW.test.labels[3], strict=True) if one]
    assert seen[0].truths[0] == (", ".join(there) or "none of the labels")


@pytest.mark.parametrize(
    "main, arguments, message",
    [
        (evaluate.main, ["--top=2"], "--top has no effect here"),
        (predict.main, ["a.png", "--top=2"], "--top has no effect here"),
        (evaluate.main, ["--dataset=mnist"], "--dataset=mnist has one class an image, but the run"),
        (explain.main, ["--target=beard"], "not one of the run's; there are smiling, eyes open"),
    ],
)
def test_bad_input_is_one_line(start, main, arguments: list[str], message: str):
    outcome = start(main, *arguments)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert message in outcome.err
