"""A batch split over devices: the same numbers as one device's, and one sum per step.

The devices are the CPU playing eight, in a process of their own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, hyperparameters, make_run
from cnn_jax.training.meshes import BATCH_AXIS, make_mesh, replicate

rng = np.random.default_rng(0)
images = rng.integers(0, 255, (200, 8, 8, 1)).astype(np.uint8)
labels = rng.integers(0, 4, 200).astype(np.int32)
task = Task((8, 8, 1), 4, (0.4,), (0.2,))
results = {}
for normalization in ("none", "batch"):
    for optimizer in ("momentum", "gradient_descent"):
        architecture = Architecture(
            filters=(4,), hidden=(8,), normalization=normalization, dropout=True
        )
        config = Config(architecture, optimizer=optimizer, batch_size=16)
        ends = []
        for mesh in (None, make_mesh(BATCH_AXIS)):
            run = make_run(config, task, mesh)
            numbers = {k: jnp.float32(v) for k, v in hyperparameters(config).items()}
            hparams, key, examples = replicate(
                (numbers, jax.random.key(0), Examples(jnp.asarray(images), jnp.asarray(labels))),
                mesh,
            )
            state = replicate(jax.jit(run.init)(hparams, key, examples), mesh)
            epoch = jax.jit(run.epoch, donate_argnums=0)
            program = epoch.lower(state, hparams, key, examples).compile()
            with jax.transfer_guard("disallow"):
                for _ in range(2):
                    state, metrics = program(state, hparams, key, examples)
            scores = jax.jit(run.evaluate)(state, hparams, examples)
            ends.append([np.asarray(leaf) for leaf in jax.tree.leaves((state, metrics, scores))])
        results[f"{normalization} {optimizer}"] = {
            "difference": max(
                float(np.max(np.abs(a - b)) / (np.max(np.abs(a)) + 1e-12)) for a, b in zip(*ends)
            ),
            "collectives": sorted(
                set(re.findall(
                    r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)"
                    r"(?:-start)?\\(", program.as_text()
                ))
            ),
            "devices": jax.device_count(),
        }
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    """What the program with eight devices found, by normalisation and optimizer."""
    root = str(Path(__file__).resolve().parents[2])
    flags = "--xla_force_host_platform_device_count=8"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("optimizer", ["momentum", "gradient_descent"])
def test_eight_devices_give_what_one_gives(results: dict, normalization: str, optimizer: str):
    result = results[f"{normalization} {optimizer}"]
    assert result["devices"] == 8
    assert result["difference"] < 1e-5


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("optimizer", ["momentum", "gradient_descent"])
def test_devices_exchange_sums_only(results: dict, normalization: str, optimizer: str):
    assert results[f"{normalization} {optimizer}"]["collectives"] == ["all-reduce"]
