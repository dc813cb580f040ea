"""Kills a sweep at random moments, resumes it, and compares its tables with an unbroken one's.

`python -m benchmarks.interruptions --kills=20`, with `--rounds` of a sweep that searches its
learning rates and adds seeds until rows are decided. Every kill is a SIGKILL; the tables must end
as the same bytes.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 20, "How often the sweep is killed.", lower_bound=0)
flags.DEFINE_integer("random_seed", 0, "Of the moments of the kills.")
flags.DEFINE_bool("rounds", False, "Whether the sweep is one in rounds.")
flags.DEFINE_float("longest", 12.0, "No process lives longer than this before it is killed.")

TABLES = ("results.csv", "summary.csv", "table.md", "table.tex")
SWEEP = (
    "--model=lenet5",
    "--vary=activation=relu,tanh,sigmoid",
    "--tune=learning_rate",
    "--vary=learning_rate=0.001,0.003,10",
    "--optimizer=momentum",
    "--seeds=2",
    "--epochs=4",
    "--train_examples=2000",
    "--prune",
    "--trials_per_program=3",
)
ROUNDS = (
    "--filters=4",
    "--hidden=",
    "--vary=activation=relu,tanh,elu",
    "--tune=learning_rate",
    "--tune_seeds=1",
    "--optimizer=momentum",
    "--until=decided",
    "--max_seeds=8",
    "--epochs=3",
    "--train_examples=600",
    "--validation_fraction=0.01",
)


def main(arguments: list[str]) -> None:
    """Runs both sweeps and compares."""
    with tempfile.TemporaryDirectory() as folder:
        unbroken, broken = Path(folder) / "unbroken", Path(folder) / "broken"
        if _start(unbroken).wait():
            raise SystemExit("the unbroken sweep failed")
        rng, killed = random.Random(FLAGS.random_seed), 0
        while killed < FLAGS.kills:
            process = _start(broken)
            time.sleep(rng.uniform(0, FLAGS.longest))
            if process.poll() is not None:
                # It came to its end between two kills; the next ones are of another sweep.
                _compare(unbroken, broken)
                shutil.rmtree(broken)
                continue
            process.kill()
            process.wait()
            killed += 1
            done = len(list((broken / "cells").glob("*.json")))
            print(f"killed {killed} times; {done} cells finished", flush=True)
        if _start(broken).wait():
            raise SystemExit("the resumed sweep failed")
        _compare(unbroken, broken)


def _compare(unbroken: Path, broken: Path) -> None:
    for name in TABLES:
        same = (unbroken / name).read_bytes() == (broken / name).read_bytes()
        print(f"{name}: {'the same bytes' if same else 'DIFFERENT'}", flush=True)
        if not same:
            raise SystemExit(1)


def _start(workdir: Path) -> subprocess.Popen:
    # A process killed before it wrote down its flags is started anew.
    begun, flags_of = (workdir / "flags.txt").is_file(), ROUNDS if FLAGS.rounds else SWEEP
    resume = ["--resume"] if begun else list(flags_of)
    command = [sys.executable, "-m", "experiments.ablation", f"--workdir={workdir}", *resume]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    app.run(main)
