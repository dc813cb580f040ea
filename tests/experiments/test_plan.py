"""What --plan prints: numbers of the compiled programs, and nothing on disk."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cnn_jax.training import Config, Task
from experiments.runs import plan

NETWORK = ("--filters=4,8", "--hidden=8", "--batch_size=16", "--epochs=3", "--convolution=lax")
# Two 3x3 convolutions with pooling after each, on 8x8 images, then two dense layers, 4 classes.
PARAMETERS = (9 * 4 + 4) + (9 * 4 * 8 + 8) + (32 * 8 + 8) + (8 * 4 + 4)


def number(text: str, name: str) -> float:
    """The number after a name in the table."""
    return float(re.search(rf"\n *{name} +([\d,.]+)", text)[1].replace(",", ""))


def test_plan_of_a_run(program: Callable, digits: Path, tmp_path: Path, elsewhere: Path):
    outcome = program(f"--dataset={digits}", "--plan", f"--workdir={tmp_path / 'w'}", *NETWORK)
    assert (outcome.code, outcome.err) == (0, "")
    assert number(outcome.out, "parameters") == PARAMETERS
    # Products with pixels, forward, to kernels, and to inputs but the images; then elementwise.
    first, second, dense = 22**2 * 4, 10**2 * 4 * 8, 32 * 8 + 8 * 4
    products = 2 * (3 * (first + second + dense) - first)
    assert products < number(outcome.out, "FLOPs per image") < 1.5 * products
    assert number(outcome.out, "collective bytes per step") == 0
    assert re.search(r"step +[\d.]+ ms +measured, 16 images", outcome.out)
    assert re.search(r"time +[\d.]+ s +on this machine for 3 epochs", outcome.out)
    assert not (tmp_path / "w").exists()
    assert not list(elsewhere.iterdir())


def test_time_of_a_run():
    task = Task((8, 8, 1), 4, (0.4,), (0.2,))
    step = plan.Step(images=10, flops_per_image=0, seconds=0.5)
    config = Config(batch_size=20, epochs=3, micro_batches=2)
    # Ten steps of two parts; the last, smaller batch is left out.
    assert plan.run_seconds(config, task, step, 215, 0) == 3 * 20 * 0.5
    # A view of 30 images is forward only: a third of three parts.
    assert plan.run_seconds(config, task, step, 215, 30) == pytest.approx(3 * 21 * 0.5)
    views = replace(config, tta="flip_translate")
    assert plan.run_seconds(views, task, step, 215, 30) == pytest.approx(3 * 26 * 0.5)
    small = replace(config, resolutions=((4, 2),))
    assert plan.run_seconds(small, task, step, 215, 0) == (2 / 4 + 1) * 20 * 0.5
    whole = replace(config, optimizer="gradient_descent", batch_size=10, micro_batches=1)
    assert plan.run_seconds(whole, task, step, 215, 0) == 3 * 22 * 0.5


def test_plan_of_a_sweep(sweep: Callable, digits: Path, tmp_path: Path, elsewhere: Path):
    outcome = sweep(
        f"--dataset={digits}", "--plan", f"--workdir={tmp_path / 'w'}", *NETWORK,
        "--vary=learning_rate=0.1,0.2", "--seeds=3",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "6 networks in 1 program" in outcome.out
    assert re.search(r"trials per program +6 +of 6", outcome.out)
    assert re.search(r"step +\S+ ms +measured, 16 images of a trial", outcome.out)
    assert re.search(r"time +[\d.]+ s .*trials one after another", outcome.out)
    several = sweep(
        f"--dataset={digits}", "--plan", f"--workdir={tmp_path / 'w'}", *NETWORK,
        "--vary=activation=relu,tanh", "--vary=learning_rate=0.1,0.2", "--seeds=3",
    )  # fmt: skip
    assert "12 networks in 2 programs" in several.out
    # Trials of the program, bytes thrice, operations, nothing exchanged, and how long.
    for cell in (1, 2):
        row = rf"\n +{cell} +6 +(\S+ [KM]iB +){{3}}[\d,]+ +0 +\S+ ms +[\d.]+ s"
        assert re.search(row, several.out), several.out
    assert not (tmp_path / "w").exists()
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**52, "4,096.0 TiB"),
    ],
)
def test_sizes(count: int, text: str):
    assert plan.size(count) == text
