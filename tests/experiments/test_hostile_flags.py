"""Command lines that nobody means: one line each, at once, and nothing left behind."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from saved_runs import starter

from experiments import COMMANDS, evaluate, explain, predict

BASE = ("--filters=4", "--hidden=8", "--batch_size=10", "--epochs=1")


def refused(outcome, message: str, here: Path) -> None:
    """One line on standard error, and an empty folder."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.isprintable() or outcome.err[:-1].isprintable()
    assert message in outcome.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--width=1e300", "--model=vgg"], "--width must be a positive number up to 10,000"),
        (["--width=1e9", "--model=vgg"], "--width must be a positive number up to 10,000"),
        (["--hidden=9999999,9999999"], "parameters, with its optimizer's state would need"),
        (["--filters=99999999999"], "--filters must be at most 10,000,000, got 99,999,999,999"),
        (["--convolutions_per_block=100000"], "make 100,001 layers, which would compile for hours"),
        ([f"--hidden={','.join(['8'] * 3000)}"], "make 3,001 layers"),
        (["--image_size=100000"], "would need"),
        (["--image_size=100000"], "80 images of 100000 x 100000 x 1 would need 745.1 GiB, and"),
        (["--epochs=99999999999"], "--epochs must be at most 2,147,483,647"),
        (["--learning_rate=1e308"], "--learning_rate must be in (0, inf), got 1e+308"),
        (["--learning_rate=1e-60"], "--learning_rate must be in (0, inf), got 1e-60"),
        (
            ["--optimizer=momentum", "--momentum=0.99999999999"],
            "--momentum must be in [0, 1), got 1",
        ),
        (["--augment=translate:99999999999"], "pixels of translate must be a number in [0, 65536]"),
        (["--augment=brightness:1e308"], "strength of brightness must be a number in [0, inf)"),
        (["--noresume=3"], "--noresume=3 does not take an argument"),
        (["--noplan=true"], "does not take an argument"),
        (["--workdir=a\0b"], "holds a null byte"),
        ([f"--workdir={'x' * 300}"], "File name too long"),
        ([f"--dataset={'x' * 300}"], "xxx"),
        ([f"--workdir={'x/' * 3000}"], "File name too long"),
        (["--workdir=\udcff\0"], "holds a null byte"),
        (["--workdir=\udcff"], "--workdir=\ufffd is no text of UTF-8, as which flags are kept"),
        (["--dataset=\udcff"], "--dataset=\ufffd is no text of UTF-8"),
        (["--dataset=\x1b[31m"], "\\x1b[31m"),
        (["--dataset=5.0"], "5.0"),
        (["--dataset=1e3"], "1e3"),
        (["--dataset=²"], "²"),
        (["--devices=²"], "--devices must be all or a positive integer, got '²'"),
        (["--mesh=batch:²"], "batch needs a positive number"),
        (["--filters=²"], "--filters must be positive integers"),
        (["--resolutions=²:1"], "--resolutions must be PIXELS:EPOCHS"),
    ],
)
def test_hostile_flags_of_training(
    program: Callable, digits: Path, elsewhere: Path, flags: list[str], message: str
):
    given = () if any(flag.startswith("--dataset") for flag in flags) else (f"--dataset={digits}",)
    small = () if "--model=vgg" in flags else BASE
    refused(program(*small, *given, *flags), message, elsewhere)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vary=learning_rate=0.1,0.10"], "has 0.1 and 0.10, which are the same; give one"),
        (["--vary=learning_rate=x1,x1.0"], "has x1 and x1.0, which are the same"),
        (["--vary=learning_rate=log:1e-3:1:1000000000"], "asks for 1,000,000,000 values"),
        (["--seeds=99999999999"], "are more than there are; the last seed is 2147483647"),
        (["--seed=2147483647", "--seeds=2"], "are more than there are"),
        (["--seeds=2000000"], "1 activation x 2,000,000 seeds are 2,000,000 networks; a sweep has"),
        (["--vary=seed=1,2"], "say how many seeds with --seeds"),
        (["--vary=width=1e9,1", "--model=vgg"], "--width must be a positive number up to 10,000"),
    ],
)
def test_hostile_flags_of_sweeps(
    sweep: Callable, digits: Path, elsewhere: Path, flags: list[str], message: str
):
    axis = () if "--vary" in "".join(flags) else ("--vary=activation=relu",)
    small = () if "--model=vgg" in flags else BASE
    refused(sweep(*small, f"--dataset={digits}", *axis, *flags), message, elsewhere)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "is no text of UTF-8"),
        ("--epochs=1".encode("utf-16"), "is no text of UTF-8"),
        ("--workdir=é".encode("latin-1"), "is no text of UTF-8"),
        (b"--workdir=a\0b", "holds a null byte"),
        (b"epochs=3", "line 1 of my.flags is 'epochs=3', which is no flag"),
        (b"# one\n--epochs=3 \\\n--seed=1", "line 2 of my.flags ends in a backslash"),
        (b"--dataset=mnist --epochs=3", "line 1 of my.flags gives --epochs after --dataset"),
        (b"--epochs=3  # three", "flag --epochs=3 # three: invalid"),
        (b"--flagfile=my.flags", "the flagfile my.flags is read by itself"),
        (b"--flagfile=none.flags", "cannot read --flagfile=none.flags"),
        (b"--flagfile=.", "Is a directory"),
    ],
)
def test_flagfiles_that_are_none(program: Callable, elsewhere: Path, content: bytes, message: str):
    (elsewhere / "my.flags").write_bytes(content)
    outcome = program("--flagfile=my.flags", "--plan")
    (elsewhere / "my.flags").unlink()
    refused(outcome, message, elsewhere)


