"""The programs on several devices: what they share, that they go on on others, what they refuse.

All are run in one process of its own, where the CPU plays eight devices.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from absl import flags

from experiments.flags import machine

RUN = (
    "--filters=4", "--hidden=8", "--batch_size=16", "--epochs=3", "--seed=5", "--dropout_rate=0.2",
    "--normalization=batch", "--optimizer=momentum",
)  # fmt: skip
SWEEP = (
    "--filters=4", "--hidden=", "--batch_size=16", "--epochs=2", "--seeds=3", "--optimizer=sgd",
    "--vary=learning_rate=0.1", "--validation_fraction=0.3",
)  # fmt: skip
BAD = [
    ("train", ["--devices=9"], "--devices=9: there are 8 (cpu); give at most 8"),
    ("train", ["--devices=3"], "batches of 16 cannot be split evenly over 3 devices"),
    ("train", ["--mesh=batch:5"], "batches of 16 cannot be split evenly over 5 devices"),
    ("train", ["--mesh=trial:4,batch:4"], "is of 16 devices, but there are 8"),
    ("train", ["--mesh=batch:4", "--devices=8"], "is of 4 devices, but --devices=8 is 8"),
    ("train", ["--mesh=batch:4", "--devices=all"], "is of 4 devices, but --devices=all is 8"),
    ("train", ["--mesh=trial:4,batch:2"], "has no trials to split; give batch:8"),
    ("ablation", ["--mesh=trial:2,batch:3"], "batches of 16 cannot be split evenly over 3 devices"),
    ("ablation", ["--mesh=trial:8,batch:8"], "is of 64 devices, but there are 8"),
]


class Programs:
    """What was run, by name, and what came of it."""

    def __init__(self, folder: Path, digits: Path):
        self.folder, self._digits = folder, digits
        self.names: list[str] = []
        self.calls: list[tuple[str, list[str], int | None]] = []
        self.outcomes: dict[str, tuple[int, str, str]] = {}

    def add(self, name: str, program: str, *given: str, run: str = "", stop: int | None = None):
        """A program to run, in the folder `run` if that is another's."""
        arguments = [f"--workdir={self.folder / (run or name)}", *given]
        if "--resume" not in given:
            arguments.append(f"--dataset={self._digits}")
        self.names.append(name)
        self.calls.append((program, arguments, stop))

    def start(self, environment: dict[str, str]) -> None:
        here = Path(__file__).resolve()
        process = subprocess.run(
            [sys.executable, str(here.with_name("programs_on_eight.py")), json.dumps(self.calls)],
            env={
                **environment,
                "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
                "CNN_JAX_CACHE": str(self.folder / "cache"),
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        self.outcomes = dict(zip(self.names, json.loads(process.stdout), strict=True))


@pytest.fixture(scope="module")
def programs(
    digits: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Programs:
    """All that is run on eight devices."""
    programs = Programs(tmp_path_factory.mktemp("eight"), digits)
    programs.add("one", "train", *RUN, "--devices=1")
    programs.add("moved", "train", *RUN, "--devices=8", "--shard_data", stop=1)
    programs.add("to four", "train", "--resume", "--mesh=batch:4", run="moved", stop=1)
    programs.add("to one", "train", "--resume", "--devices=1", run="moved")
    programs.add("sweep on one", "ablation", *SWEEP, "--devices=1")
    programs.add("sweep on two axes", "ablation", *SWEEP, "--mesh=trial:4,batch:2", "--shard_data")
    programs.add("sweep moved", "ablation", *SWEEP, stop=1)
    programs.add("sweep to five", "ablation", "--resume", "--mesh=trial:5", run="sweep moved")
    for number, (program, given, _) in enumerate(BAD):
        base = RUN if program == "train" else SWEEP
        programs.add(f"bad {number}", program, *base, *given)
    programs.start(environment)
    return programs


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same texts, and numbers that are equal to rounding."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        try:
            number = float(value)
        except ValueError:
            assert ours[name] == value, name
        else:
            assert float(ours[name]) == pytest.approx(number, rel=1e-5, abs=1e-9), name


def test_a_run_goes_on_on_other_devices_to_the_same_end(programs: Programs):
    codes = [programs.outcomes[name][0] for name in ("one", "moved", "to four", "to one")]
    assert codes == [0, 130, 130, 0], programs.outcomes
    one, moved = programs.folder / "one", programs.folder / "moved"
    for ours, theirs in zip(metrics(moved), metrics(one), strict=True):
        assert_close(ours, theirs)
    assert len(metrics(moved)) == 3
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (moved, one))
    assert ours["test_accuracy"] == theirs["test_accuracy"]
    assert ours["test_loss"] == pytest.approx(theirs["test_loss"], rel=1e-5)


def test_a_run_does_not_keep_where_it_ran(programs: Programs):
    for name in ("flags.txt", "config.json"):
        ours, theirs = (programs.folder / run / name for run in ("moved", "one"))
        assert ours.read_text() == theirs.read_text()


def test_it_says_how_to_go_on_on_the_same_devices(programs: Programs):
    _, _, err = programs.outcomes["moved"]
    assert err.endswith(f"{programs.folder / 'moved'} --resume --devices=8 --shard_data\n")
    assert len(err.splitlines()) == 1


def test_what_the_devices_share_is_said(programs: Programs):
    out = {name: outcome[1] for name, outcome in programs.outcomes.items()}
    assert "\n8 of 8 devices (batch:8), the data set in 8 parts\n" in out["moved"]
    assert "\n4 of 8 devices (batch:4)\n" in out["to four"]
    assert "\n1 of 8 devices\n" in out["one"]
    assert "\n6 of 8 devices (trial:3,batch:2)\n" in out["sweep moved"]
    assert "\n5 of 8 devices (trial:5), 2 of 5 places idle\n" in out["sweep to five"]
    assert (
        "\n8 of 8 devices (trial:4,batch:2), 1 of 4 places idle, the data set in 2 parts\n"
        in out["sweep on two axes"]
    )


@pytest.mark.parametrize("together, devices", [(16, 8), (12, 6), (7, 7), (11, 1)])
def test_by_itself_a_run_takes_as_many_as_divide_a_batch(
    monkeypatch: pytest.MonkeyPatch, together: int, devices: int
):
    flags.FLAGS.unparse_flags()
    flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(jax, "devices", lambda: [None] * 8)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    shape = machine.shape_for_run(together)
    assert shape == (1, devices)
    assert machine.describe_shape(shape).startswith(f"{devices} of 8 devices")


@pytest.mark.parametrize("name", ["sweep on two axes", "sweep moved"])
def test_sweeps_on_other_devices_give_the_same_results(programs: Programs, name: str):
    assert programs.outcomes["sweep moved"][0] == 130, programs.outcomes["sweep moved"]
    assert programs.outcomes["sweep to five"][0] == 0, programs.outcomes["sweep to five"]
    ours, theirs = (
        list(csv.DictReader((programs.folder / run / "results.csv").read_text().splitlines()))
        for run in (name, "sweep on one")
    )
    assert len(theirs) == 3 * 2
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other)


@pytest.mark.parametrize("number", range(len(BAD)), ids=[" ".join(given) for _, given, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(programs: Programs, number: int):
    code, out, err = programs.outcomes[f"bad {number}"]
    assert code == 2, (out, err)
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert BAD[number][2] in err
    assert not (programs.folder / f"bad {number}").exists()
