"""Class names and files called what nobody calls them: terminals, tables and pages show them."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import starter

from experiments import evaluate, explain, predict

NAMES = ["\x1b[31mred\x07", "<script>alert(1)</script>", "=1+1", "$\\frac{$ 日本", "a\u202egnp"]
TRAINED = (
    "--image_size=8", "--filters=4", "--hidden=8", "--batch_size=10", "--epochs=2",
    "--validation_fraction=0",
)  # fmt: skip


def obeyed(text: str) -> list[str]:
    """What a terminal would take for more than text."""
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    album, rng = tmp_path_factory.mktemp("pictures") / "album", np.random.default_rng(0)
    for label, name in enumerate(NAMES):
        # A name of a folder holds no slash.
        folder = album / "train" / name.replace("/", "∕")
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 100, (8, 8, 3)) + 30 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"=\x1b[5m{index}.png")
    return album


@pytest.fixture(scope="module")
def trained(program: Callable, album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_JAX_CACHE", str(run.parent / "cache"))
        outcome = program(f"--dataset={album}", f"--workdir={run}", *TRAINED)
    assert (outcome.code, outcome.err) == (0, "")
    assert obeyed(outcome.out) == []
    assert "\\x1b[31mred\\x07" in outcome.out
    return run


def test_pages_and_terminal_of_a_run(program: Callable, trained: Path, album: Path):
    assert "&lt;script&gt;alert(1)" in (trained / "report.html").read_text()
    for main, paths in ((evaluate.main, False), (explain.main, True)):
        outcome = starter(program, main, takes_paths=paths)(f"--run={trained}")
        assert outcome.code == 0, outcome
        assert obeyed(outcome.out + outcome.err) == []
    pages = list(trained.glob("*.html"))
    assert len(pages) == 4
    for page in pages:
        assert "<script>alert(1)" not in page.read_text()


def test_predictions(program: Callable, trained: Path, album: Path, tmp_path: Path):
    guess = starter(program, predict.main, takes_paths=True)
    bad = tmp_path / "=\x1b[5mbad.png"
    bad.write_text("no picture")
    outcome = guess(f"--run={trained}", album, bad)
    assert (outcome.code, obeyed(outcome.out + outcome.err)) == (0, [])
    assert "\\x1b[5mbad.png" in outcome.err
    outcome = guess(f"--run={trained}", "--csv", album / "train")
    assert (outcome.code, obeyed(outcome.out)) == (0, [])
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    cells = [text for row in rows for text in row.values()]
    assert len(rows) == 30
    assert not [text for text in cells if text.startswith(("=", "+", "@"))]
    assert "'=1+1" in cells
    outcome = guess(f"--run={trained}", "--json", album)
    # JSON has every path as it is.
    assert all(Path(record["path"]).is_file() for record in json.loads(outcome.out))


def test_a_terminal_of_ascii(trained: Path, album: Path, environment: dict[str, str]):
    command = [sys.executable, "-m", "experiments.predict", f"--run={trained}", str(album)]
    ascii_only = {**environment, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, env=ascii_only, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5\\u672c" in done.stdout and done.stdout.isascii()


def test_tables_for_papers(sweep: Callable, album: Path, tmp_path: Path):
    target = tmp_path / "sweep"
    outcome = sweep(
        *TRAINED, f"--vary=dataset={album / 'train'},{album}", f"--workdir={target}", "--seeds=1"
    )
    assert outcome.code == 0, outcome.err
    assert obeyed(outcome.out) == []
    for name in ("table.tex", "table.md", "summary.csv", "results.csv", "report.html"):
        assert obeyed((target / name).read_text()) == []
