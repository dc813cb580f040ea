"""Hostile command lines, drawn by a seed, and what every program must answer.

`python tests/fuzz/command_lines.py 0 1000` runs the lines of a thousand seeds and says which are
answered wrongly. Every line runs in a process of its own, forked from one that has imported the
program already, in an empty folder. None of the values names a place outside of it that could be
written to.
"""

import importlib
import io
import json
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

ROOT = Path(__file__).parents[2]
# Values that no flag, or nearly none, was made for.
HOSTILE = (
    "", " ", "0", "-0", "-1", "1", "2", "3.0", "5.0", "1e3", "1e300", "1e308", "1e309", "1e-400",
    "nan", "inf", "-inf", "NaN", "99999999999", "-99999999999", "2147483648", "100000", "1" * 400,
    "²", "１", "٣", "1_000", "0x10", "+5", " 7 ", "1,1", "1,,1", ",", ",,,", ":", "::", "1:2:3",
    "=", "==", "a=b", "a=b=c", "true", "none", "None", "null", "help", "help ", "auto", "all",
    "x" * 300, "x" * 5000, "/" + "y" * 300, "a/" * 600 + "b", "..", ".", "/", "~", "~nobody/x",
    "~no such user/x",
    "/dev/null", "/dev/full", "/proc/self/mem", "/proc", "/proc/1/x", "\udcff", "a\udc80b",
    "nul\0byte", "\x1b[31mred\x1b[0m", "bell\a", "line\nbreak", "\r", "\t", "\u202egnp",
    "\u200b", "é", "日本語", "🙂", "%s%n", "{}", "{0.__class__}", "{class}", "$(touch pwned)",
    "../../etc/passwd", "<script>alert(1)</script>", "\\", "'", '"', "'unclosed", "[", "]", "[a]",
    "*", "**", "?", "--", "-", "--epochs", "@file", "=1+1", "s3://bucket/x", "http://127.0.0.1/",
    "mnist", "mnist:9.9.9", "mnist/", "mnist:", "cifar10/x:1", "faces", "5/6:7", "a.b.c",
    "log:1e-3:1:1000000000", "lin:0:1:0", "log:0:1:3", "lin:nan:1:3", "lin:1:2", "x0.1", "xx", "x",
    "translate:99999999999", "translate:1e308", "flip,flip", "cutout:", "mixup:nan", "cutout:x=1",
    "0.1,0.10", "relu,relu", "learning_rate=0.1,0.10", "activation=relu,tanh", "seed=1,2",
    "filters=4+4,8", "hidden=none,8", "learning_rate=x0.1,x10", "epochs=1,1e0", "width=1e9,1",
    "learning_rate=log:1e-3:1:1000000000", "trial:4,batch:2", "batch:1", "batch:0", "trial:²",
    "16:2,24:3", "4:99999999999", "8:1", "conv*", "127.0.0.1:1", "127.0.0.1:99999", "nowhere:x",
)  # fmt: skip

# Files that lines name as anything.
FILES = {
    "binary.flags": bytes(range(256)) * 20,
    "latin.flags": "--workdir=é".encode("latin-1"),
    "utf16.flags": "--epochs=1".encode("utf-16"),
    "nul.flags": b"--workdir=a\0b",
    "long.flags": b"--seed=" + b"1" * 100_000,
    "empty.flags": b"",
    "help.flags": b"--help",
    "junk.py": b"this is no python",
    "exit.py": b"raise SystemExit(7)",
    "raise.py": b"1 / 0",
    "cut.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "cut.npz": b"PK\3\4" + b"\xff" * 50,
    "cut.zip": b"PK\3\4" + b"\xff" * 50,
    "cut.mat": bytes(200),
}
# Of absl, for who looks into a program: a traceback or a debugger is what they ask for.
_DEBUGGING = ("pdb", "profil", "test_", "xml", "help", "only_check_args")
# What keeps a line that is accepted small. It stands first, so that what is hostile holds.
SMALL = ("--filters=4", "--hidden=8", "--batch_size=16", "--epochs=1", "--train_examples=32")
PROGRAMS = {
    "train": SMALL,
    "ablation": ("--vary=activation=relu,tanh", *SMALL),
    "evaluate": (), "predict": (), "explain": (), "export": (), "compare": (), "overview": (),
    "walkthrough": (), "augment_gallery": (),
}  # fmt: skip
TAKE_PATHS = ("predict", "explain", "compare", "overview")
_OFTEN = {"train": 10, "ablation": 6, "predict": 3, "evaluate": 3, "explain": 2}
SECONDS = 20
# What these do takes long where nothing is wrong: the lecture, every augmentation compiled.
_LONGER = {"walkthrough": 80, "augment_gallery": 40}
# Times as long on the clock, where other programs use the processors too.
_PATIENCE = 4
# Of addresses: what asks for more is not to bring down the machine.
_MOST_BYTES = 12 << 30


