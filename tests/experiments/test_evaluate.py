"""The numbers of a trained run, on its own splits and on another data set."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import write_idx
from saved_runs import accuracy_of, starter, train
from sklearn.metrics import precision_recall_fscore_support

from experiments import evaluate


@pytest.fixture(scope="module")
def trained(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(program, digits, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def start(program, trained: Path):
    """Runs the program on that run."""
    run = starter(program, evaluate.main, takes_paths=False)
    return lambda *arguments: run(f"--run={trained}", *arguments)


def test_test_split_has_the_accuracy_that_training_wrote_down(start, trained: Path, tmp_path):
    page = tmp_path / "page.html"
    outcome = start("--json", "--top=2", f"--out={page}")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["accuracy"] == pytest.approx(accuracy_of(trained))
    stored = json.loads((trained / "result.json").read_text())
    assert record["accuracy_interval_95"] == pytest.approx(stored["test_accuracy_interval_95"])
    assert record["examples"] == 40
    assert record["accuracy"] <= record["top_2_accuracy"] <= 1
    assert record["nll"] == pytest.approx(stored["test_loss"], rel=1e-4)
    assert record["images_per_second"] > 0
    confusion = np.array(record["confusion"])
    assert np.trace(confusion) == record["correct"]
    labels, guesses = (
        np.repeat(axis, confusion.ravel()) for axis in np.indices((4, 4)).reshape(2, -1)
    )
    expected = precision_recall_fscore_support(labels, guesses, zero_division=0)
    found = [
        [row[key] for row in record["classes"]] for key in ("precision", "recall", "f1", "support")
    ]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6)
    text = page.read_text()
    assert "</html>" in text
    assert not re.search(r"""(src|href)\s*=\s*(?!["']?(data:|#|index\.html"))""", text)


def test_people_get_tables_and_a_page_in_the_folder_of_the_run(start, trained: Path):
    outcome = start("--split=validation")
    assert (outcome.code, outcome.err) == (0, "")
    assert "accuracy on digits, validation" in outcome.out
    assert "The temperature was fitted to these same examples." in outcome.out
    assert "true \\ guessed" in outcome.out
    assert re.search(r"temperature \d", outcome.out)
    assert (trained / "evaluation-validation.html").is_file()


def shifted(digits: Path, folder: Path, classes: int = 4, side: int = 8) -> Path:
    """A data set of its own, with other images."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for prefix, n in (("train", 40), ("t10k", 20)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (n, side, side)))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(n) % classes)
    return folder


def test_another_data_set(start, digits: Path, tmp_path: Path):
    other = shifted(digits, tmp_path / "noise")
    outcome = start(f"--dataset={other}", "--json", "--nopage")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["evaluated_on"] == "noise, test"
    assert record["examples"] == 20
    assert record["accuracy"] < 0.7
    assert record["notes"] == ["The run was trained on digits, and not on this."]


def test_a_run_without_validation_split_has_no_temperature(program, digits: Path, tmp_path: Path):
    run = train(program, digits, tmp_path / "run", "--validation_fraction=0", "--loss=hinge")
    start = starter(program, evaluate.main, takes_paths=False)
    outcome = start(f"--run={run}", "--nopage")
    assert outcome.code == 0
    assert "no temperature" in outcome.out
    assert "hinge, does not make its outputs probabilities" in outcome.out
    record = json.loads(start(f"--run={run}", "--nopage", "--json").out)
    assert record["temperature"] is record["ece_with_temperature"] is None
    outcome = start(f"--run={run}", "--split=validation")
    assert outcome.code == 2
    assert "--split=validation has no examples" in outcome.err


@pytest.mark.parametrize(
    "shape, message",
    [
        (
            {"classes": 5},
            "has the classes 4, which the run was not trained on; it knows 0, 1, 2, 3",
        ),
        ({"side": 9}, "has images of 9x9x1, but the run in"),
    ],
)
def test_data_that_does_not_fit(start, digits: Path, tmp_path: Path, shape: dict, message: str):
    outcome = start(f"--dataset={shifted(digits, tmp_path / 'other', **shape)}")
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--split=rest"], "--split=rest is not one of train, validation, test"),
        (["--dataset=cifar11"], "did you mean cifar10"),
        (["--out=no/page.html"], "cannot write no/page.html"),
        (["more"], "unexpected argument 'more'"),
    ],
)
def test_bad_input_is_one_line(start, flags: list[str], message: str):
    outcome = start(*flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
