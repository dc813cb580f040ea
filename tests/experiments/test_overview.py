"""Runs and sweeps listed, and runs set side by side."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from saved_runs import starter

from experiments import compare, overview

SMALL = ("--filters=4", "--hidden=8", "--batch_size=12", "--epochs=1")


@pytest.fixture(scope="module")
def folder(program, sweep, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs and a sweep."""
    runs = tmp_path_factory.mktemp("all") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        patch.setattr("cnn_jax.analysis.ablation.render_ablation_report", lambda record: "")
        for activation in ("relu", "tanh"):
            workdir = f"--workdir={runs / activation}"
            flags = (f"--dataset={digits}", *SMALL, f"--activation={activation}")
            assert program(workdir, *flags).code == 0
        axis = ("--vary=loss=hinge,cross_entropy", "--seeds=1")
        assert sweep(f"--workdir={runs / 'swept'}", f"--dataset={digits}", *SMALL, *axis).code == 0
    return runs


@pytest.fixture
def start(program):
    return lambda main, *arguments: starter(program, main, takes_paths=True)(*arguments)


def test_runs_and_sweeps_are_listed(start, folder: Path):
    outcome = start(overview.main, folder)
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    rows = {line[0]: line for line in lines}
    assert rows["relu"][1:3] == ["digits", "cnn"]
    accuracy = json.loads((folder / "relu" / "result.json").read_text())["test_accuracy"]
    assert f"{accuracy:.2%}" in rows["relu"]
    assert "activation=tanh" in " ".join(rows["tanh"])
    table = csv.DictReader(io.StringIO((folder / "swept" / "summary.csv").read_text()))
    best = max(float(row["mean_test_accuracy"]) for row in table)
    # What is long goes on in another line.
    assert "sweep of 2" in " ".join(rows["swept"]) and f"{best:.2%}" in outcome.out
    assert start(overview.main, folder, "--index").code == 0
    assert f"best of 2 rows: {best:.2%}" in (folder / "index.html").read_text()
    (folder / "index.html").unlink()
    records = json.loads(start(overview.main, folder, "--json").out)
    assert {Path(record["path"]).name for record in records} == {"relu", "tanh", "swept"}


def test_runs_are_set_side_by_side(start, folder: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    outcome = start(compare.main, folder / "relu", folder / "tanh", f"--out={page}")
    assert (outcome.code, outcome.err) == (0, "")
    assert "McNemar p" in outcome.out and "40 images" in outcome.out
    text = page.read_text()
    assert '<th scope="row">activation</th><td>relu</td><td>tanh</td>' in text
    # A run that is not finished has no answers yet.
    broken = tmp_path / "broken"
    shutil.copytree(folder / "tanh", broken)
    for name in ("result.json", "answers.npz", "SHA256SUMS"):
        (broken / name).unlink()
    outcome = start(compare.main, folder / "relu", broken, f"--out={page}")
    assert outcome.code == 0
    assert "not ended" in outcome.out and "McNemar" not in outcome.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["one"], "give 2 to 8 runs"),
        (["relu", "nowhere"], "is not the folder of a run"),
        (["relu", "swept"], "is a sweep of "),
    ],
)
def test_what_cannot_be_compared(start, folder: Path, arguments: list[str], message: str):
    outcome = start(compare.main, *(folder / name for name in arguments))
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err
    outcome = start(overview.main, folder / "nowhere")
    assert outcome.code == 2
    assert "there is no folder" in outcome.err