class Line(NamedTuple):
    """A program and its arguments."""

    seed: int
    program: str
    arguments: tuple[str, ...]


class Answer(NamedTuple):
    """What a shell sees of a program: exit status (None: too late), output, what it left."""

    code: int | None
    out: str
    err: str
    seconds: float
    left: tuple[str, ...]


def program_of(seed: int) -> str:
    """The program of a line."""
    names = list(PROGRAMS)
    return random.Random(seed).choices(names, [_OFTEN.get(name, 1) for name in names])[0]


def _own_flags(program: str) -> list[str]:
    """The names of the flags that a program reads, absl's own for debugging left out."""
    module = importlib.import_module(f"experiments.{program}").__name__
    own = {
        flag.name
        for each in (module, "absl.logging")
        for flag in flags.FLAGS.get_key_flags_for_module(each)
    }
    names = {*own, "flagfile", "undefok"}
    return [name for name in sorted(names) if not any(each in name for each in _DEBUGGING)]


def draw(seed: int, place: Path) -> Line:
    """A hostile command line of a program that is imported.

    Args:
        seed: decides it.
        place: a folder with a small data set, a small trained run and files of any content.
    """
    rng = random.Random(seed)
    program = program_of(seed)
    rng.random()
    known = _own_flags(program)
    files = tuple(map(str, sorted((place / "files").iterdir())))
    arguments = list(PROGRAMS[program])
    if program in ("train", "ablation"):
        arguments.append(f"--dataset={place / 'digits'}")
    elif "run" in known:
        arguments.append(f"--run={place / 'run'}")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        arguments += _hostile(rng, known, files)
    if rng.random() < 0.1:
        rng.shuffle(arguments)
    return Line(seed, program, tuple(arguments))


def _hostile(rng: random.Random, known: list[str], files: tuple[str, ...]) -> list[str]:
    flag = rng.choice(known)
    value = rng.choice(HOSTILE + files)
    kind = rng.random()
    if kind < 0.68:
        return [f"--{flag}={value}"]
    if kind < 0.74:
        return [f"--{flag}", value]
    if kind < 0.80:
        return [f"--no{flag}" + rng.choice(("", "=3", "=true", f"={value}"))]
    if kind < 0.84:
        return [rng.choice(("-", "---", "–", "")) + f"{flag}={value}"]
    if kind < 0.90:
        place = rng.randrange(len(flag))
        return [f"--{flag[:place]}{rng.choice(('', 'x', '-', '='))}{flag[place + 1 :]}=1"]
    if kind < 0.95:
        return [f"--flagfile={rng.choice(files)}"]
    return [value]


