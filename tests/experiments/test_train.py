"""The training program: what a run leaves behind, that it repeats, and that it goes on."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.studies.run_directory import RunDirectory
from cnn_jax.training import checkpoints
from experiments.flags import machine, options
from experiments.train import FLAGS

# Every kind of state: running statistics, a velocity, dropout, a schedule, a held-out split.
SMALL = (
    "--filters=4",
    "--hidden=8",
    "--batch_size=16",
    "--epochs=3",
    "--seed=5",
    "--normalization=batch",
    "--dropout_rate=0.2",
    "--optimizer=momentum",
    "--schedule=one_cycle",
)
FILES = {
    ".lock",
    "SHA256SUMS",
    "answers.npz",
    "checkpoints",
    "config.json",
    "data.json",
    "environment.json",
    "examples.npz",
    "flags.txt",
    "index.html",
    "metrics.jsonl",
    "report.html",
    "result.json",
    "steps.jsonl",
    "timings.jsonl",
}


@pytest.fixture(scope="module")
def unbroken(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    outcome = program(f"--dataset={digits}", f"--workdir={workdir}", *SMALL)
    assert (outcome.code, outcome.err) == (0, "")
    assert "test accuracy" in outcome.out
    return workdir


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the report where a test does not read it: drawing it takes longest."""
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def parameters(run: Path) -> list[tuple[str, bytes]]:
    """Every array of the last checkpoint, by name, in bytes."""
    checkpoint = checkpoints.read_latest(run / "checkpoints")
    assert checkpoint is not None
    return [(name, leaf.tobytes()) for name, leaf in checkpoint._arrays.items()]


