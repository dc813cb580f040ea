"""What a program is to write to is known to be possible before the work is done."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from saved_runs import starter, train

from experiments import compare, evaluate, explain, export, lr_find, predict, walkthrough

# Of each program: the flag, the ending, what does its work, and whether it takes a run and paths.
WRITE = {
    "compare": (compare, "out", ".html", "compare_runs", False, True),
    "evaluate": (evaluate, "out", ".html", "choose", True, False),
    "explain": (explain, "out", ".html", "_examples", True, True),
    "export": (export, "out", ".onnx", "EXPORTERS", True, False),
    "lr_find": (lr_find, "out", ".html", "prepare", False, False),
    "predict": (predict, "picture", ".svg", "read_thresholds", True, True),
    "walkthrough": (walkthrough, "out", ".html", "_learn", False, False),
}
BAD = {
    "a folder": ("folder{}", "Is a directory"),
    "no folder": ("no/file{}", "there is no folder no"),
    "a file as a folder": ("file/file{}", "there is no folder file"),
}


@pytest.fixture(scope="module")
def run(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(program, digits, tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", WRITE)
def test_what_cannot_be_written_is_refused_before_the_work(
    program: Callable, run: Path, elsewhere: Path, monkeypatch, name: str, bad: str
):
    module, flag, ending, work, of_run, takes_paths = WRITE[name]
    pattern, message = BAD[bad]
    (elsewhere / f"folder{ending}").mkdir()
    (elsewhere / "file").write_text("kept")
    never_reached(monkeypatch, module, work)
    path = pattern.format(ending)
    arguments = [f"--run={run}"] * of_run + [f"--{flag}={path}"]
    arguments += {"compare": [run, run], "predict": [elsewhere / "a.png"]}.get(name, [])
    outcome = starter(program, module.main, takes_paths)(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: cannot write {path}: {message}; give another --{flag}\n"
    assert sorted(file.name for file in elsewhere.iterdir()) == ["file", f"folder{ending}"]


def never_reached(monkeypatch: pytest.MonkeyPatch, module: ModuleType, work: str) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(module, work, fail)


def test_so_is_the_gallery(elsewhere: Path, environment: dict[str, str]):
    """In a process of its own: its --out is another flag."""
    command = [sys.executable, "-m", "experiments.augment_gallery", "--out=no/a.png"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: cannot write no/a.png: there is no folder no; give another --out\n"
    )


def test_the_default_page_is_looked_at_too(program, run: Path, monkeypatch):
    never_reached(monkeypatch, evaluate, "choose")
    page = run / "evaluation-train.html"
    page.mkdir()
    try:
        outcome = starter(program, evaluate.main, False)(f"--run={run}", "--split=train")
    finally:
        page.rmdir()
    assert outcome.code == 2
    assert outcome.err == f"error: cannot write {page}: Is a directory; give another --out\n"


def test_a_page_that_is_left_out_has_no_name(program, run: Path):
    outcome = starter(program, evaluate.main, False)(f"--run={run}", "--nopage", "--out=a.html")
    assert outcome.code == 2 and "give one of them" in outcome.err
