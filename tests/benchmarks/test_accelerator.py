"""The benchmark of accelerators at its smallest, on what is there."""

import sys

import jax
import pytest
from rich.console import Console

from benchmarks.accelerator import card, speed, trials, worker
from benchmarks.accelerator.networks import TIMED
from cnn_jax.training.sweep import VECTORIZATIONS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "STEPS", 2)
    monkeypatch.setattr(speed, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(trials, "STEPS", 2)


def test_speed_without_torch(capsys):
    option = {"xla_cpu_enable_fast_math": False}
    workers = speed.start(["lenet5"], ["float32"], 8, None, ["auto", "lax"], [option])
    rows = list(speed.measure(workers, 8, 1))
    worker.close(list(workers.values()))
    ours = ["cnn_jax", "cnn_jax, lax"]
    assert sorted(row.contender for row in rows) == sorted(
        [*ours, *(f"{name}, xla_cpu_enable_fast_math=False" for name in ours)]
    )
    for row in rows:
        assert row.images_per_second == pytest.approx(8e3 / row.milliseconds)
        assert row.share is None and row.times_compiled is None
    speed.show(Console(width=140), rows, 8)
    assert "lenet5" in capsys.readouterr().out


def test_trials_in_every_way(capsys):
    points = [(way, 2) for way in VECTORIZATIONS]
    workers = trials.start({"lenet5": points}, ["float32"], 8)
    lone, *rows = trials.measure(workers, 1)
    worker.close(list(workers.values()))
    assert (lone.way, lone.times_lone) == (trials.LONE, 1)
    assert [row.way for row in rows] == list(VECTORIZATIONS)
    assert [row.way for row in rows if row.chosen] == ["map"]
    missing = lone._replace(way="vmap", trials=1024, images_per_second=None, times_lone=None)
    trials.show(Console(width=140), [lone, *rows, missing])
    printed = capsys.readouterr().out
    assert "networks/min" in printed and "does not fit" in printed


def test_a_process_that_ends_is_named():
    lost = worker.Worker("ours", sys.executable, "speed_side", "--network=lenet5")
    with pytest.raises(worker.EndedError, match="ours ended without an answer"):
        lost.ready()
    lost.close()


def test_share_of_a_card(monkeypatch: pytest.MonkeyPatch):
    assert card.this_card() is None
    device = type("Device", (), {"device_kind": "NVIDIA H200"})
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert card.this_card() == card.CARDS["H200"]
    # Kernels with their bias: 5x5x1 x 6 on 28x28, 5x5x6 x 16 on 10x10, and three dense layers.
    products = 784 * 156 + 100 * 2416 + 401 * 120 + 121 * 84 + 85 * 10
    assert card.operations(TIMED["lenet5"]) == 6 * products