def assert_same_end(run: Path, unbroken: Path) -> None:
    """The same bits: the parameters, the metrics of every epoch and the test result."""
    assert parameters(run) == parameters(unbroken)
    for name in ("metrics.jsonl", "steps.jsonl"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes()
    assert [line["epoch"] for line in lines(run / "timings.jsonl")] == [1, 2, 3]
    ours, theirs = (json.loads((path / "result.json").read_text()) for path in (run, unbroken))
    assert {k: v for k, v in ours.items() if k.startswith("test")} == {
        k: v for k, v in theirs.items() if k.startswith("test")
    }


def test_run_directory_has_all_files(unbroken: Path, digits: Path):
    assert {path.name for path in unbroken.iterdir()} == FILES | {"held_out.npz", "likeness.npz"}
    assert sorted(path.name for path in (unbroken / "checkpoints").iterdir()) == [
        "SHA256SUMS",
        "epoch_00003.npz",
    ]
    metrics = lines(unbroken / "metrics.jsonl")
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    assert metrics[0].keys() == {
        "epoch",
        "learning_rate",
        "train_accuracy",
        "train_loss",
        "validation_accuracy",
        "validation_loss",
    }
    result = json.loads((unbroken / "result.json").read_text())
    assert result["test_examples"] == 40
    low, high = result["test_accuracy_interval_95"]
    assert 0 <= low <= result["test_accuracy"] <= high <= 1
    config = json.loads((unbroken / "config.json").read_text())
    assert config["filters"] == [4]
    assert config["momentum"] == 0.9
    assert config["dataset"] == str(digits)
    assert json.loads((unbroken / "environment.json").read_text())["jax"]


def test_report_is_one_file_without_external_references(unbroken: Path):
    page = (unbroken / "report.html").read_text()
    assert "</html>" in page
    assert not re.search(r"""(src|href)\s*=\s*(?!["']?(data:|#|index\.html"))""", page)
    assert not re.search(r"""url\(\s*(?!["']?(data:|#))|@import|<link|<iframe""", page)


def test_flagfile_repeats_the_run_byte_for_byte(program, unbroken: Path, tmp_path: Path):
    again = tmp_path / "again"
    outcome = program(f"--flagfile={unbroken / 'flags.txt'}", f"--workdir={again}")
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_end(again, unbroken)
    for name in ("flags.txt", "config.json"):
        assert (again / name).read_bytes() == (unbroken / name).read_bytes()


def test_another_seed_is_another_run(program, unbroken: Path, tmp_path: Path, no_report):
    outcome = program(f"--flagfile={unbroken / 'flags.txt'}", f"--workdir={tmp_path}/b", "--seed=6")
    assert outcome.code == 0
    assert (tmp_path / "b/metrics.jsonl").read_text() != (unbroken / "metrics.jsonl").read_text()


def interrupt_before(write: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends a signal before a run's n-th write after it began: three of lines, a checkpoint, ..."""
    count = iter(range(1, 100))

    def interrupting(method: Callable) -> Callable:
        def wrapped(*arguments: object) -> None:
            if next(count) == write:
                signal.raise_signal(number)
            method(*arguments)

        return wrapped

    monkeypatch.setattr(RunDirectory, "append", interrupting(RunDirectory.append))
    monkeypatch.setattr(RunDirectory, "save", interrupting(RunDirectory.save))


@pytest.mark.parametrize("write", [1, 4, 5, 6, 9, 12])
def test_resumed_after_an_interruption_it_ends_in_the_same_bits(
    program, unbroken: Path, digits: Path, tmp_path: Path, no_report, write: int
):
    """Four writes an epoch, three epochs: stopped before the first, between two, after each."""
    run = tmp_path / "run"
    number = signal.SIGTERM if write % 2 else signal.SIGINT
    with pytest.MonkeyPatch.context() as patch:
        interrupt_before(write, number, patch)
        outcome = program(f"--dataset={digits}", f"--workdir={run}", *SMALL)
    assert outcome.code == 130
    assert outcome.err == (
        f"error: interrupted; go on with: python -m experiments.train --workdir={run} --resume\n"
    )
    assert not (run / "result.json").exists()
    if write == 6:  # As if killed in the middle of a line and of a checkpoint.
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 2, "learni')
        (run / "checkpoints" / ".epoch_00002.npz.1-1.part").write_bytes(b"half")
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    done = (write - 1) // 4
    assert (f"going on after epoch {done} of 3" in outcome.out) == (done > 0)
    assert_same_end(run, unbroken)


def test_checkpoints_may_be_rare(program, unbroken: Path, digits: Path, tmp_path: Path, no_report):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_before(9, signal.SIGINT, patch)  # After the metrics of the third epoch.
        flags = f"--dataset={digits}", f"--workdir={run}", "--checkpoint_every=2", *SMALL
        outcome = program(*flags)
    assert outcome.err.endswith(f"--workdir={run} --resume --checkpoint_every=2\n")
    assert len(lines(run / "metrics.jsonl")) == 3
    assert checkpoints.latest(run / "checkpoints").name == "epoch_00002.npz"
    assert program(f"--workdir={run}", "--resume").code == 0
    assert_same_end(run, unbroken)


def test_resuming_a_finished_run_changes_nothing(program, unbroken: Path, no_report):
    before = (unbroken / "metrics.jsonl").read_bytes(), parameters(unbroken)
    outcome = program(f"--workdir={unbroken}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert ((unbroken / "metrics.jsonl").read_bytes(), parameters(unbroken)) == before


def test_what_is_not_as_it_was_where_it_was_started_is_named(
    program, unbroken: Path, tmp_path: Path, no_report
):
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    file = run / "environment.json"
    before = json.loads(file.read_text())
    assert {"processor", "cores", "XLA_FLAGS", "jaxlib"} <= before.keys()
    file.write_text(json.dumps(before | {"cores": "63"}))
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert f"{file} is damaged" in outcome.err
    (run / "SHA256SUMS").unlink()
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{run} has no SHA256SUMS: its files are not verified" in outcome.out
    assert f"started with cores 63, goes on with {before['cores']}" in outcome.out
    assert "up to rounding only" in outcome.out
    outcome = program(f"--workdir={unbroken}", "--resume")
    assert "started with" not in outcome.out and "not verified" not in outcome.out


def test_empty_flags_survive_flagfile_and_resume(program, digits: Path, tmp_path: Path, no_report):
    run, again = tmp_path / "run", tmp_path / "again"
    flags = ("--filters=2", "--hidden=", "--validation_fraction=0", "--dropout_rate=0")
    first = program(
        f"--workdir={run}", f"--dataset={digits}", "--batch_size=20", "--epochs=1", *flags
    )
    resumed = program(f"--workdir={run}", "--resume")
    repeated = program(f"--workdir={again}", f"--flagfile={run / 'flags.txt'}")
    assert [(o.code, o.err) for o in (first, resumed, repeated)] == [(0, "")] * 3
    assert (run / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()
    assert "validation_loss" not in lines(run / "metrics.jsonl")[0]


def test_mnist_is_at_hand_and_runs_have_a_default_place(program, elsewhere: Path, no_report):
    outcome = program(
        "--model=lenet5",
        "--train_examples=500",
        "--validation_fraction=0",
        "--epochs=1",
        "--batch_size=50",
        "--track=tensorboard",
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert "mnist: 500 training, 0 validation and 10,000 test images, 28x28x1" in outcome.out
    assert "61,706" in outcome.out
    (run,) = (elsewhere / "runs").iterdir()
    assert re.fullmatch(r"mnist-lenet5-\d{8}-\d{6}", run.name)
    assert {path.name for path in run.iterdir()} == FILES | {"tensorboard"}
    assert any((run / "tensorboard").iterdir())
    # A flagfile may hold what lenet5 reads, and nothing else.
    repeating = (run / "flags.txt").read_text()
    assert "--pooling=max\n" in repeating
    assert "--filters" not in repeating


def strict(text: str) -> Any:
    """The JSON, refusing what is none."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_diverged_run_stops_says_so_and_ends_in_a_report(program, digits: Path, tmp_path: Path):
    outcome = program(
        f"--dataset={digits}",
        f"--workdir={tmp_path / 'run'}",
        "--filters=4",
        "--hidden=8",
        "--batch_size=16",
        "--epochs=3",
        "--optimizer=sgd",
        "--learning_rate=1e30",
    )
    assert outcome.code == 3
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: the loss is not finite after epoch 1 of 3, where training stop")
    run = tmp_path / "run"
    (row,) = map(strict, (run / "metrics.jsonl").read_text().splitlines())
    assert row["train_loss"] is None
    result = strict((run / "result.json").read_text())
    assert (result["status"], result["test_accuracy"], result["test_loss"]) == ("diverged", 0, None)
    assert "not finite at epoch 1" in " ".join((run / "report.html").read_text().split())
    before = (run / "metrics.jsonl").read_bytes()
    again = program(f"--workdir={run}", "--resume")
    assert (again.code, again.err) == (3, outcome.err)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_killed_process_can_be_resumed(
    program, digits: Path, tmp_path: Path, environment: dict, no_report
):
    """SIGKILL from outside, at no moment in particular."""
    flags = (f"--dataset={digits}", "--filters=4", "--hidden=8", "--batch_size=16", "--epochs=20")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "experiments.train", f"--workdir={killed}", *flags]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        metrics = killed / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and len(lines(metrics)) >= 2):
            time.sleep(0.005)
        process.kill()
        _, err = process.communicate()
    assert (process.returncode, err) == (-signal.SIGKILL, b"")
    assert program(f"--workdir={killed}", "--resume").code == 0
    assert program(f"--workdir={whole}", *flags).code == 0
    assert parameters(killed) == parameters(whole)
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_importing_is_light(environment: dict):
    """Drawing and TensorFlow Datasets are imported where they are used."""
    check = "print(sorted({'matplotlib', 'tensorflow_datasets', 'PIL'} & {*sys.modules}))"
    code = f"import sys\nimport cnn_jax\n{check}\nimport experiments.train\n{check}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


def test_help_lists_every_flag_with_its_choices(environment: dict):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", "--help"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "python -m experiments.train --dataset=mnist" in done.stdout
    defined = FLAGS.flags_by_module_dict()
    for flag in defined[options.__name__] + defined[machine.__name__]:
        assert re.search(rf"--(\[no\])?{flag.name}\b", done.stdout), flag.name
    for choice in ("prelu", "weston_watkins", "resnet20", "gradient_descent", "warmup_cosine"):
        assert choice in done.stdout
