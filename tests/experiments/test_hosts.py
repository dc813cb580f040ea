"""Two processes on this machine, with four devices each: the results of one, and how they end."""

import contextlib
import csv
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.training import checkpoints, processes
from experiments.runs import hosts

TRAIN = (
    "--filters=4", "--hidden=8", "--normalization=batch", "--dropout_rate=0.2",
    "--optimizer=momentum", "--batch_size=16", "--validation_fraction=0.25",
)  # fmt: skip
# Eight trials, one for each device, that share a program.
SWEEP = (
    "--filters=4", "--hidden=", "--optimizer=sgd", "--batch_size=16", "--validation_fraction=0.3",
    "--vary=learning_rate=0.001,0.01,0.03,0.1", "--tune=learning_rate", "--seeds=2", "--epochs=25",
)  # fmt: skip
TABLES = ("results.csv", "summary.csv", "table.md", "table.tex")
PATIENCE = 300


class End(NamedTuple):
    """What the shell sees of a process."""

    code: int
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def start(environment: dict[str, str]) -> Callable:
    """Starts an experiment in two processes, which are gone when the block is left."""

    @contextlib.contextmanager
    def started(
        module: str, *flags: str, only: Sequence[tuple[str, ...]] = ((), ())
    ) -> Iterator[list[subprocess.Popen]]:
        meeting = ("--distributed", f"--coordinator_address=localhost:{free_port()}")
        running = [
            subprocess.Popen(
                [
                    sys.executable, "-m", f"experiments.{module}", *flags, *meeting,
                    "--num_processes=2", f"--process_id={number}", *own,
                ],
                env={**environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, own in enumerate(only)
        ]  # fmt: skip
        try:
            yield running
        finally:
            for process in running:
                process.kill()
                process.communicate()

    return started


def end(process: subprocess.Popen, timeout: float = PATIENCE) -> End:
    out, err = process.communicate(timeout=timeout)
    return End(process.returncode, out, err)


def wait_for(condition: Callable[[], object], running: Sequence[subprocess.Popen]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        assert [process.poll() for process in running] == [None, None]
        time.sleep(0.05)


def state(run: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, on whatever devices it was written."""
    checkpoint = checkpoints.read_latest(run / "checkpoints")
    assert checkpoint is not None
    return dict(checkpoint._arrays)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_of_two_processes_is_that_of_one(
    start: Callable, program: Callable, digits: Path, tmp_path: Path
):
    flags = (f"--dataset={digits}", *TRAIN, "--epochs=1")
    shared, lone = tmp_path / "shared", tmp_path / "lone"
    with start("train", f"--workdir={shared}", *flags) as running:
        first, second = map(end, running)
    assert (first.code, first.err) == (0, "")
    assert second == (0, "", "")
    assert "8 of 8 devices" in first.out
    assert program(f"--workdir={lone}", *flags).code == 0
    assert {path.name for path in shared.iterdir()} == {path.name for path in lone.iterdir()}
    ours, theirs = state(shared), state(lone)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        scale = np.max(np.abs(array)) + 1e-12
        assert np.max(np.abs(ours[name] - array)) <= 1e-5 * scale, name
    (ours,), (theirs,) = lines(shared / "metrics.jsonl"), lines(lone / "metrics.jsonl")
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert (shared / "flags.txt").read_text() == (lone / "flags.txt").read_text()


@pytest.fixture(scope="module")
def lone_sweep(sweep: Callable, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep in one process with one device."""
    workdir = tmp_path_factory.mktemp("sweeps") / "lone"
    assert sweep(f"--dataset={digits}", f"--workdir={workdir}", *SWEEP).code == 0
    return workdir


def test_a_sweep_of_two_processes_is_that_of_one(
    start: Callable, lone_sweep: Path, digits: Path, tmp_path: Path
):
    with start("ablation", f"--dataset={digits}", f"--workdir={tmp_path / 'w'}", *SWEEP) as running:
        first, second = map(end, running)
    assert (first.code, first.err) == (0, "")
    assert second == (0, "", "")
    ours, theirs = (
        list(csv.DictReader((path / "results.csv").open())) for path in (tmp_path / "w", lone_sweep)
    )
    assert len(ours) == len(theirs) == 8 * 25
    for mine, other in zip(ours, theirs, strict=True):
        for name, text in other.items():
            try:
                assert float(mine[name]) == pytest.approx(float(text), rel=1e-5, nan_ok=True)
            except ValueError:
                assert mine[name] == text
    kept = sorted(path.name for path in (lone_sweep / "kept").iterdir())
    assert kept == sorted(path.name for path in (tmp_path / "w" / "kept").iterdir())
    for name in kept:
        mine, other = (state(path / "kept" / name) for path in (tmp_path / "w", lone_sweep))
        assert mine.keys() == other.keys()
        for where, array in other.items():
            np.testing.assert_allclose(mine[where], array, rtol=1e-4, atol=1e-6, err_msg=where)


def test_a_lost_process_ends_the_other_and_one_goes_on_alone(
    start: Callable, sweep: Callable, lone_sweep: Path, digits: Path, tmp_path: Path
):
    workdir = tmp_path / "broken"
    flags = (f"--dataset={digits}", f"--workdir={workdir}", "--heartbeat_timeout=10", *SWEEP)
    with start("ablation", *flags) as running:
        wait_for(lambda: list(workdir.glob("cells/000/group_0/epoch_0000[2-9].npz")), running)
        running[1].kill()
        survivor = end(running[0], timeout=60)
        killed = end(running[1])
    assert survivor.code not in (0, None)
    assert re.fullmatch(r"error: .*lost another process.*--resume", survivor.err.splitlines()[-1])
    assert killed.err.splitlines()[-1].startswith("error: process 1 was ended")
    assert not (workdir / "results.csv").exists()
    assert sweep(f"--workdir={workdir}", "--resume").code == 0
    for name in TABLES:
        assert (workdir / name).read_bytes() == (lone_sweep / name).read_bytes(), name


def test_a_signal_to_one_stops_both_after_the_same_epoch(
    start: Callable, digits: Path, tmp_path: Path
):
    run = tmp_path / "run"
    metrics = run / "metrics.jsonl"
    flags = (f"--dataset={digits}", f"--workdir={run}", *TRAIN, "--epochs=100000")
    with start("train", *flags, "--checkpoint_every=100000") as running:
        wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2, running)
        running[1].send_signal(signal.SIGTERM)
        ends = [end(process) for process in running]
    again = f"python -m experiments.train --workdir={run} --resume --checkpoint_every=100000"
    said = f"error: interrupted; go on with: {again}\n"
    assert [(e.code, e.err) for e in ends] == [(130, said)] * 2
    path = checkpoints.latest(run / "checkpoints")
    assert path is not None and path.name == f"epoch_{len(lines(metrics)):05d}.npz"


def test_other_flags_in_one_process_are_named_by_both(
    start: Callable, digits: Path, tmp_path: Path
):
    flags = (f"--dataset={digits}", f"--workdir={tmp_path / 'w'}", *TRAIN)
    with start("train", *flags, only=((), ("--learning_rate=0.5",))) as running:
        ends = [end(process) for process in running]
    said = (
        "error: --learning_rate is not given in process 0 and 0.5 in process 1; start all "
        "processes with the same flags, code and data\n"
    )
    assert [(e.code, e.err) for e in ends] == [(2, said)] * 2
    assert not (tmp_path / "w").exists()


def test_a_coordinator_out_of_reach_is_waited_for_and_named(
    tmp_path: Path, environment: dict[str, str]
):
    place = f"localhost:{free_port()}"
    done = subprocess.run(
        [
            sys.executable, "-m", "experiments.train", f"--workdir={tmp_path / 'w'}",
            "--distributed", f"--coordinator_address={place}", "--num_processes=2",
            "--process_id=1", "--coordinator_timeout=2",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: waited 2 s (--coordinator_timeout) at the coordinator {place}: it cannot be "
    )
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "w").exists()


def listening(port: int) -> set[str]:
    """The addresses, as Linux writes them, at which something listens at a port."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    places = [fields[1].split(":") for fields in lines if fields[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="asks Linux who listens")
def test_the_coordinator_listens_at_its_address_alone(tmp_path: Path, environment: dict[str, str]):
    port = free_port()
    first = subprocess.Popen(
        [
            sys.executable, "-m", "experiments.train", f"--workdir={tmp_path / 'w'}",
            "--distributed", f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2",
            "--process_id=0",
        ],
        env=environment,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not listening(port) and time.monotonic() < deadline:
            assert first.poll() is None
            time.sleep(0.05)
        assert listening(port)
        assert all(address.endswith("0100007F") for address in listening(port))
    finally:
        first.kill()
        first.wait()


_FIRST = ("--distributed", "--workdir=w", "--num_processes=2", "--process_id=0")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--num_processes=2"], "--num_processes has no effect without --distributed"),
        (["--distributed"], "--distributed needs --workdir"),
        (["--distributed", "--process_id=-1"], "--process_id=-1"),
        ([*_FIRST, "--coordinator_address=203.0.113.7:1234"], "cannot listen at 203.0.113.7:1234"),
        ([*_FIRST, "--coordinator_address=127.0.0.1:99999"], "cannot listen at 127.0.0.1:99999"),
        ([*_FIRST, "--coordinator_address=localhost"], "cannot listen at localhost"),
        ([*_FIRST, "--coordinator_address=:x"], "give --coordinator_address=HOST:PORT"),
    ],
)
def test_bad_input_is_one_line(program: Callable, sweep: Callable, flags: list, message: str):
    for run in (program, sweep):
        outcome = run(*flags)
        assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome
        assert message in outcome.err


def test_other_code_in_one_process_is_named(monkeypatch: pytest.MonkeyPatch):
    code = hosts._code()
    other = code | {"cnn_jax/ops/losses.py": "changed", "cnn_jax/training/run.py": "changed"}
    monkeypatch.setattr(processes, "gather_texts", lambda text: [text, text, json.dumps(other)])
    with pytest.raises(
        UsageError, match=r"^cnn_jax/ops/losses.py is \w{8} in process 0 and changed in process 2;"
    ):
        processes.check_same(code)
    assert {"jax", "python", "experiments/train.py"} < code.keys()
