"""The benchmark of accelerators at its smallest, on what is there."""

import jax
import pytest
from rich.console import Console

from benchmarks.accelerator import card, speed, trials
from cnn_jax.training.sweep import VECTORIZATIONS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "STEPS", 2)
    monkeypatch.setattr(speed, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(trials, "STEPS", 2)


def test_speed_without_torch(capsys):
    option = {"xla_cpu_enable_fast_math": False}
    rows = list(speed.measure(["lenet5"], ["float32"], 8, 1, None, [option]))
    assert [row.contender for row in rows] == ["cnn_jax", "cnn_jax, xla_cpu_enable_fast_math=False"]
    for row in rows:
        assert row.images_per_second == pytest.approx(8e3 / row.milliseconds)
        assert row.share is None and row.times_compiled is None
    speed.show(Console(width=140), rows, 8)
    assert "lenet5" in capsys.readouterr().out


def test_trials_in_every_way(capsys):
    lone, *rows = trials.measure(["lenet5"], ["float32"], [2], 8, 1)
    assert (lone.way, lone.times_lone) == (trials.LONE, 1)
    assert [row.way for row in rows] == list(VECTORIZATIONS)
    assert [row.way for row in rows if row.chosen] == ["map"]
    trials.show(Console(width=140), [lone, *rows])
    assert "networks/min" in capsys.readouterr().out


def test_share_of_a_card(monkeypatch: pytest.MonkeyPatch):
    assert card.this_card() is None
    device = type("Device", (), {"device_kind": "NVIDIA H200"})
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert card.this_card() == card.CARDS["H200"]
    # Kernels with their bias: 5x5x1 x 6 on 28x28, 5x5x6 x 16 on 10x10, and three dense layers.
    products = 784 * 156 + 100 * 2416 + 401 * 120 + 121 * 84 + 85 * 10
    assert card.operations(speed.TIMED["lenet5"]) == 6 * products
