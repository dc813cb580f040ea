"""Who takes part in the timings: one training step each, of the same network on the same shapes.

A step is forward, backward and an update of SGD with momentum. Examples and labels are random: what
they are does not change how long a step takes.
"""

import atexit
import importlib.util
import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int32, UInt8

from benchmarks import flax_networks
from cnn_jax.compilation import CompilerOptions
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.training import Config, Examples, Task, augmentations, hyperparameters, make_run
from cnn_jax.training.programs import compile_epoch

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10
LEARNING_RATE = 0.02
MOMENTUM = 0.9
# A loop of one step would be unrolled by XLA, and no loop.
STOCK_STEPS = 2
# Uniform bytes, scaled to [0, 1].
MEAN, STD = 0.5, 0.29


class Network(NamedTuple):
    """One network in three libraries.

    Attributes:
        image_shape: height, width, channels.
        architecture: for cnn_jax.
        stock: the stock Flax module's constructor, if there is one.
        torch_name: the class in `benchmarks.torch_networks` or `torch_airnet`.
        epoch_steps: steps in our compiled epoch, as many as a second or a few hold. An epoch of
            MNIST has over 400; of few steps, the start of the program would weigh more than it does
            there.
    """

    image_shape: tuple[int, int, int]
    architecture: Architecture
    stock: Callable[[nnx.Rngs], nnx.Module] | None
    torch_name: str
    epoch_steps: int


NETWORKS = {
    "flax-mnist-cnn": Network(
        (28, 28, 1),
        Architecture(model="cnn", pooling="average"),
        flax_networks.MnistCnn,
        "MnistCnn",
        24,
    ),
    "lenet5": Network(
        (28, 28, 1),
        Architecture(model="lenet5", activation="tanh", pooling="average"),
        flax_networks.LeNet5,
        "LeNet5",
        20,
    ),
    "resnet20": Network(
        (32, 32, 3),
        Architecture(model="resnet20", normalization="batch"),
        flax_networks.ResNet20,
        "ResNet20",
        8,
    ),
    "airnet": Network(
        (32, 32, 3),
        Architecture(model="airnet", activation="gelu", normalization="batch"),
        None,
        "AirNet",
        4,
    ),
}


class Contender(NamedTuple):
    """One way to take training steps.

    Attributes:
        name: as the table shows it.
        parameters: trained numbers of its network.
        steps: training steps in a call.
        advance: makes that many calls, one after the other, and waits for the last.
        program: compiled, if the contender compiles.
        compile_seconds: what that took.
        cpu_seconds: that its process has used.
    """

    name: str
    parameters: int
    steps: int
    advance: Callable[[int], None]
    program: jax.stages.Compiled | None = None
    compile_seconds: float | None = None
    cpu_seconds: Callable[[], float] = time.process_time


def contenders(
    network: Network, batch_size: int, precision: str = "float32", torch: str | None = None
) -> list[Contender]:
    """All that can take part here, ours first, built and compiled.

    Args:
        network: to train.
        batch_size: images in a step.
        precision: of ours and PyTorch's; stock Flax takes part in float32 only.
        torch: an interpreter that has PyTorch, if one has.
    """
    found = [our_epoch(network, batch_size, precision=precision)]
    if network.stock is not None and precision == "float32":
        found += [stock_scan(network, batch_size), stock_loop(network, batch_size)]
    if torch:
        found += [torch_loop(network, batch_size, precision, torch, flag) for flag in (False, True)]
    return found


def torch_python() -> str | None:
    """This interpreter, if it has PyTorch."""
    return sys.executable if importlib.util.find_spec("torch") else None


def our_epoch(
    network: Network,
    batch_size: int,
    augment: str = "",
    precision: str = "float32",
    options: CompilerOptions | None = None,
) -> Contender:
    """cnn_jax as it trains: shuffle, gather, augmenting and normalizing are in the program.

    Args:
        network: to train.
        batch_size: images in a step.
        augment: as the flag of that name.
        precision: of the network.
        options: that XLA is given in place of the project's own.
    """
    calls, strengths = augmentations(augment)
    config = Config(
        network.architecture,
        optimizer="momentum",
        batch_size=batch_size,
        augment=calls,
        precision=precision,
    )
    channels = network.image_shape[2]
    run = make_run(
        config, Task(network.image_shape, CLASSES, (MEAN,) * channels, (STD,) * channels)
    )
    chosen = {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM} | strengths
    hparams = {
        name: jnp.asarray(value, jnp.float32)
        for name, value in hyperparameters(config, chosen).items()
    }
    images, labels = _examples(network, network.epoch_steps * batch_size)
    examples = Examples(jnp.asarray(images), jnp.asarray(labels))
    key = jax.random.key(0)
    state = jax.jit(run.init)(hparams, key, examples)
    start = time.perf_counter()
    if options is None:
        program = compile_epoch(run.epoch, state, hparams, key, examples)
    else:
        epoch = jax.jit(run.epoch, donate_argnums=0, compiler_options=options)
        program = epoch.lower(state, hparams, key, examples).compile()
    seconds = time.perf_counter() - start
    return Contender(
        f"cnn_jax, {augment}" if augment else f"cnn_jax, compiled epoch{_suffix(precision)}",
        _size(state.params),
        network.epoch_steps,
        _advancing(lambda state: program(state, hparams, key, examples)[0], state),
        program,
        seconds,
    )


