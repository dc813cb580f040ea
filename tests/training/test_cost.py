"""What compiled programs say of themselves, against arithmetic by hand.

The eight devices are the CPU playing them, in a process of their own.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cnn_jax import compilation, native, ops
from cnn_jax.models import Architecture, build_abstract, count_parameters
from cnn_jax.training import Config, Examples, Task, hyperparameters, make_run
from cnn_jax.training.programs import (
    Collective,
    collective_bytes,
    collectives,
    one_step,
    program_cost,
)

on_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="other compilers count other operations, if any"
)

TEXT = """HloModule jit_epoch, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%inner (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %start = (bf16[8]{0}, bf16[8]{0}) all-reduce-start(%v), to_apply=%add
  %done = bf16[8]{0:T(256)(2,1)} all-reduce-done(%start), metadata={op_name="all-reduce(x)"}
}

%body.1_spmd (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %g = (f32[3,4]{1,0}, pred[5]{0}, /*index=2*/f32[]) all-reduce(%a, %b, %c), to_apply=%add
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%inner, \
backend_config={"known_trip_count":{"n":"2"},"known_init_step":{"init":"0","step":"1"}}
}

%branch (p: u8[]) -> u8[] {
  ROOT %moved = u8[3,2]{1,0} collective-permute(%p), source_target_pairs={{0,1}}
}

