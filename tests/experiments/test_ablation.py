"""The ablation program: what a sweep leaves behind, that it goes on, and what it refuses."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax import storage
from cnn_jax.studies import cells

SMALL = ("--hidden=", "--batch_size=16", "--epochs=2", "--seeds=2", "--validation_fraction=0.3")
GRID = (
    "--filters=4",
    "--vary=activation=leaky_relu,tanh",
    "--vary=learning_rate=0.001,0.01,1e6",
    "--tune=learning_rate",
    "--optimizer=sgd",
)
TABLES = ("results.csv", "summary.csv", "table.md", "table.tex", "means.png")


@pytest.fixture(scope="module")
def unbroken(sweep, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing disturbed; in some of its trials the learning rate is far too high."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *SMALL, *GRID)
    assert (outcome.code, outcome.err) == (0, "")
    return workdir


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_same_tables(ours: Path, theirs: Path) -> None:
    for name in TABLES:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_a_sweep_leaves_tables_report_and_cells(unbroken: Path):
    assert {path.name for path in unbroken.iterdir()} == {
        *TABLES, "cells", "config.json", "data.json", "environment.json", "examples.npz", "kept",
        "flags.txt", "report.html", ".lock", "SHA256SUMS",
    }  # fmt: skip
    assert sorted(path.name for path in (unbroken / "cells").iterdir()) == [
        "000.json", "001.json", "SHA256SUMS",
    ]  # fmt: skip


def test_every_trial_is_in_the_results_and_chosen_ones_were_tested(unbroken: Path):
    results = rows(unbroken / "results.csv")
    trials = {(r["activation"], r["learning_rate_flag"], r["seed"]) for r in results}
    assert len(trials) == 2 * 3 * 2
    tested = [row for row in results if row["test_accuracy"]]
    assert len(tested) == 2 * 2
    assert {row["chosen"] for row in tested} == {"true"}
    assert {row["epoch"] for row in tested} == {"2"}
    for activation in ("leaky_relu", "tanh"):
        rates = {r["learning_rate_flag"] for r in tested if r["activation"] == activation}
        scores: dict[str, float] = {}
        for row in results:
            if (row["activation"], row["epoch"], row["status"]) == (activation, "2", "finished"):
                rate = row["learning_rate_flag"]
                scores[rate] = scores.get(rate, 0) + float(row["validation_accuracy"])
        assert scores[rates.pop()] == max(scores.values()) and not rates


def test_diverged_trials_are_marked_and_stop(unbroken: Path):
    diverged = [r for r in rows(unbroken / "results.csv") if r["status"] == "diverged"]
    assert {row["learning_rate_flag"] for row in diverged} == {"1000000.0"}
    assert {row["activation"] for row in diverged} == {"leaky_relu"}
    assert not any(row["test_accuracy"] or row["chosen"] == "true" for row in diverged)
    last = max(diverged, key=lambda row: (row["seed"], int(row["epoch"])))
    assert not math.isfinite(float(last["train_loss"])) or not math.isfinite(
        float(last["validation_loss"])
    )


def test_neighbors_of_a_diverging_cell_have_the_same_bits(
    sweep, digits: Path, unbroken: Path, tmp_path: Path
):
    outcome = sweep(
        f"--dataset={digits}", f"--workdir={tmp_path / 'tame'}", *SMALL, "--filters=4",
        "--vary=activation=leaky_relu,tanh", "--vary=learning_rate=0.001,0.01", "--optimizer=sgd",
        "--tune=learning_rate",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    chosen = ("chosen", "test_accuracy", "test_loss", "test_calibration_error")
    tame, wild = (
        [
            {name: text for name, text in row.items() if name not in chosen}
            for row in rows(path / "results.csv")
            if float(row["learning_rate_flag"]) < 1
        ]
        for path in (tmp_path / "tame", unbroken)
    )
    assert len(tame) == 16 and tame == wild


def test_a_trial_is_the_run_of_experiments_train(
    program, sweep, digits: Path, unbroken: Path, tmp_path: Path
):
    outcome = program(
        f"--dataset={digits}", f"--workdir={tmp_path / 'run'}", "--hidden=", "--filters=4",
        "--batch_size=16", "--epochs=2", "--validation_fraction=0.3", "--activation=tanh",
        "--learning_rate=0.01", "--optimizer=sgd", "--seed=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    lone = [json.loads(s) for s in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    member = [
        row
        for row in rows(unbroken / "results.csv")
        if (row["activation"], row["learning_rate_flag"], row["seed"]) == ("tanh", "0.01", "1")
    ]
    for ours, theirs in zip(member, lone, strict=True):
        for name, value in theirs.items():
            assert float(ours[name]) == pytest.approx(value, rel=1e-5), name


class StoppedError(Exception):
    """The process is gone."""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_sweep_that_was_killed_goes_on_to_the_same_tables(
    sweep, digits: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
):
    """Killed before the checkpoint of its epochs, then resumed."""
    workdir = tmp_path / "broken"
    saves = []

    class Flaky(cells.CellDirectory):
        def save(self, *arguments) -> None:
            if len(saves) == after:
                raise StoppedError
            saves.append(arguments)
            super().save(*arguments)

        def finish(self, result) -> None:
            if len(saves) == after:
                raise StoppedError
            super().finish(result)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr("cnn_jax.studies.cells.CellDirectory", Flaky)
        sweep(f"--dataset={digits}", f"--workdir={workdir}", *SMALL, *GRID)
    outcome = sweep(f"--workdir={workdir}", "--resume")
    assert outcome.code == 0, outcome.err
    assert_same_tables(workdir, unbroken)


def test_groups_and_vmapping_give_the_same_table(
    sweep, digits: Path, unbroken: Path, tmp_path: Path
):
    for name, flags in (("groups", ["--trials_per_program=4"]), ("vmap", ["--vectorization=vmap"])):
        outcome = sweep(
            f"--dataset={digits}", f"--workdir={tmp_path / name}", *SMALL, *GRID, *flags
        )
        assert outcome.code == 0, outcome.err
        for ours, theirs in zip(
            rows(tmp_path / name / "summary.csv"), rows(unbroken / "summary.csv"), strict=True
        ):
            assert ours["learning_rate_flag"] == theirs["learning_rate_flag"]
            assert float(ours["mean_test_accuracy"]) == pytest.approx(
                float(theirs["mean_test_accuracy"]), abs=0.03
            )


def test_devices_share_the_trials(
    digits: Path, unbroken: Path, tmp_path: Path, environment: dict[str, str]
):
    """With eight devices: places are filled up to a multiple, results are those of one."""
    workdir = tmp_path / "devices"
    process = subprocess.run(
        [
            sys.executable, "-m", "experiments.ablation", f"--dataset={digits}",
            f"--workdir={workdir}", "--mesh=trial:8", *SMALL, *GRID,
        ],
        env={**environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    ours, theirs = rows(workdir / "results.csv"), rows(unbroken / "results.csv")
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["status"] == other["status"]
        for name in ("train_loss", "validation_loss", "test_accuracy"):
            if mine[name] or other[name]:
                assert float(mine[name]) == pytest.approx(float(other[name]), rel=1e-5, nan_ok=True)


def test_plan_runs_nothing(sweep, digits: Path, tmp_path: Path):
    outcome = sweep(f"--dataset={digits}", "--plan", f"--workdir={tmp_path / 'w'}", *SMALL, *GRID)
    assert outcome.code == 0
    assert "12 networks in 2 programs: 2 rows of the table, 2 seeds" in outcome.out
    assert not (tmp_path / "w").exists()


def test_the_plan_says_when_nothing_is_tuned(sweep, digits: Path):
    plan = (f"--dataset={digits}", "--plan", "--filters=4", *SMALL)
    untuned = sweep(*plan, "--vary=activation=relu,tanh")
    assert "nothing is tuned" in untuned.out
    rates = sweep(*plan, "--vary=learning_rate=0.1,0.2")
    assert "nothing is tuned" not in rates.out


def test_an_interruption_does_not_wait_for_the_program_that_runs(
    tmp_path: Path, environment: dict[str, str]
):
    """An epoch of this sweep takes minutes, as long as Python's own exit would wait for it."""
    command = [
        sys.executable, "-m", "experiments.ablation", f"--workdir={tmp_path / 'w'}",
        "--vary=activation=relu,tanh", "--model=lenet5", "--batch_size=8", "--seeds=20",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        begun = tmp_path / "w" / "cells" / "000" / "cell.json"
        deadline = time.monotonic() + 240
        while not begun.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(err.splitlines()) == 1


def test_an_interrupted_sweep_says_how_to_go_on(
    digits: Path, tmp_path: Path, environment: dict[str, str]
):
    workdir = tmp_path / "interrupted"
    with subprocess.Popen(
        [
            sys.executable, "-m", "experiments.ablation", f"--dataset={digits}",
            f"--workdir={workdir}", "--vary=activation=relu,tanh", "--epochs=100000",
            "--filters=4", "--hidden=", "--batch_size=16",
        ],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(workdir.glob("cells/000/group_0/epoch_*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == [
        f"error: interrupted; go on with: python -m experiments.ablation --workdir={workdir} "
        "--resume"
    ]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--vary=activatoin=relu,tanh"], "did you mean activation?"),
        (["--vary=color=red"], "--vary=color: it is not an option that can vary"),
        (["--vary=seed=1,2"], "say how many seeds with --seeds"),
        (["--vary=activation=relu,reluu"], "reluu"),
        (["--vary=learning_rate=0.1,fast"], "fast"),
        (["--vary=learning_rate=0.1,-1"], "--learning_rate must be in (0, inf), got -1"),
        (["--vary=activation=relu,tanh", "--activation=relu"], "is fixed and an axis"),
        (["--vary=activation=relu", "--vary=activation=tanh"], "is given twice"),
        (["--vary=activation="], "the grid is empty"),
        ([], "nothing varies"),
        (["--vary=momentum=0.5,0.9", "--optimizer=adam"], "--momentum has no effect"),
        (["--vary=activation=relu", "--model=lenet5", "--kernel_size=3"], "has no effect"),
        (["--vary=activation=relu,tanh", "--baseline=activation=gelu"], "is not in the grid"),
        (["--vary=activation=relu,tanh", "--baseline=loss=hinge"], "is not a compared axis"),
        (["--vary=activation=relu,tanh", "--baseline=relu"], "must be name=value"),
        (
            ["--vary=activation=relu,tanh", "--vary=loss=hinge,focal", "--baseline=loss=hinge"],
            "fits 2 of the 4 variants; give activation too",
        ),
        (["--vary=activation=relu", "--tune=activation"], "only numbers can be tuned"),
        (["--tune=weight_decay", "--optimizer=sgd"], "is 0 by default, which has no multiples"),
        (["--tune=learning_rate", "--learning_rate=0.1"], "cannot be tuned"),
        (["--tune=learning_rate", "--validation_fraction=0"], "leaves none"),
        (["--vary=activation=relu", "--prune"], "nothing is tuned"),
        (["--vary=filters=4,4+4+4+4", "--batch_size=16"], "--filters asks for 4 blocks"),
        (
            ["--vary=batch_size=4000,8000", "--micro_batches=2000"],
            "training examples cannot be cut into --micro_batches=2000 parts",
        ),
        (["--vary=activation=relu", "--seeds=0"], "--seeds=0"),
        (["--vary=dataset=missing,mnist"], "missing"),
        (["--resume"], "--resume needs the --workdir"),
    ],
)
def test_bad_input_is_one_line(sweep, digits: Path, tmp_path: Path, flags: list[str], message: str):
    dataset = [] if any("dataset=" in flag for flag in flags) else [f"--dataset={digits}"]
    place = [] if flags == ["--resume"] else [f"--workdir={tmp_path / 'w'}"]
    outcome = sweep(*dataset, *place, *flags)
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ") and len(outcome.err.splitlines()) == 1, outcome.err
    assert message in outcome.err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--vary=activation=relu,tanh"], "the flags say --vary=activation=relu,tanh; leave"),
        (["--seeds=3"], "has --seeds=2, but the flags say --seeds=3"),
        (["--tune="], "--tune=learning_rate"),
        (["--dataset=mnist"], "images were 8x8x1 and are 28x28x1; put them back"),
        (["--prune"], "prune"),
    ],
)
def test_resume_with_other_flags_is_refused(
    sweep: Callable, unbroken: Path, flags: list[str], message: str
):
    before = {path: os.stat(path).st_mtime_ns for path in unbroken.rglob("*")}
    outcome = sweep(f"--workdir={unbroken}", "--resume", *flags)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome
    assert message in outcome.err
    assert {path: os.stat(path).st_mtime_ns for path in unbroken.rglob("*")} == before


