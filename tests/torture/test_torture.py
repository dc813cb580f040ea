"""A part of the attacks in `python -m tests.torture`, small enough for every change."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture import attacks
from tests.torture.programs import Fault, run, wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data, and a cache of its own."""
    folder = tmp_path_factory.mktemp("torture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_JAX_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        attacks.make_digits(folder / "data" / "digits")
        yield folder


@pytest.fixture(scope="module")
def flags(place: Path) -> tuple[str, ...]:
    return attacks.run_flags(place / "data" / "digits")


@pytest.fixture(scope="module")
def whole(place: Path, flags: tuple[str, ...]) -> Path:
    """A run that nothing disturbed, in a folder whose name is a pattern too."""
    path = place / "a[1]"
    outcome = run("train", f"--workdir={path}", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"repeat it: python -m experiments.train --flagfile='{path}/flags.txt'" in outcome.out
    return path


def test_a_mutated_run_is_right_or_refused(whole: Path, place: Path):
    picture = place / "data" / "picture.png"
    counts = attacks.use_mutated(whole, place, picture, share=0.05, programs=["predict"])
    assert sum(counts.values()) >= 6 and counts["refused"]


def test_every_file_that_predict_reads_is_verified(whole: Path, place: Path):
    """One flipped bit in each, wherever it is: what is refused is what is read."""
    rng, refused = random.Random(1), set()
    files = (
        "flags.txt", "config.json", "data.json", "examples.npz", "extensions/00_soft.py",
        "result.json", "likeness.npz",
    )  # fmt: skip
    for file in (*files, "best/" + next((whole / "best").glob("*.npz")).name):
        copy = place / "flipped"
        shutil.copytree(whole, copy)
        content = attacks.mutations((copy / file).read_bytes(), rng)["flipped"]
        assert content is not None
        (copy / file).write_bytes(content)
        outcome = run("predict", f"--run={copy}", place / "data" / "picture.png")
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), outcome
        assert str(copy / file) in outcome.err
        refused.add(file)
        shutil.rmtree(copy)
    assert len(refused) == 8


def test_a_sweep_in_flight_that_lost_the_size_of_its_groups_is_refused(place: Path):
    """Trials of another grouping would be taken for its own."""
    flight = attacks.in_flight(attacks.sweep_flags(place / "data" / "digits"), place / "flight")
    file = flight / "cells" / "001" / "cell.json"
    file.unlink()
    outcome = run("ablation", f"--workdir={flight}", "--resume")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), outcome
    assert f"{file} is missing" in outcome.err


