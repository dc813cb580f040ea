"""The program that builds the walkthrough: which networks it looks at, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from saved_runs import accuracy_of, starter, train
from scipy import special

from experiments import walkthrough


@pytest.fixture
def start(program, monkeypatch: pytest.MonkeyPatch):
    """Runs the program to its exit, and what it would have rendered."""
    seen = []

    def render(smiles, guesser):
        seen.append((smiles, guesser))
        return "the page"

    monkeypatch.setattr("experiments.walkthrough.render_walkthrough", render)
    run = starter(program, walkthrough.main, takes_paths=False)
    return lambda *arguments: (run(*arguments), seen)


def test_networks_trained_on_the_spot(start):
    outcome, [(smiles, guesser)] = start("--examples=300")
    assert (outcome.code, outcome.err) == (0, "")
    assert Path("walkthrough.html").read_text() == "the page"
    assert "page: walkthrough.html" in outcome.out
    assert smiles.class_names[smiles.labels[0]] == "smile"
    assert smiles.train_examples == guesser.train_examples == 300
    assert guesser.dataset == "mnist"
    for network in (smiles, guesser):
        assert len(network.images) == len(network.labels) == len(network.probabilities)
        logits = network.network(network.normalize(network.images[:5]), lambda name, value: value)
        expected = special.softmax(np.asarray(logits), axis=-1)
        np.testing.assert_allclose(network.probabilities[:5], expected, atol=1e-4)


def test_guesses_of_a_run(start, program, digits: Path, tmp_path_factory):
    run = train(program, digits, tmp_path_factory.mktemp("runs") / "run")
    outcome, [(_, guesser)] = start(f"--run={run}", "--examples=100")
    assert (outcome.code, outcome.err) == (0, "")
    assert (run / "walkthrough.html").read_text() == "the page"
    assert guesser.dataset == digits.name
    right = np.mean(guesser.probabilities.argmax(1) == guesser.labels)
    assert right == pytest.approx(accuracy_of(run))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--examples=9"], "--examples=9"),
        (["--split=train"], "--split has no effect here"),
        (["--run=nowhere"], "--run=nowhere is not a folder"),
        (["--out=nowhere/page.html"], "there is no folder nowhere"),
        (["photo.png"], "unexpected argument"),
    ],
)
def test_bad_input_is_one_line(start, arguments: list[str], message: str):
    outcome, _ = start(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
