"""Every attack on folders of runs and sweeps: `python -m tests.torture`, or `make torture`.

Prints the table that is in docs/torture.md, a line as soon as it is known; stops at the first
attack that is survived badly, and says which.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from absl import app, flags, logging

from tests.torture import attacks
from tests.torture.programs import run

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 30, "How often each program is killed.", lower_bound=1)
flags.DEFINE_integer("every", 1, "Every so manieth change of the disk fails.", lower_bound=1)
flags.DEFINE_float("share", 1.0, "Of all mutations of files, so many are tried.", 0.0, 1.0)
flags.DEFINE_integer("random_seed", 0, "Of moments and mutations.")


def main(arguments: list[str]) -> None:
    """Attacks, and prints what came of it."""
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["CNN_JAX_CACHE"] = str(place / "cache")
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.chdir(place)
        digits = attacks.make_digits(place / "data" / "digits")
        print("| attack | tried | outcome | minutes |\n| --- | ---: | --- | ---: |", flush=True)
        for attack in (_kills, _faults, _mutations):
            attack(place, digits)


def _given(digits: Path) -> dict[str, tuple[str, ...]]:
    return {"train": attacks.run_flags(digits), "ablation": attacks.sweep_flags(digits)}


def _kills(place: Path, digits: Path) -> None:
    how = {"times": FLAGS.kills, "longest": 3.0, "seed": FLAGS.random_seed}
    for program, given in _given(digits).items():
        attack = partial(attacks.killed, program, given, place / f"killed {program}", **how)
        _tell(f"SIGKILL of {program} at a random moment, then resumed", attack, "the same bytes")


def _faults(place: Path, digits: Path) -> None:
    for program, given in _given(digits).items():
        what = f"a write of {program} that fails, once or from then on, then the same command"
        folder = place / f"full {program}"
        attack = partial(attacks.failing_writes, program, given, folder, FLAGS.every)
        _tell(what, attack, "one line, the same bytes")


def _mutations(place: Path, digits: Path) -> None:
    path, picture = place / "run", digits.parent / "picture.png"
    assert run("train", f"--workdir={path}", *attacks.run_flags(digits)).code == 0
    _tell(
        "a file of a run flipped, truncated, emptied, removed or replaced, then predict, evaluate, "
        "explain and --resume",
        lambda: attacks.use_mutated(path, place, picture, FLAGS.share, FLAGS.random_seed),
        None,
    )
    path, given = place / "sweep", attacks.sweep_flags(digits)
    assert run("ablation", f"--workdir={path}", *given).code == 0
    end = attacks.end_of_sweep(path)
    _tell(
        "the same of a sweep that has ended, then --resume",
        lambda: attacks.resume_mutated(path, end, place, FLAGS.share),
        None,
    )
    flight = attacks.in_flight(given, place / "flight")
    _tell(
        "the same of a sweep in the middle of a cell",
        lambda: attacks.resume_mutated(flight, end, place, FLAGS.share),
        None,
    )


def _tell(what: str, attack: Callable[[], int | dict[str, int]], outcome: str | None) -> None:
    start = time.monotonic()
    found = attack()
    if isinstance(found, dict):
        outcome = ", ".join(f"{count} {how}" for how, count in found.items())
        found = sum(found.values())
    minutes = (time.monotonic() - start) / 60
    print(f"| {what} | {found} | {outcome} | {minutes:.0f} |", flush=True)


if __name__ == "__main__":
    app.run(main)
