"""What is seen while programs run: within epochs, in bars, and in lines where no bar is seen."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from cnn_jax.analysis import report
from cnn_jax.training.run import POINTS, parts_of_epoch
from experiments.runs import progress as bars
from experiments.runs.progress import MovingBar, move, pace

FLAGS = (
    "--filters=4", "--hidden=", "--epochs=3", "--batch_size=8", "--validation_fraction=0.3",
    "--schedule=one_cycle",
)  # fmt: skip


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(program: Callable, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    flags = (f"--dataset={digits}", f"--workdir={workdir}", "--track=tensorboard", *FLAGS)
    assert program(*flags).code == 0
    return workdir


@given(st.integers(1, 100_000))
def test_an_epoch_is_cut_into_even_parts(steps: int):
    lengths = np.diff(parts_of_epoch(steps), prepend=0)
    assert len(lengths) == min(POINTS, steps)
    assert lengths.sum() == steps and np.ptp(lengths) <= 1


def test_every_step_of_a_short_epoch_is_written_down(run: Path):
    steps, epochs = lines(run / "steps.jsonl"), lines(run / "metrics.jsonl")
    assert [row["step"] for row in steps] == list(range(1, 3 * 7 + 1))
    assert steps[6]["epoch"] == 1 and steps[7]["epoch"] == 1 + 1 / 7
    for epoch in epochs:
        inside = [row for row in steps if epoch["epoch"] - 1 < row["epoch"] <= epoch["epoch"]]
        losses = [row["train_loss"] for row in inside]
        assert np.mean(losses) == pytest.approx(epoch["train_loss"], rel=1e-6)
        assert inside[-1]["learning_rate"] == epoch["learning_rate"]


def test_a_warm_up_is_seen(run: Path):
    rates = [row["learning_rate"] for row in lines(run / "steps.jsonl")]
    top = int(np.argmax(rates))
    assert 1 < top < 10 and (np.diff(rates[: top + 1]) > 0).all()
    (events,) = (run / "tensorboard").iterdir()
    assert b"step/learning_rate" in events.read_bytes()
    history = lines(run / "metrics.jsonl")
    (axes,) = report.learning_curves(history, ["learning rate"], lines(run / "steps.jsonl")).axes
    assert axes.lines[0].get_ydata().tolist() == rates


def test_a_resumed_run_has_the_same_steps(
    program: Callable, digits: Path, run: Path, tmp_path: Path
):
    """What was written after the checkpoint comes once; what was lost is there again."""
    again = tmp_path / "run"
    shutil.copytree(run, again)
    whole = (run / "steps.jsonl").read_text()
    (again / "steps.jsonl").write_text(f'{whole}{{"epoch": 3.1')
    outcome = program(f"--workdir={again}", "--resume")
    assert (outcome.code, (again / "steps.jsonl").read_text()) == (0, whole)
    assert "lost lines" not in outcome.out
    (again / "steps.jsonl").write_text(whole[: len(whole) // 2])
    outcome = program(f"--workdir={again}", "--resume")
    assert (outcome.code, (again / "steps.jsonl").read_text()) == (0, whole)
    assert "steps.jsonl had lost lines and is made again from the checkpoint" in outcome.out


def test_a_piped_sweep_says_a_line_for_every_finished_cell(
    sweep: Callable, digits: Path, tmp_path: Path
):
    outcome = sweep(
        f"--dataset={digits}", f"--workdir={tmp_path / 'w'}", "--vary=activation=relu,tanh",
        "--seeds=2", *FLAGS,
    )  # fmt: skip
    first, second = re.findall(r"^cell .* done: .*$", outcome.out, re.MULTILINE)
    assert re.fullmatch(
        r"cell 1 of 2 done: activation=relu, 2 networks, best [\d.]+% \(activation=relu\), "
        r"about .+ left", first,
    )  # fmt: skip
    assert second.startswith("cell 2 of 2 done: activation=tanh, 2 networks, best ")
    assert "left" not in second


def test_a_bar_moves_within_an_epoch_and_no_further(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    column = MovingBar()
    with Progress(column, console=Console(file=io.StringIO())) as progress:
        bar = progress.add_task("", total=4, **pace(1, 10))
        (task,) = progress.tasks
        for passed, seen in ((0, 0), (5, 0.5), (10, 1), (60, 1)):
            now[0] = 100.0 + passed
            assert column.render(task).completed == pytest.approx(seen)
        move(progress, bar, 1)
        assert column.render(task).completed == 1
        now[0] += 30
        assert column.render(task).completed == pytest.approx(1.5)
