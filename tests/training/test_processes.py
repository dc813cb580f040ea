"""What processes tell each other, without others; with them it is in tests/experiments."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cnn_jax.errors import UsageError
from cnn_jax.training import devices, processes


def test_a_lone_process_has_its_own_answers():
    assert processes.gather_texts("ä") == ["ä"]
    assert processes.together(os.getpid) == os.getpid()
    assert processes.from_first(3) == 3
    assert processes.least(4) == 4
    assert not processes.any_process(False)
    assert processes.fetch({"a": jax.numpy.ones(2)})["a"].tolist() == [1, 1]


def test_a_problem_of_one_process_is_told_by_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes, "gather_texts", lambda text: [text, "no data here"])
    with pytest.raises(UsageError, match="^process 1: no data here$"):
        processes.together(lambda: 1)

    def fail() -> None:
        raise UsageError("no data there")

    with pytest.raises(UsageError, match="^no data there$"):
        processes.together(fail)


def test_only_errors_of_communication_mean_that_a_process_was_lost(monkeypatch: pytest.MonkeyPatch):
    closed = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllReduce failed: Connection closed\nmore")
    assert processes.loss(closed) is None
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert str(processes.loss(closed)) == (
        "lost another process (UNKNOWN: Gloo AllReduce failed: Connection closed)"
    )
    assert processes.loss(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: memory")) is None


def test_few_devices_are_taken_from_every_process(monkeypatch: pytest.MonkeyPatch):
    there = [SimpleNamespace(id=n, process_index=n // 4, platform="cpu") for n in range(12)]
    monkeypatch.setattr(jax, "devices", lambda: there)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(devices, "Mesh", lambda devices, axes: devices)
    mesh = devices.make_mesh(devices.MeshShape(trial=2, batch=3))
    assert np.vectorize(lambda device: device.id)(mesh).tolist() == [[0, 1, 4], [5, 8, 9]]
    with pytest.raises(UsageError, match="2 of 12 devices are used, which leaves some of the 3 pr"):
        devices.make_mesh(devices.MeshShape(batch=2))


@pytest.mark.parametrize(
    "ending, said", [("os.abort()", "error: gone; so\n"), ("sys.exit()", ""), ("leave(2)", "")]
)
def test_a_last_word_is_said_for_a_process_that_cannot(ending: str, said: str):
    root = Path(processes.__file__).parents[2]
    program = (
        "import faulthandler, os, sys; faulthandler.enable()\n"
        "from cnn_jax.training.processes import leave, say_if_ended\n"
        f"say_if_ended('gone; so'); {ending}"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stderr == said
