"""A sweep of 240 networks against as many launches of experiments.train: `benchmarks.launches`.

Five activations, four losses, four learning rates and three seeds, LeNet-5, one epoch of 10,000
MNIST images. The sweep is run to its report. Of the launches some are timed, points of the grid
drawn at random, and the rest is taken to last as long: nobody waits for an hour. Neither finds a
compiled program from before.
"""

import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("sample", 6, "How many launches are timed.", lower_bound=1)

AXES = {
    "activation": ("relu", "leaky_relu", "tanh", "sigmoid", "step"),
    "loss": ("cross_entropy", "squared_error", "hinge", "focal"),
    "learning_rate": ("0.0003", "0.001", "0.003", "0.01"),
}
SEEDS = 3
FIXED = ("--model=lenet5", "--epochs=1", "--train_examples=10000")


def main(arguments: list[str]) -> None:
    """Times both and prints their ratio."""
    grid = list(itertools.product(*AXES.values(), range(SEEDS)))
    with tempfile.TemporaryDirectory() as folder:
        axes = [f"--vary={name}={','.join(values)}" for name, values in AXES.items()]
        sweep = _seconds(Path(folder), "ablation", *FIXED, *axes, f"--seeds={SEEDS}")
        print(f"one sweep of {len(grid)} networks: {sweep:.0f} s", flush=True)
        launches = []
        for point in random.Random(0).sample(grid, FLAGS.sample):
            *values, seed = point
            chosen = [f"--{n}={v}" for n, v in zip(AXES, values, strict=True)]
            launches.append(_seconds(Path(folder), "train", *FIXED, *chosen, f"--seed={seed}"))
            print(f"one launch: {launches[-1]:.1f} s", flush=True)
    middle = statistics.median(launches)
    print(
        f"{len(grid)} launches at the median of {len(launches)}, {middle:.1f} s: "
        f"{len(grid) * middle:,.0f} s, {len(grid) * middle / sweep:.1f} times the sweep"
    )


def _seconds(folder: Path, experiment: str, *arguments: str) -> float:
    """Wall time of an experiment, start-up and compilation included."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-m", f"experiments.{experiment}", *arguments,
                f"--workdir={place}/run",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": f"{place}/programs"},
        )  # fmt: skip
        return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
