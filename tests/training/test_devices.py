"""Trials and batches split over devices: the same numbers as one device's, and one sum per step.

The devices are the CPU playing eight, in a process of their own (`devices_program`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import Config
from cnn_jax.training.checks import check_divides
from cnn_jax.training.devices import MeshShape, best_shape, make_mesh

TOLERANCE = 1e-5
RUNS = [
    f"{normalization} {optimizer}"
    for normalization in ("none", "batch")
    for optimizer in ("momentum", "gradient_descent")
]
SHARDED = ["none momentum", "batch momentum"]
SWEEPS = ["trial:8 map", "trial:4,batch:2 map", "trial:4,batch:2 vmap sharded"]


@pytest.fixture(scope="module")
def results() -> dict:
    """What the program with eight devices found."""
    here = Path(__file__).resolve()
    flags = "--xla_force_host_platform_device_count=8"
    process = subprocess.run(
        [sys.executable, str(here.with_name("devices_program.py"))],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": flags,
            "PYTHONPATH": str(here.parents[2]),
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["devices"] == 8
    return found


@pytest.mark.parametrize(
    "run", [f"{run} whole" for run in RUNS] + [f"{run} sharded" for run in SHARDED]
)
def test_eight_devices_give_what_one_gives(results: dict, run: str):
    result = results["runs"][run]
    assert result["difference"] < TOLERANCE
    assert result["donated"]


@pytest.mark.parametrize("run", RUNS)
def test_devices_exchange_sums_only(results: dict, run: str):
    result = results["runs"][f"{run} whole"]
    assert result["collectives"] == ["all-reduce"]
    assert result["images on each"] == [203] * 8


@pytest.mark.parametrize("run", SHARDED)
def test_of_sharded_data_no_device_ever_has_more_than_its_part(results: dict, run: str):
    result = results["runs"][f"{run} sharded"]
    part = -(-203 // 8)
    assert result["images on each"] == [part] * 8
    assert max(result["images in the program"]) == part


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_on_eight_devices_gives_what_one_gives(results: dict, sweep: str):
    result = results["sweeps"][sweep]
    assert result["status"] == ["training"] * 3 + ["diverged", "training"]
    assert result["places"] == 8
    assert result["difference"] < TOLERANCE
    assert result["donated"]


def test_trials_exchange_nothing(results: dict):
    assert results["sweeps"]["trial:8 map"]["collectives"] == []


def test_trials_whose_batches_are_split_exchange_sums_only(results: dict):
    result = results["sweeps"]["trial:4,batch:2 map"]
    assert result["collectives"] == ["all-reduce"]
    assert result["images on each"] == [203] * 8


def test_in_a_sweep_data_are_sharded_over_the_devices_that_share_a_batch(results: dict):
    assert results["sweeps"]["trial:4,batch:2 vmap sharded"]["images on each"] == [102] * 8


@pytest.mark.parametrize("devices", ["1", "4"])
def test_a_run_on_eight_devices_goes_on_on_fewer(results: dict, devices: str):
    result = results["restored runs"][devices]
    assert result["same bits"]
    assert result["difference"] < TOLERANCE


@pytest.mark.parametrize("shape, places", [("one", 5), ("trial:2,batch:2", 6)])
def test_a_sweep_in_flight_on_eight_devices_goes_on_on_fewer(
    results: dict, shape: str, places: int
):
    result = results["restored sweeps"][shape]
    assert result["same bits"]
    assert result["places"] == places
    assert result["difference"] < TOLERANCE


@pytest.mark.parametrize(
    "devices, trials, batch, shape",
    [
        (8, 8, 128, (8, 1)),
        (8, 20, 128, (8, 1)),
        (8, 4, 128, (4, 2)),
        (8, 3, 128, (3, 2)),
        (8, 1, 128, (1, 8)),
        (8, 1, 100, (1, 5)),
        (8, 2, 27, (2, 3)),
        (6, 1, 7, (1, 1)),
        (1, 5, 128, (1, 1)),
    ],
)
def test_trials_are_split_first(devices: int, trials: int, batch: int, shape: tuple[int, int]):
    assert best_shape(devices, trials, batch) == shape


def test_what_cannot_be_split_is_refused():
    config = Config(Architecture(), batch_size=60, micro_batches=2)
    check_divides(config, 5)
    with pytest.raises(UsageError, match="batches of 30 cannot be split evenly over 8 devices.* 6"):
        check_divides(config, 8)
    with pytest.raises(UsageError, match="12 devices were asked for, but there (is|are)"):
        make_mesh(MeshShape(4, 3))