def stock_scan(network: Network, batch_size: int) -> Contender:
    """Stock Flax, its step in a `lax.scan` over prepared batches."""
    step, state = _stock_step(network)
    batches = _batches(network, batch_size, STOCK_STEPS)
    scan = jax.jit(lambda state, batches: lax.scan(step, state, batches), donate_argnums=0)
    program, seconds = _compile(scan, state, batches)
    return Contender(
        "stock Flax, in lax.scan",
        _size(state[0]),
        STOCK_STEPS,
        _advancing(lambda state: program(state, batches)[0], state),
        program,
        seconds,
    )


def stock_loop(network: Network, batch_size: int) -> Contender:
    """Stock Flax, its compiled step called from a Python loop over prepared batches."""
    step, state = _stock_step(network)
    images, labels = _batches(network, batch_size, STOCK_STEPS)
    batches = itertools.cycle(list(zip(images, labels, strict=True)))
    program, seconds = _compile(jax.jit(step, donate_argnums=0), state, next(batches))
    return Contender(
        "stock Flax, Python loop",
        _size(state[0]),
        1,
        _advancing(lambda state: program(state, next(batches))[0], state),
        program,
        seconds,
    )


def torch_loop(
    network: Network, batch_size: int, precision: str, python: str, compiled: bool
) -> Contender:
    """PyTorch in a process of its own: channels last, threads as PyTorch picks them.

    Args:
        network: to train.
        batch_size: images in a step.
        precision: bfloat16 by autocast.
        python: the interpreter, which has PyTorch.
        compiled: by `torch.compile`, or eager.
    """
    command = [python, "-m", "benchmarks.torch_worker", *torch_arguments(network, batch_size)]
    command += [f"--precision={precision}"] + ["--compile"] * compiled
    name = f"PyTorch, {'compiled' if compiled else 'eager'}{_suffix(precision)}"
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.kill)
    parameters = int(_answer(process, name))
    seconds = time.perf_counter() - start
    used = 0.0

    def advance(calls: int) -> None:
        nonlocal used
        assert process.stdin is not None
        print(calls, file=process.stdin, flush=True)
        used = float(_answer(process, name))

    return Contender(
        name, parameters, 1, advance, compile_seconds=seconds if compiled else None,
        cpu_seconds=lambda: used,
    )  # fmt: skip


def torch_profile(network: Network, batch_size: int, precision: str, python: str) -> str:
    """Where a step of eager PyTorch goes, by its own profiler.

    Args:
        network: to train.
        batch_size: images in a step.
        precision: bfloat16 by autocast.
        python: the interpreter, which has PyTorch.
    """
    command = [python, "-m", "benchmarks.torch_worker", *torch_arguments(network, batch_size)]
    command += [f"--precision={precision}", "--profile=5"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def torch_arguments(network: Network, batch_size: int) -> list[str]:
    """What a process that trains it in PyTorch is told."""
    return [
        f"--network={network.torch_name}",
        f"--shape={','.join(map(str, network.image_shape))}",
        f"--batch_size={batch_size}",
        f"--learning_rate={LEARNING_RATE}",
        f"--momentum={MOMENTUM}",
    ]


def _answer(process: subprocess.Popen[str], name: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise UsageError(f"{name}, ended without an answer; what it printed is above")
    return line


def _suffix(precision: str) -> str:
    return "" if precision == "float32" else f", {precision}"


def _stock_step(network: Network) -> tuple[Callable, tuple]:
    """A pure step `(state, batch) -> (state, loss)` of the stock module, and its first state."""
    assert network.stock is not None
    skeleton, *parts = nnx.split(network.stock(nnx.Rngs(0)), nnx.Param, ...)
    params, statistics = (nnx.to_pure_dict(part) for part in parts)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)

    def step(state: tuple, batch: tuple[Array, Array]) -> tuple[tuple, Array]:
        params, statistics, opt_state = state
        images, labels = batch

        def objective(params: Any) -> tuple:
            model = nnx.merge(skeleton, params, statistics)
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
            _, *after = nnx.split(model, nnx.Param, ...)
            return jnp.mean(losses), nnx.to_pure_dict(after[1])

        (loss, statistics), grads = jax.value_and_grad(objective, has_aux=True)(params)
        moves, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, moves), statistics, opt_state), loss

    return step, (params, statistics, optimizer.init(params))


def _advancing(call: Callable[[Any], Any], state: Any) -> Callable[[int], None]:
    def advance(calls: int) -> None:
        nonlocal state
        for _ in range(calls):
            state = call(state)
        jax.block_until_ready(state)

    return advance


def _compile(function: Any, *arguments: Any) -> tuple[jax.stages.Compiled, float]:
    start = time.perf_counter()
    program = function.lower(*arguments).compile()
    return program, time.perf_counter() - start


def _examples(network: Network, count: int) -> tuple[UInt8[np.ndarray, "n h w c"], np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *network.image_shape), np.uint8)
    return images, random.integers(0, CLASSES, count, np.int32)


def _normalized(images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w c"]:
    return (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)


def _batches(
    network: Network, batch_size: int, steps: int
) -> tuple[Float[Array, "steps n h w c"], Int32[Array, "steps n"]]:
    images, labels = _examples(network, steps * batch_size)
    images = _normalized(images).reshape(steps, batch_size, *network.image_shape)
    return jnp.asarray(images), jnp.asarray(labels).reshape(steps, batch_size)


def _size(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
