"""The programs on images with several labels: drawn faces, a few of them."""

import json
from pathlib import Path

import pytest

from cnn_jax.data.faces import LABELS, make_faces

SMALL = ("--dataset=faces", "--filters=2", "--hidden=", "--batch_size=20", "--epochs=1")


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is drawn and read in no time."""
    monkeypatch.setattr("cnn_jax.data.faces.make_faces", lambda: make_faces(120, 40))


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def test_a_run_tells_label_by_label_how_good_it_is(program, tmp_path: Path):
    run, again = tmp_path / "run", tmp_path / "again"
    outcome = program(*SMALL, f"--workdir={run}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "28x28x1, any of 4 labels each: smiling, eyes open, glasses, hat" in outcome.out
    assert "binary_cross_entropy, adam" in outcome.out
    assert "the mean over 4 labels" in outcome.out
    found = result(run)
    low, high = found["test_accuracy_interval_95"]
    assert 0 <= low <= found["test_accuracy"] <= high <= 1
    assert [row["name"] for row in found["labels"]] == list(LABELS)
    assert found["thresholds_chosen_on"] == 12
    for row in found["labels"]:
        assert row["found"] + row["missed"] + row["false_alarms"] + row["denied"] == 40
    assert "surest wrong answers" in (run / "report.html").read_text()

    assert "--loss=binary_cross_entropy\n" in (run / "flags.txt").read_text()
    outcome = program(f"--flagfile={run / 'flags.txt'}", f"--workdir={again}")
    assert (outcome.code, outcome.err) == (0, "")
    assert (run / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
    assert (run / "flags.txt").read_bytes() == (again / "flags.txt").read_bytes()
    assert result(run)["labels"] == result(again)["labels"]
    outcome = program(f"--workdir={again}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")


def test_without_a_validation_split_thresholds_are_a_half(program, tmp_path: Path):
    flags = ("--loss=hinge", "--augment=mixup", "--validation_fraction=0")
    outcome = program(*SMALL, *flags, f"--workdir={tmp_path / 'run'}")
    assert (outcome.code, outcome.err) == (0, "")
    assert [row["threshold"] for row in result(tmp_path / "run")["labels"]] == [0.5] * 4
    assert "is not calibrated" in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_loss_that_chooses_one_class_is_refused(program, elsewhere: Path, loss: str):
    outcome = program(*SMALL, f"--loss={loss}")
    assert (outcome.code, outcome.err) == (
        2,
        f"error: an image of this data set has several labels, but --loss={loss} chooses one "
        "class; use --loss=binary_cross_entropy or --loss=hinge\n",
    )
    assert not any(elsewhere.iterdir())


def test_a_number_that_the_loss_does_not_read_is_refused(program, elsewhere: Path):
    outcome = program(*SMALL, "--margin=2")
    assert outcome.code == 2
    assert "and --loss=binary_cross_entropy, which read" in outcome.err
    assert not any(elsewhere.iterdir())


def test_an_ablation_compares_them(sweep, tmp_path: Path):
    outcome = sweep(
        *SMALL, "--vary=activation=relu,tanh", "--seeds=2", f"--workdir={tmp_path / 'sweep'}"
    )
    assert (outcome.code, outcome.err) == (0, "")
    lines = (tmp_path / "sweep/summary.csv").read_text().splitlines()
    assert len(lines) == 3
    outcome = sweep(*SMALL, "--vary=loss=hinge,focal", "--seeds=1")
    assert outcome.code == 2
    assert "--loss=focal chooses one class" in outcome.err
