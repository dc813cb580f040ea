"""What a sweep keeps of its trials: runs, each equal to the one that its printed command trains."""

import html
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from saved_runs import starter

from cnn_jax.analysis import answers
from cnn_jax.studies.saved_run import load_run
from experiments import ablation, compare, evaluate, explain, overview, predict

# What could make a trial differ from a lone run: statistics of batches, draws, moments.
SWEEP = (
    "--filters=4,8", "--hidden=8", "--batch_size=16", "--epochs=3", "--validation_fraction=0.3",
    "--normalization=batch", "--augment=flip,translate:1", "--optimizer=muon", "--seeds=2",
    "--vary=dropout_rate=0,0.3", "--vary=learning_rate=x0.3,x1", "--tune=learning_rate",
)  # fmt: skip


@pytest.fixture(scope="module")
def swept(sweep: Callable, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that kept every trial."""
    workdir = tmp_path_factory.mktemp("runs") / "swept"
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *SWEEP, "--keep=all")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"8 networks kept, each a run: {workdir / 'kept'}" in outcome.out
    return workdir


def commands(workdir: Path) -> dict[str, list[str]]:
    """The flags of the command that the page gives for each row, by the row."""
    page = (workdir / "report.html").read_text()
    found = re.findall(r"<p><b>([^<]+)</b></p>\s*<pre>([^<]+)</pre>", page)
    return {row: shlex.split(html.unescape(command))[3:] for row, command in found}


def kept(workdir: Path, row: int, chosen: bool = True) -> list[Path]:
    """The runs of a row, of the chosen values or of the others, by seed."""
    folders = sorted((workdir / "kept").glob(f"{row:02d}-*"))
    return [path for path in folders if (path / "result.json").is_file() == chosen]


@pytest.mark.parametrize("row, label", [(0, "0"), (1, "0.3")])
def test_a_kept_trial_is_the_run_of_its_printed_command(
    program: Callable, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int,
    label: str,
):  # fmt: skip
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
    lone = tmp_path / "lone"
    outcome = program(*commands(swept)[label], f"--workdir={lone}")
    assert outcome.code == 0, outcome.err
    ours = kept(swept, row)[0]
    assert (ours / "examples.npz").samefile(swept / "examples.npz")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=ours, check=True)
    for name in ("config.json", "metrics.jsonl"):
        assert (ours / name).read_text() == (lone / name).read_text(), name
    mine, theirs = (json.loads((p / "result.json").read_text()) for p in (ours, lone))
    for name in ("test_accuracy", "test_accuracy_interval_95", "test_loss", "test_examples"):
        assert mine[name] == pytest.approx(theirs[name], rel=1e-6), name
    first, second = (np.load(path / "answers.npz")["right"] for path in (ours, lone))
    assert first.tolist() == second.tolist()
    states = (load_run(path).state for path in (ours, lone))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_the_answers_of_chosen_trials_are_kept_with_the_sweep(swept: Path):
    cells = [json.loads(path.read_text()) for path in sorted((swept / "cells").glob("*.json"))]
    trials = [trial for cell in cells for trial in cell["trials"]]
    assert sum(trial["right"] is not None for trial in trials) == 2 * 2
    for trial in trials:
        if trial["chosen"]:
            right = answers.unpack(trial["right"], 40)
            assert right.mean() == pytest.approx(trial["test_accuracy"])


def test_kept_trials_are_used_like_any_run(program: Callable, swept: Path, tmp_path: Path):
    run = tmp_path / "moved"
    shutil.copytree(kept(swept, 1)[0], run)
    accuracy = json.loads((run / "result.json").read_text())["test_accuracy"]
    said = starter(program, evaluate.main, False)(f"--run={run}", "--json", "--nopage")
    assert said.code == 0, said.err
    assert json.loads(said.out)["accuracy"] == pytest.approx(accuracy)
    assert starter(program, explain.main, True)(f"--run={run}").code == 0
    # What was not chosen has read no test split.
    other = kept(swept, 1, chosen=False)[0]
    assert not (other / "answers.npz").exists()
    assert starter(program, evaluate.main, False)(f"--run={other}", "--nopage").code == 0


def test_a_kept_trial_goes_on_and_gets_its_report(program: Callable, swept: Path, tmp_path: Path):
    run = tmp_path / "longer"
    shutil.copytree(kept(swept, 0)[0], run)
    outcome = program(f"--workdir={run}", "--resume", "--epochs=4")
    assert outcome.code == 0, outcome.err
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    assert (run / "report.html").is_file()


@pytest.mark.parametrize("main", [predict.main, evaluate.main, explain.main])
def test_programs_given_a_sweep_list_its_rows(program: Callable, swept: Path, main: Callable):
    pictures = ["a.png"] if main is predict.main else []
    said = starter(program, main, main is not evaluate.main)(f"--run={swept}", *pictures)
    assert said.code == 2 and len(said.err.splitlines()) == 1
    assert f"{swept} is a sweep of 2 rows; give one of its networks: dropout_rate=0: " in said.err
    assert str(kept(swept, 1)[1]) in said.err


def test_a_sweep_is_no_run_to_go_on_with_or_to_compare(program: Callable, swept: Path):
    assert "is a sweep of 2 rows" in program(f"--workdir={swept}", "--resume").err
    said = starter(program, compare.main, True)(swept, kept(swept, 0)[0])
    assert "is a sweep of 2 rows" in said.err


def test_the_list_of_runs_has_the_sweep_and_not_its_parts(program: Callable, swept: Path):
    said = starter(program, overview.main, True)(swept.parent)
    assert "sweep of 2 rows" in said.out and "seed1" not in said.out


@pytest.mark.parametrize("sources", ["init,order", "init,split"])
@pytest.mark.parametrize("which, count", [("none", 0), ("best", 2), ("chosen", 4)])
def test_which_trials_are_kept(
    sweep: Callable, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str,
    count: int, sources: str,
):  # fmt: skip
    """Where seeds split the data each has a cell of its own, and a row still has one best."""
    monkeypatch.setattr(ablation, "conclude", lambda *what: None)
    workdir = tmp_path / "w"
    flags = ("--filters=4", "--hidden=", "--epochs=1", "--batch_size=16", "--seeds=2")
    varied = ("--vary=activation=relu,tanh", f"--keep={which}", f"--sources={sources}")
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *flags, *varied)
    assert outcome.code == 0, outcome.err
    assert len(list((workdir / "kept").glob("*"))) == count


@pytest.mark.parametrize("sources", ["init", "order", "init,split"])
def test_a_trial_of_some_sources_is_the_run_of_its_command(
    program: Callable, sweep: Callable, digits: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, sources: str,
):  # fmt: skip
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
    workdir, lone = tmp_path / "w", tmp_path / "lone"
    flags = ("--filters=4", "--hidden=", "--epochs=1", "--batch_size=16", "--seeds=2")
    given = ("--vary=activation=relu,tanh", f"--sources={sources}", "--validation_fraction=0.3")
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *flags, *given)
    assert outcome.code == 0, outcome.err
    last = kept(workdir, 1)[1]
    command = json.loads((last / "environment.json").read_text())["command"]
    assert program(*shlex.split(command)[3:], f"--workdir={lone}").code == 0
    assert (last / "metrics.jsonl").read_text() == (lone / "metrics.jsonl").read_text()
    assert (last / "config.json").read_text() == (lone / "config.json").read_text()
    others = {(path / "metrics.jsonl").read_text() for path in kept(workdir, 1)}
    assert len(others) == 2
