"""Every program on an accelerator: JAX_PLATFORMS=cuda python -m pytest tests/accelerators.

Skipped where there is none.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax import compilation
from cnn_jax.training import PRECISIONS
from cnn_jax.training.sweep import VECTORIZATIONS

pytestmark = pytest.mark.skipif(
    jax.default_backend() == "cpu", reason="no accelerator, or JAX_PLATFORMS does not name one"
)

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--dataset=mnist", "--train_examples=2000", "--filters=8", "--hidden=16"]


def run(*arguments: str) -> str:
    """What a program prints; fails with that if it fails."""
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "COLUMNS": "120"}
    environment.pop("JAX_DEFAULT_MATMUL_PRECISION", None)
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=PRECISIONS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    path = tmp_path_factory.mktemp(request.param) / "run"
    run(
        "experiments.train", *SMALL, "--epochs=2", f"--precision={request.param}",
        f"--workdir={path}",
    )  # fmt: skip
    yield path


def test_a_run_learns_and_is_used(trained: Path):
    assert json.loads((trained / "result.json").read_text())["test_accuracy"] > 0.5
    run("experiments.evaluate", f"--run={trained}")
    assert "seven" in run("experiments.predict", f"--run={trained}", str(ROOT / "docs/seven.png"))
    run("experiments.explain", f"--run={trained}")


def test_a_run_goes_on(trained: Path):
    assert "epoch 3 of 3" in run(
        "experiments.train", f"--workdir={trained}", "--resume", "--epochs=3"
    )


@pytest.mark.parametrize("vectorization", VECTORIZATIONS)
def test_a_sweep_in_every_way(tmp_path: Path, vectorization: str):
    printed = run(
        "experiments.ablation", *SMALL, "--epochs=2", "--vary=activation=relu,tanh", "--seeds=3",
        f"--vectorization={vectorization}", f"--workdir={tmp_path / 'sweep'}",
    )  # fmt: skip
    assert "tanh" in printed


def test_plans():
    assert "FLOPs per image" in run("experiments.train", *SMALL, "--plan")
    assert "FLOPs" in run("experiments.ablation", "--vary=activation=relu,tanh", *SMALL, "--plan")


def test_the_compiler_is_right():
    with jax.default_matmul_precision("float32"):
        assert compilation.miscompilations() == []


def test_same_flags_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Each compiles by itself.
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    flag = "--xla_gpu_deterministic_ops=true" if jax.default_backend() == "gpu" else ""
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip())
    found = []
    for name in ("first", "second"):
        run("experiments.train", *SMALL, "--epochs=2", f"--workdir={tmp_path / name}")
        with np.load(tmp_path / name / "checkpoints" / "epoch_00002.npz") as arrays:
            # Beside the state a checkpoint says how long it took.
            state = {key: arrays[key].tobytes() for key in arrays.files if key != "said"}
        found.append(state)
    assert found[0] == found[1]
