"""The scan of learning rates: one program, its losses, and what it says of them."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from saved_runs import starter

from cnn_jax.analysis.ablation.rates import TriedRate, advise, render_rates
from experiments import lr_find


@pytest.fixture
def scan(program: Callable) -> Callable:
    """Runs the program with a list of arguments, to its exit."""
    return starter(program, lr_find.main, takes_paths=False)


def test_every_rate_is_trained_and_drawn(scan: Callable, digits: Path, tmp_path: Path):
    page = tmp_path / "rates.html"
    outcome = scan(
        f"--dataset={digits}", f"--out={page}", "--filters=4", "--hidden=", "--batch_size=16",
        "--lowest_rate=1e-4", "--highest_rate=1e6", "--rates=6", "--validation_fraction=0.3",
        "--optimizer=sgd", "--activation=leaky_relu", "--epochs=3",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "look there with --vary=learning_rate=log:" in outcome.out
    text = page.read_text()
    for rate in ("0.0001", "0.01", "1", "100", "1e+04", "1e+06"):
        assert f'data-value="{float(rate)}"' in text
    assert "nan" in text and "diverged" in text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--learning_rate=0.1"], "--learning_rate is what is looked for"),
        (["--lowest_rate=1", "--highest_rate=0.1"], "--lowest_rate=1 must be below"),
        (["--out=nowhere/page.html"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(scan: Callable, digits: Path, flags: list[str], message: str):
    outcome = scan(f"--dataset={digits}", *flags)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def tried(*losses: float) -> list[TriedRate]:
    return [TriedRate(10.0**place, loss, None, 0.5) for place, loss in enumerate(losses, -4)]


def test_the_best_rate_and_the_first_that_is_too_large():
    advice = advise(tried(2.0, 1.0, 0.4, 0.5, 1.0, math.nan))
    assert advice is not None
    assert (advice.best, advice.edge, advice.too_large) == (0.01, "", 1.0)
    assert advice.grid == "log:0.001:0.1:6"
    near = advise(tried(2.0, 0.4, math.nan))
    assert near is not None and near.grid == "log:0.0001:0.0032:6"


def test_an_edge_is_said():
    advice = advise(tried(2.0, 1.0, 0.5))
    assert advice is not None and advice.edge == "largest"
    assert "the best may lie beyond" in render_rates("a", tried(2.0, 1.0, 0.5), "again")


def test_nothing_trains():
    lost = tried(math.nan, math.nan)
    assert advise(lost) is None
    assert "No rate trains" in render_rates("a", lost, "again")
