"""Digits drawn with another program: ImageMagick's files of every kind, and those of the docs.

`drawn/` holds a folder for each digit: colored, transparent, with a palette, with 16 bits, turned
by a flag of the camera, dark on light, in a corner, noisy.
"""

import json
from pathlib import Path

import pytest
from saved_runs import accuracy_of, starter

from experiments import evaluate, explain, predict

DRAWN = Path(__file__).parent / "drawn"
SEVEN = Path(__file__).parents[2] / "docs" / "seven.png"


@pytest.fixture(scope="module")
def trained(program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has seen a tenth of MNIST for a few seconds."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        flags = ("--train_examples=6000", "--epochs=3", "--batch_size=50", "--learning_rate=0.003")
        outcome = program("--dataset=mnist", "--model=lenet5", f"--workdir={folder}", *flags)
    assert outcome.code == 0
    return folder


def test_every_digit_is_guessed_right(program, trained: Path):
    start = starter(program, predict.main, takes_paths=True)
    outcome = start(f"--run={trained}", DRAWN, SEVEN, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    *drawn, seven = json.loads(outcome.out)
    assert len(drawn) == 14
    wrong = [record["path"] for record in drawn if record["guesses"][0]["class"] != record["label"]]
    assert wrong == []
    best, second, *_ = seven["guesses"]
    assert best["class"] == "7"
    assert best["probability"] > second["probability"]
    upright = {Path(record["path"]).name for record in drawn if not record["inverted"]}
    assert upright == {"small.png", "colored.jpg"}


def test_such_a_run_is_evaluated_and_explained(program, trained: Path):
    outcome = starter(program, evaluate.main, False)(f"--run={trained}", "--json", "--nopage")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["accuracy"] == pytest.approx(accuracy_of(trained))
    start = starter(program, explain.main, takes_paths=True)
    outcome = start(f"--run={trained}", DRAWN / "7", "--split=validation", "--out=page.html")
    assert (outcome.code, outcome.err) == (0, "")
    assert "dark_on_light.png on its way" in Path("page.html").read_text()