def test_lost_lines_are_made_again_and_that_is_said(whole: Path, place: Path):
    half = b'{"epoch": 1, "sec'
    for name, content in (("metrics.jsonl", None), ("timings.jsonl", half), ("steps.jsonl", half)):
        copy = place / "lost"
        shutil.copytree(whole, copy)
        (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
        outcome = run("train", f"--workdir={copy}", "--resume")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"{name} had lost lines and is made again" in outcome.out
        assert (copy / name).read_bytes() == (whole / name).read_bytes()
        shutil.rmtree(copy)


def test_killed_and_resumed_it_ends_in_the_same_bytes(place: Path, flags: tuple[str, ...]):
    attacks.killed("train", flags, place / "killed", times=2, longest=4.0, seed=0)


def test_wherever_the_disk_is_full_the_same_command_works_later(
    place: Path, flags: tuple[str, ...]
):
    assert attacks.failing_writes("train", flags, place / "full", every=47, first=5) >= 3


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(
    place: Path, flags: tuple[str, ...], whole: Path
):
    """One write of many fails, in the second epoch; the next checkpoint has all of it."""
    path = place / "once"
    for at in range(125, 200, 5):
        outcome = run("train", f"--workdir={path}", *flags, fault=Fault(at, 28, recovers=True))
        if "tried again after the next epoch" in outcome.out:
            break
        shutil.rmtree(path, ignore_errors=True)
    assert "No space left on device; it is tried again after the next epoch" in outcome.out
    assert (outcome.code, outcome.err) == (0, "")
    assert attacks.end_of_run(path) == attacks.end_of_run(whole)


def test_two_writers_in_a_new_folder_and_in_an_old_one(
    place: Path, flags: tuple[str, ...], whole: Path
):
    """One trains, the other says in a line who does; and both orders end in the same bytes."""
    path, outcomes = place / "two", []

    def start(*arguments: str) -> None:
        outcomes.append(run("train", f"--workdir={path}", *arguments))

    for arguments in (flags, ("--resume", "--epochs=40")):
        outcomes.clear()
        threads = [threading.Thread(target=start, args=arguments) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcome.code for outcome in outcomes) in ([0, 2], [0, 0])
        for outcome in outcomes:
            outcome.check()
            if outcome.code:
                assert "is written to by process " in outcome.err or "exists" in outcome.err
        if arguments is flags:
            assert attacks.end_of_run(path) == attacks.end_of_run(whole)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    assert [f'{{"epoch": {number}, ' in line for number, line in enumerate(lines, 1)] == [True] * 40


def test_who_reads_beside_a_writer_sees_one_epoch_or_another(place: Path, flags: tuple[str, ...]):
    path = place / "beside"
    end = threading.Event()

    def train() -> None:
        run("train", f"--workdir={path}", *flags, "--epochs=60")
        end.set()

    writer = threading.Thread(target=train)
    writer.start()
    wait_for(path / "best" / "SHA256SUMS")
    read = 0
    while not end.is_set():
        outcome = run("predict", f"--run={path}", "--json", place / "data" / "picture.png")
        assert (outcome.code, outcome.err) == (0, "") or "has no checkpoint" in outcome.err
        read += outcome.code == 0
    writer.join()
    assert read


def test_caches_that_are_cold_for_two_at_once_or_damaged(
    place: Path, flags: tuple[str, ...], whole: Path, monkeypatch
):
    monkeypatch.setenv("CNN_JAX_CACHE", str(place / "cold"))
    paths, outcomes = [place / "cold1", place / "cold2"], []
    threads = [
        threading.Thread(
            target=lambda path: outcomes.append(run("train", f"--workdir={path}", *flags)),
            args=(path,),
        )
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(outcome.code, outcome.err) for outcome in outcomes] == [(0, "")] * 2
    assert {attacks.end_of_run(path) for path in paths} == {attacks.end_of_run(whole)}
    kept = list((place / "cold" / "programs").glob("*-cache"))
    assert kept
    for program in kept:
        program.write_bytes(program.read_bytes()[:100])
    outcome = run("train", f"--workdir={place / 'damaged'}", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert attacks.end_of_run(place / "damaged") == attacks.end_of_run(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_says_how_to_go_on(place: Path, flags: tuple[str, ...], number: int):
    path = place / f"signal {number}"
    how = {"kill_after": path / "checkpoints" / "SHA256SUMS", "number": number}
    outcome = run("train", f"--workdir={path}", *flags, "--epochs=100000", **how)
    again = f"python -m experiments.train '--workdir={path}' --resume"
    assert (outcome.code, outcome.err) == (130, f"error: interrupted; go on with: {again}\n")


def start(*words: str, shell: str) -> subprocess.CompletedProcess:
    """A program as a shell starts it, `$@`, by a line of that."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        ["bash", "-c", shell, "-", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )


def test_training_goes_on_where_nobody_reads(place: Path, flags: tuple[str, ...], whole: Path):
    path = place / "unread"
    shell = '{ "$@"; echo $? >&2; } | head -n 1 > /dev/null'
    done = start("experiments.train", f"--workdir={path}", *flags, shell=shell)
    assert done.stderr == "0\n"
    assert attacks.end_of_run(path) == attacks.end_of_run(whole)


@pytest.mark.parametrize(
    "shell, code, said",
    [
        ('"$@" > /dev/full', 2, "error: cannot write to standard output: No space left"),
        ('{ "$@"; echo $? >&2; } | true', 0, "141"),
        ('"$@" >&-', 0, ""),
    ],
)
def test_a_program_that_only_prints_stops(
    place: Path, whole: Path, shell: str, code: int, said: str
):
    picture = str(place / "data" / "picture.png")
    done = start("experiments.predict", f"--run={whole}", picture, shell=shell)
    assert done.returncode == code
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) <= 1


def test_an_interruption_during_imports_is_one_line():
    command = [sys.executable, "-X", "importtime", "-m", "experiments.train", "--help"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        # Far from the end: absl is imported late, JAX later.
        for line in process.stderr:
            if "numpy" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == 130
    assert rest == ["error: interrupted\n"]


def test_ignored_hangups_stay_ignored(place: Path, flags: tuple[str, ...]):
    path = place / "nohup"
    shell = (
        f"nohup \"$@\" > /dev/null 2>&1 & until [ -e '{path}/metrics.jsonl' ]; do sleep 0.1; done; "
        "kill -HUP $!; wait $!"
    )
    assert start("experiments.train", f"--workdir={path}", *flags, shell=shell).returncode == 0
    assert (path / "result.json").exists()


def test_a_limit_of_the_system_is_one_line(place: Path, flags: tuple[str, ...], whole: Path):
    """EFBIG from the kernel itself, for files of the caches too."""
    path = place / "limited"
    done = start("experiments.train", f"--workdir={path}", *flags, shell='ulimit -f 8; "$@"')
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: cannot write ")
    outcome = attacks.go_on("train", flags, path)
    assert outcome.code == 0, outcome
    assert attacks.end_of_run(path) == attacks.end_of_run(whole)