ENTRY %main.2_spmd (p: f32[8]) -> f32[8] {
  %epoch = (s32[], f32[8]) while(%t), condition=%c, body=%body.1_spmd, \
backend_config={"known_trip_count":{"n":"10"}}
  %chosen = u8[] conditional(%i, %x, %x), branch_computations={%branch, %other}
  ROOT %all = f32[16]{0} all-gather(%q), dimensions={0}
}
"""


def test_exchanges_in_the_text_of_a_program():
    assert collectives(TEXT) == [
        Collective("all-reduce", 4 * 12 + 5 + 4, 10),
        Collective("all-reduce", 16, 20),
        Collective("collective-permute", 6, 1),
        Collective("all-gather", 64, 1),
    ]
    assert collective_bytes(TEXT, steps=10) == 57 + 2 * 16 + 7
    assert collectives("") == []


@on_cpu
def test_operations_and_memory_of_a_small_network():
    task, batch = Task((16, 16, 3), 10, (0.4,) * 3, (0.2,) * 3), 32
    architecture = Architecture(filters=(32, 64), hidden=(64,), convolution="lax")
    config = Config(architecture, optimizer="sgd", batch_size=batch)
    numbers = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    costs = {}
    for count in (batch, 3 * batch):
        examples = Examples(
            jnp.zeros((count, 16, 16, 3), jnp.uint8), jnp.zeros((count,), jnp.int32)
        )
        run, key = make_run(config, task), jax.random.key(0)
        state = jax.eval_shape(run.init, numbers, key, examples)
        epoch = jax.jit(run.epoch, donate_argnums=0)
        costs[count] = program_cost(epoch.lower(state, numbers, key, examples).compile())
    one, three = costs.values()
    # Taps on pixels, not on padding: a 3x3 kernel has (3 n - 2)^2 on n x n pixels.
    first, second, dense, output = 46**2 * 3 * 32, 22**2 * 32 * 64, 1024 * 64, 64 * 10
    forward = first + second + dense + output
    # Back to every kernel, and to every layer's input but the images.
    products = 2 * forward + (forward - first)
    # Elementwise work comes on top.
    assert 2 * products < one.flops / batch < 1.05 * 2 * products
    # The body of a loop counts once: an epoch of three steps costs hardly more than that of one.
    assert three.flops == pytest.approx(one.flops, rel=0.01)
    parameters = 4 * (9 * 3 * 32 + 32 + 9 * 32 * 64 + 64 + 1024 * 64 + 64 + 64 * 10 + 10)
    image = 16 * 16 * 3 + 4
    # Beside them the key, the learning rate and the number of the epoch.
    assert 0 <= one.argument_bytes - (parameters + batch * image) < 256
    assert three.argument_bytes - one.argument_bytes == 2 * batch * image
    assert parameters <= one.aliased_bytes <= one.output_bytes < parameters + 256
    assert one.device_bytes == pytest.approx(
        parameters + batch * image + one.temporary_bytes, abs=512
    )


@on_cpu
@pytest.mark.parametrize("strides, dilation", [(1, 1), (2, 1), (1, 2)])
def test_operations_that_xla_does_not_count(strides: int, dilation: int):
    """Of convolutions by oneDNN, and of the library's."""
    images, kernel = jnp.ones((4, 14, 11, 8)), jnp.ones((3, 5, 8, 16))
    native.load()

    def convolve(lowering: ops.Lowering, images: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.conv2d(images, kernel, strides=strides, dilation=dilation, lowering=lowering)

    def counted(lowering: ops.Lowering, options: compilation.CompilerOptions) -> float:
        program = compilation.jit(partial(convolve, lowering), wanted=options)
        return program_cost(program.lower(images, kernel).compile()).flops

    expected = counted("lax", compilation.EIGEN)
    assert counted("onednn", compilation.ONEDNN) == expected > 0
    if native.load() and dilation == 1:
        assert counted("direct", compilation.SAFE) == expected


def test_one_step_is_one_part_of_a_batch():
    config, images = one_step(Config(batch_size=96, micro_batches=4))
    assert (images, config.batch_size, config.micro_batches) == (24, 24, 1)


PROGRAM = """
import json
import jax, jax.numpy as jnp
from benchmarks.scaling_programs import compile_network
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, hyperparameters, make_run
from cnn_jax.training.programs import compile_epoch
from cnn_jax.training.programs import collective_bytes
from cnn_jax.training.devices import MeshShape, make_mesh, whole

task, steps, results = Task((8, 8, 1), 4, (0.4,), (0.2,)), 3, {}
mesh = make_mesh(MeshShape(batch=8))
for normalization in ("none", "batch"):
    architecture = Architecture(
        filters=(4, 8), hidden=(8,), normalization=normalization, convolution="lax"
    )
    config = Config(architecture, batch_size=16)
    run, key = make_run(config, task, mesh), jax.random.key(0)
    numbers = {name: jnp.float32(value) for name, value in hyperparameters(config).items()}
    count = steps * 16
    examples = Examples(
        jax.ShapeDtypeStruct((count, 8, 8, 1), jnp.uint8),
        jax.ShapeDtypeStruct((count,), jnp.int32),
    )
    state = jax.eval_shape(run.init, numbers, key, examples)
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole(mesh)),
        (state, numbers, key, examples),
    )
    text = compile_epoch(run.epoch, *arguments).as_text()
    results[normalization] = collective_bytes(text, steps)
results["scaling"] = compile_network("cnn", 8)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def devices() -> dict:
    """Bytes exchanged in a step by normalization, and a row of `benchmarks.scaling`."""
    root = str(Path(__file__).resolve().parents[2])
    flags = "--xla_force_host_platform_device_count=8"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_devices_exchange_gradients_metrics_and_statistics(devices: dict, normalization: str):
    architecture = Architecture(filters=(4, 8), hidden=(8,), normalization=normalization)
    rows = count_parameters(build_abstract(architecture, (8, 8, 1), 4), (8, 8, 1))
    gradients = sum(row.counted for row in rows)
    # The loss and the hits; mean and variance of each of 12 channels, and the gradients of both.
    metrics, statistics = 2, (4 * 12 if normalization == "batch" else 0)
    assert 4 * (gradients + metrics) <= devices[normalization]
    assert devices[normalization] <= 4 * (gradients + metrics + statistics)


def test_the_scaling_table_is_of_today(devices: dict):
    """The document's row of this network and number of devices is what compiling it gives."""
    root = Path(__file__).resolve().parents[2]
    name, parameters, count, *numbers = devices["scaling"]
    start = f"| {name} | {parameters:,} | {count} |"
    text = (root / "docs" / "scaling.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith(start))
    cells = [float(cell.replace(",", "")) for cell in row.strip("|").split("|")[3:]]
    assert cells == pytest.approx(numbers, rel=0.05)