@pytest.mark.parametrize(
    "content",
    [
        b"--epochs=0",
        b"\xef\xbb\xbf--epochs=0",
        b"--epochs=0\r\n--seed=1\r\n",
        b"  --epochs=0   \n\n",
        b"// other\n# comment\n--epochs=0",
        b"-epochs=0",
        b"--epochs 0",
        b"--epochs = 0",
        b'--epochs="0"',
        b"--epochs='0'",
        b"--flagfile=inner.flags",
    ],
)
def test_flagfiles_as_people_write_them(program: Callable, elsewhere: Path, content: bytes):
    folder = elsewhere.parent / "flags"
    folder.mkdir()
    (folder / "my.flags").write_bytes(content)
    (folder / "inner.flags").write_text("--epochs=0")
    # What is refused has been understood.
    refused(program(f"--flagfile={folder / 'my.flags'}"), "--epochs=0: 0 is not", elsewhere)


def test_a_file_of_functions_that_ends_the_program(program: Callable, elsewhere: Path):
    file = elsewhere.parent / "ends.py"
    file.write_text("raise SystemExit(7)")
    refused(program(f"--extend={file}"), "ends.py, line 1: SystemExit: 7", elsewhere)


def test_a_run_of_a_long_name(program: Callable, elsewhere: Path):
    for main, paths in ((evaluate.main, False), (explain.main, True), (predict.main, True)):
        outcome = starter(program, main, takes_paths=paths)(f"--run={'x' * 300}", *["a"] * paths)
        refused(outcome, "File name too long", elsewhere)


@pytest.mark.parametrize("gigabytes", [1, 2])
def test_too_little_memory_is_one_line(
    gigabytes: int, digits: Path, elsewhere: Path, environment: dict[str, str]
):
    limited = ["sh", "-c", f'ulimit -v {gigabytes << 20}; exec "$0" "$@"', sys.executable]
    command = [*limited, "-m", "experiments.train", f"--dataset={digits}", *BASE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: this process may have {gigabytes}.0 GiB of addresses (ulimit -v), and the "
        "compiler needs 3.0 GiB; raise that limit\n"
    )
    assert list(elsewhere.iterdir()) == []


def test_ctrl_c_while_a_program_imports(environment: dict[str, str], elsewhere: Path):
    command = [sys.executable, "-X", "importtime", "-m", "experiments.train", "--help"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stderr is not None
        # Python says what it has imported; absl is one of the first of hundreds.
        seen = next(line for line in child.stderr if line.rstrip().endswith("numpy._globals"))
        child.send_signal(signal.SIGINT)
        rest = [line for line in child.stderr if not line.startswith("import time:")]
        assert seen and child.wait() == 130
    assert rest == ["error: interrupted\n"]


@pytest.mark.parametrize("program_name", sorted({module for module, _ in COMMANDS.values()}))
def test_every_program_starts_by_itself(program_name: str, environment: dict[str, str]):
    command = [sys.executable, "-m", f"experiments.{program_name}", "--nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --nonsense is not a flag of {program_name}")
