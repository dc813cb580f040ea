"""The attacks on folders of runs and sweeps, and what must have come of each of them."""

import errno
import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.training import checkpoints
from tests.torture.programs import Fault, Outcome, run

EXTENSION = """import cnn_jax
import jax.numpy as jnp


@cnn_jax.activation
def soft(x):
    return jnp.tanh(x) + 0.1 * x
"""
RUN = (
    "--filters=4", "--hidden=8", "--batch_size=16", "--epochs=3", "--validation_fraction=0.25",
    "--optimizer=momentum", "--dropout_rate=0.1",
)  # fmt: skip
SWEEP = (*RUN, "--vary=activation=relu,tanh", "--seeds=2", "--trials_per_program=1")
CODES = (errno.ENOSPC, errno.EFBIG)
USING = ("predict", "evaluate", "explain")
TABLES = ("results.csv", "summary.csv", "table.md", "table.tex")


def make_digits(folder: Path) -> Path:
    """IDX files of 8x8 images in four classes, and a picture."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for prefix, n in (("train", 80), ("t10k", 40)):
        labels = np.arange(n) % 4
        images = rng.integers(0, 160, (n, 2, 4, 2, 4))
        images[np.arange(n), labels // 2, :, labels % 2] += 80
        for name, array in (("images-idx3", images.reshape(n, 8, 8)), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + array.astype("u1").tobytes())
    from PIL import Image

    Image.fromarray(images[0].reshape(8, 8).astype("u1")).save(folder.parent / "picture.png")
    return folder


def run_flags(digits: Path) -> tuple[str, ...]:
    """Those of a run with a file of functions from outside, whose best epoch is kept."""
    file = digits.parent / "soft.py"
    file.write_text(EXTENSION)
    return (
        f"--dataset={digits}",
        f"--extend={file}",
        "--activation=soft",
        *RUN,
        "--keep_epoch=best",
    )


def sweep_flags(digits: Path) -> tuple[str, ...]:
    """Those of a sweep of two cells, of two groups each."""
    return (f"--dataset={digits}", *SWEEP)


def end_of_run(path: Path) -> tuple[object, ...]:
    """All that must be the same of a run that has ended."""
    parts: list[object] = [(path / "metrics.jsonl").read_bytes()]
    for folder in ("checkpoints", "best"):
        held = checkpoints.read_latest(path / folder)
        assert held is not None
        parts += [(name, array.tobytes()) for name, array in held._arrays.items()]
    result = json.loads((path / "result.json").read_text())
    return (*parts, result["test_accuracy"], result["test_loss"], result["temperature"])


def end_of_sweep(path: Path) -> tuple[object, ...]:
    """All that must be the same of a sweep that has ended."""
    return tuple((path / name).read_bytes() for name in TABLES)


ENDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "train": end_of_run,
    "ablation": end_of_sweep,
}


def killed(
    program: str, flags: tuple[str, ...], folder: Path, times: int, longest: float, seed: int
) -> int:
    """Kills a program so often at random moments, and goes on each time; kills that hit.

    Where it comes to its end it is checked, and begun anew.
    """
    whole, rng, hits = folder / "whole", random.Random(seed), 0
    outcome = run(program, f"--workdir={whole}", *flags)
    assert outcome.code == 0, outcome.err
    broken = folder / "broken"
    while hits < times:
        outcome = go_on(program, flags, broken, kill_after=rng.uniform(0, longest))
        if outcome.code == 0:
            assert ENDS[program](broken) == ENDS[program](whole)
            shutil.rmtree(broken)
        else:
            assert (outcome.code, outcome.err) == (-9, ""), outcome
            hits += 1
    outcome = go_on(program, flags, broken)
    assert outcome.code == 0, outcome.err
    assert ENDS[program](broken) == ENDS[program](whole)
    return hits


def go_on(program: str, flags: tuple[str, ...], folder: Path, **how: float) -> Outcome:
    """The same command where nothing has begun, and --resume elsewhere."""
    again = ("--resume",) if (folder / "flags.txt").exists() else flags
    return run(program, f"--workdir={folder}", *again, **how)


def failing_writes(
    program: str, flags: tuple[str, ...], folder: Path, every: int, first: int = 1
) -> int:
    """Has every n-th change of the disk fail, then goes on when there is room; how many did."""
    whole = folder / "whole"
    outcome = run(program, f"--workdir={whole}", *flags)
    assert outcome.code == 0, outcome.err
    number, tried = first, 0
    while True:
        broken = folder / f"broken {number}"
        fault = Fault(number, CODES[number % 2], recovers=bool(number // 2 % 2))
        outcome = run(program, f"--workdir={broken}", *flags, fault=fault)
        outcome.check()
        told = "cannot write" in outcome.out + outcome.err or "cannot make" in outcome.err
        if outcome.code == 0 and not told and not fault.recovers:
            assert ENDS[program](broken) == ENDS[program](whole)
            return tried
        if outcome.code:
            outcome = go_on(program, flags, broken)
            assert outcome.code == 0, (number, outcome)
        assert ENDS[program](broken) == ENDS[program](whole), number
        shutil.rmtree(broken)
        number, tried = number + every, tried + 1


def mutations(content: bytes, rng: random.Random) -> dict[str, bytes | None]:
    """What becomes of a file; None where it is removed."""
    flipped = bytearray(content)
    if content:
        place = rng.randrange(8 * len(content))
        flipped[place // 8] ^= 1 << place % 8
    return {
        "flipped": bytes(flipped),
        "truncated": content[: rng.randrange(len(content))] if content else b"",
        "emptied": b"",
        "removed": None,
        "replaced": rng.randbytes(len(content)),
    }


def mutated_folders(
    sound: Path, place: Path, rng: random.Random, share: float = 1.0
) -> Iterator[tuple[str, Path]]:
    """Copies of a folder, in each of which one file is not what it was: what, and where."""
    files = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file())
    for file in files:
        for kind, content in mutations((sound / file).read_bytes(), rng).items():
            if file.name == ".lock" or rng.random() >= share:
                continue
            copy = place / "copy"
            shutil.copytree(sound, copy)
            if content is None:
                (copy / file).unlink()
            else:
                (copy / file).write_bytes(content)
            yield f"{file} {kind}", copy
            shutil.rmtree(copy)


def answers(path: Path, picture: Path, programs: Sequence[str] = USING) -> dict[str, Outcome]:
    """What the programs that use a run say of it."""
    arguments = {
        "predict": ("--json", picture),
        "evaluate": ("--json", "--nopage"),
        "explain": (f"--out={path / 'explained.html'}",),
    }
    return {name: run(name, f"--run={path}", *arguments[name]) for name in programs}


def same_answer(program: str, ours: Outcome, sound: Outcome) -> bool:
    """Whether it is right; how fast it was is not compared."""
    if program == "explain":
        return ours.code == 0
    texts = []
    for outcome in (ours, sound):
        found = json.loads(outcome.out)
        if isinstance(found, dict):
            found.pop("images_per_second")
            found.pop("run")
        texts.append(found)
    return bool(texts[0] == texts[1])


def use_mutated(
    sound: Path,
    place: Path,
    picture: Path,
    share: float,
    seed: int = 0,
    programs: Sequence[str] = USING,
) -> dict[str, int]:
    """Uses and resumes a run of whose copies each has a file changed: how that ended, counted."""
    rng, counts = random.Random(seed), {"right": 0, "refused": 0}
    right, end = answers(sound, picture, programs), end_of_run(sound)
    for what, copy in mutated_folders(sound, place, rng, share):
        for program, outcome in answers(copy, picture, programs).items():
            _count(counts, what, program, outcome, copy)
            if outcome.code == 0:
                assert same_answer(program, outcome, right[program]), (what, program, outcome)
        outcome = run("train", f"--workdir={copy}", "--resume")
        _count(counts, what, "train --resume", outcome, copy)
        if outcome.code == 0:
            assert end_of_run(copy) == end, what
    return counts


def resume_mutated(
    sound: Path, end: tuple[object, ...], place: Path, share: float
) -> dict[str, int]:
    """Resumes a sweep of whose copies each has a file changed: how that ended, counted."""
    rng, counts = random.Random(0), {"right": 0, "refused": 0}
    for what, copy in mutated_folders(sound, place, rng, share):
        outcome = run("ablation", f"--workdir={copy}", "--resume")
        _count(counts, what, "ablation --resume", outcome, copy)
        if outcome.code == 0:
            assert end_of_sweep(copy) == end, what
    return counts


def in_flight(flags: tuple[str, ...], folder: Path) -> Path:
    """A sweep that was killed in the middle of a cell, with the state of one of its groups."""
    where = folder / "cells" / "001" / "group_0" / "SHA256SUMS"
    outcome = run("ablation", f"--workdir={folder}", *flags, kill_after=where)
    assert outcome.code == -9, outcome
    return folder


def _count(counts: dict[str, int], what: str, program: str, outcome: Outcome, copy: Path) -> None:
    try:
        outcome.check()
        # The line names the file, or what is in it.
        assert outcome.code == 0 or str(copy) in outcome.err, outcome
    except AssertionError as error:
        raise AssertionError(f"{what}, {program}: {error}") from error
    counts["refused" if outcome.code else "right"] += 1