def run_line(line: Line) -> Answer:
    """Runs a line in a process of its own, forked from this one, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        out, err, here = Path(place, "out"), Path(place, "err"), Path(place, "here")
        here.mkdir()
        start = time.monotonic()
        child = os.fork()
        if not child:
            _become(line, out, err, here)
        code, busy = _wait(child, start + _PATIENCE * _LONGER.get(line.program, SECONDS))
        taken = min(time.monotonic() - start, busy)
        left = tuple(sorted(str(path.relative_to(here)) for path in here.rglob("*")))
        texts = (path.read_bytes().decode(errors="replace") for path in (out, err))
        return Answer(code, *texts, taken, left)


def _become(line: Line, out: Path, err: Path, here: Path) -> None:
    """Turns this process into the program, and ends with it."""
    for path, stream in ((Path(os.devnull), 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    # Streams of its own, on these files: those of the parent may be those of a test.
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w", closefd=False)) for n in (1, 2))
    os.chdir(here)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    module = importlib.import_module(f"experiments.{line.program}")
    launch = importlib.import_module("experiments.launch")
    sys.argv = [f"{line.program}.py", *line.arguments]
    code = 1
    try:
        launch.launch(module.main, takes_paths=line.program in TAKE_PATHS)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, deadline: float) -> tuple[int | None, float]:
    """The exit status, None where it is killed at the deadline, and the time on processors."""
    late = False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            code = None if late else os.waitstatus_to_exitcode(status)
            return code, used.ru_utime + used.ru_stime
        if time.monotonic() > deadline and not late:
            os.kill(child, signal.SIGKILL)
            late = True
        time.sleep(0.01)


def late(line: Line, answer: Answer) -> Iterator[str]:
    """What is wrong with the time that an answer took."""
    most = _LONGER.get(line.program, SECONDS)
    # Where it was asked for very many epochs, it does what it was asked for.
    trains = re.search("^epoch +1 of [0-9]{4,}", answer.out, re.MULTILINE)
    if not trains and (answer.code is None or answer.seconds > most):
        yield f"{'not done' if answer.code is None else 'done'} after {answer.seconds:.0f} s"


def wrong(answer: Answer) -> Iterator[str]:
    """What is wrong with an answer, whenever it came."""
    if "Traceback" in answer.out + answer.err:
        yield "traceback"
    if answer.code not in (0, 2, 3, None):
        yield f"exit status {answer.code}"
    if answer.code == 2:
        lines = answer.err.splitlines()
        errors = [each for each in lines if each.startswith("error: ")]
        if len(errors) != 1 or lines[-1:] != errors:
            yield "not one line"
        if answer.left:
            yield f"left {', '.join(answer.left[:5])}"
    if any(letter in answer.out + answer.err for letter in "\x1b\a\u202e"):
        yield "control characters reach the terminal"
    if any(name.endswith((".part", ".tmp")) for name in answer.left):
        yield "left half a file"
    if any(Path(name).name == "pwned" for name in answer.left):
        yield "ran what it was given"


def make_place(place: Path) -> None:
    """Makes what lines refer to: a small data set, a trained run, and files of any content."""
    rng = np.random.default_rng(0)
    (place / "digits").mkdir(parents=True)
    for prefix, count in (("train", 80), ("t10k", 40)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 256, (count, 8, 8))
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
            (place / "digits" / f"{prefix}-{name}-ubyte").write_bytes(content)
    (place / "files").mkdir()
    for name, content in FILES.items():
        (place / "files" / name).write_bytes(content)
    (place / "files" / "loop.flags").write_text(f"--flagfile={place / 'files' / 'loop.flags'}")
    (place / "home").mkdir()
    command = [sys.executable, "-m", "experiments.train", *SMALL, f"--dataset={place / 'digits'}"]
    subprocess.run(
        [*command, f"--workdir={place / 'run'}"], check=True, env=_environment(place), cwd=place
    )


def _environment(place: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "HOME": str(place / "home"),
        "CNN_JAX_CACHE": str(place / "cache"),
    }


def answers(seeds: Iterable[int], place: Path) -> Iterator[tuple[Line, Answer]]:
    """What the programs answer to the lines of these seeds, those of a program together."""
    by_program: dict[str, list[int]] = {}
    for seed in seeds:
        by_program.setdefault(program_of(seed), []).append(seed)
    for of_program in by_program.values():
        command = [sys.executable, __file__, str(place), *map(str, of_program)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=_environment(place)
        ) as child:
            assert child.stdout is not None
            for text in child.stdout:
                line, answer = json.loads(text)
                yield Line(*line), Answer(*answer)


def _answer_all(place: str, *seeds: str) -> None:
    """Runs lines of one program and prints them with their answers."""
    for seed in map(int, seeds):
        line = draw(seed, Path(place))
        print(json.dumps([line, run_line(line)]), flush=True)


def _look(first: str, last: str) -> None:
    """Runs the lines of all seeds from the first to the one before the last."""
    with tempfile.TemporaryDirectory() as folder:
        place, seconds = Path(folder, "place"), 0.0
        make_place(place)
        for line, answer in answers(range(int(first), int(last)), place):
            seconds = max(seconds, answer.seconds)
            for problem in (*late(line, answer), *wrong(answer)):
                print(f"{line.seed} {problem}: {line.program} {shlex.join(line.arguments)}")
                print(answer.err[-2000:], flush=True)
        print(f"the longest took {seconds:.1f} s")


if __name__ == "__main__":
    _answer_all(*sys.argv[1:]) if Path(sys.argv[1]).is_dir() else _look(*sys.argv[1:])