def test_an_existing_folder_is_kept(sweep, unbroken: Path):
    outcome = sweep(f"--workdir={unbroken}", "--vary=activation=relu,tanh")
    assert outcome.code == 2 and "already exists" in outcome.err


# As version 0.1 wrote it.
OLD_TRIAL = {
    "variant": 0, "tuned": {}, "seed": 0, "status": "finished", "chosen": True, "history": [],
    "test": None, "seconds": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"trials": [OLD_TRIAL], "programs": 1})])
@pytest.mark.parametrize("sums", [True, False], ids=["with checksums", "without"])
def test_a_damaged_cell_is_named(sweep, unbroken: Path, tmp_path: Path, content: str, sums: bool):
    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    file = copy / "cells" / "001.json"
    file.write_text(content)
    if not sums:
        (copy / "cells" / storage.SUMS_FILE).unlink()
    outcome = sweep(f"--workdir={copy}", "--resume")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert f"{file} is damaged" in outcome.err
    assert "remove" not in outcome.err


def test_a_lost_cell_is_said_and_trained_again(sweep, unbroken: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(unbroken, copy)
    (copy / "cells" / "001.json").unlink()
    outcome = sweep(f"--workdir={copy}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert "the result of cell 2 is lost: it is trained again" in outcome.out
    assert_same_tables(copy, unbroken)
