"""Training throughput against the number of trials in a program: `python -m benchmarks.sweep`.

Model-images per second (images per second times networks) of 1, 2, 4, ... trials together, mapped
and vmapped, beside lone runs one after another in the same process, and beside one process per
trial, start-up and compilation included. In every round and for every number of trials the three
run next to each other, each for as many epochs of a network, at least eight; a ratio is that of the
two timed next to each other. With --simulated_devices=8 the CPU plays eight devices.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from rich import box
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
VECTORIZATIONS = ("map", "vmap")
flags.DEFINE_list("models", ["lenet5", "cnn"], "The networks; cnn has filters 16,32, hidden 128.")
flags.DEFINE_list("trials", ["1", "2", "4", "8", "16", "32"], "How many trials together.")
flags.DEFINE_integer("examples", 2048, "MNIST images in an epoch, which is what is timed.")
flags.DEFINE_integer("rounds", 7, "Times each contender runs; odd, for the median.")
flags.DEFINE_integer("launches", 3, "Processes of experiments.train that are timed; 0 for none.")
flags.DEFINE_integer("simulated_devices", 1, "Devices that the CPU plays.", lower_bound=1)

BATCH_SIZE = 128
# A contender runs for so many epochs of a network at a time, so that a stall weighs less.
LEAST_EPOCHS = 8

Rates = dict[tuple[str, int], list[float]]


def main(arguments: list[str]) -> None:
    """Prints one table per network."""
    if FLAGS.simulated_devices > 1:
        # Before jax starts.
        devices = f"--xla_force_host_platform_device_count={FLAGS.simulated_devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices}"
    console = Console(width=120, highlight=False)
    for model in FLAGS.models:
        _measure(console, model, [int(count) for count in FLAGS.trials])


def _measure(console: Console, model: str, counts: Sequence[int]) -> None:
    import jax

    from cnn_jax import data, training
    from cnn_jax.models import Architecture
    from cnn_jax.studies.choices import read_task

    dataset = data.load("mnist")
    split = data.take(dataset.train, FLAGS.examples, 0)
    architecture = Architecture(model=model)
    if model == "cnn":
        architecture = Architecture(filters=(16, 32), hidden=(128,))
    epochs = LEAST_EPOCHS * FLAGS.rounds + 1
    config = training.Config(architecture, batch_size=BATCH_SIZE, epochs=epochs)
    run = training.make_run(config, read_task(dataset))
    examples = training.to_device(split)
    lone = _lone(run, config, examples)
    together = {
        (way, count): _together(run, config, examples, way, count)
        for way in VECTORIZATIONS
        for count in counts
    }
    images = FLAGS.examples // BATCH_SIZE * BATCH_SIZE
    rates: Rates = {(way, count): [] for way in ("lone", *VECTORIZATIONS) for count in counts}
    for _ in range(FLAGS.rounds):
        for count in counts:
            calls = max(1, LEAST_EPOCHS // count)
            epochs = calls * count
            rates["lone", count].append(epochs * images / _seconds(lone, epochs))
            for way in VECTORIZATIONS:
                seconds = _seconds(together[way, count], calls)
                rates[way, count].append(epochs * images / seconds)
    launch = _launch_rate(model, images) if FLAGS.launches else None
    _print(console, model, counts, rates, launch, len(jax.devices()))


def _seconds(advance: Callable[[], None], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        advance()
    return time.perf_counter() - start


def _lone(run, config, examples) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp

    from cnn_jax import training
    from cnn_jax.training.programs import compile_epoch

    numbers = training.hyperparameters(config)
    hparams = {name: jnp.float32(value) for name, value in numbers.items()}
    key = jax.random.key(0)
    state = jax.jit(run.init)(hparams, key, examples)
    epoch = compile_epoch(run.epoch, state, hparams, key, examples)
    current = [state]

    def advance() -> None:
        current[0], _ = jax.block_until_ready(epoch(current[0], hparams, key, examples))

    advance()
    return advance


def _together(run, config, examples, vectorization, count: int) -> Callable[[], None]:
    import jax

    from cnn_jax import training
    from cnn_jax.training import Trainer
    from cnn_jax.training.devices import MeshShape, make_mesh, replicate
    from cnn_jax.training.grid import Trial

    mesh = make_mesh(MeshShape(trial=len(jax.devices())))
    trainer = Trainer(run, replicate(examples, mesh), None, vectorization, mesh)
    trials = [Trial(0, {}, seed, training.hyperparameters(config)) for seed in range(count)]
    state, standing = trainer.start(trials)
    calls = max(1, LEAST_EPOCHS // count)
    epochs = trainer.fit(state, standing, calls * FLAGS.rounds + 1)

    def advance() -> None:
        next(epochs)

    advance()
    return advance


def _launch_rate(model: str, images: int) -> float:
    """Of one process per trial, start-up and compilation included, nothing kept from before."""
    seconds = []
    small = ["--filters=16,32", "--hidden=128"] if model == "cnn" else []
    for index in range(FLAGS.launches):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run(
                [
                    sys.executable, "-m", "experiments.train", f"--model={model}", *small,
                    f"--train_examples={FLAGS.examples}", "--epochs=1", f"--seed={index}",
                    f"--batch_size={BATCH_SIZE}", f"--workdir={Path(folder) / 'run'}",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "JAX_COMPILATION_CACHE_DIR": folder},
            )  # fmt: skip
            seconds.append(time.perf_counter() - start)
    return images / statistics.median(seconds)


def _print(
    console: Console,
    model: str,
    counts: Sequence[int],
    rates: Rates,
    launch: float | None,
    devices: int,
) -> None:
    table = Table(
        title=f"{model}: model-images/s on {devices} device(s), median of {FLAGS.rounds} rounds",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    for heading in ("trials", "lone runs", "map", "times lone runs", "vmap", "times lone runs"):
        table.add_column(heading, justify="right")
    for count in counts:
        lone = rates["lone", count]
        row = [str(count), f"{statistics.median(lone):,.0f}"]
        for way in VECTORIZATIONS:
            here = rates[way, count]
            ratio = statistics.median(a / b for a, b in zip(here, lone, strict=True))
            best = max(here) / max(lone)
            row += [f"{statistics.median(here):,.0f}", f"{ratio:.2f} (best of each {best:.2f})"]
        table.add_row(*row)
    console.print(table)
    if launch is not None:
        console.print(f"one process per trial, start-up and compilation included: {launch:,.0f}")
    console.print()


if __name__ == "__main__":
    app.run(main)
