"""--serve: what is under way, shown on this machine only, until the report is there."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from rich.console import Console

from cnn_jax.studies.progress import read_progress
from cnn_jax.training import checkpoints
from experiments.runs.serving import serving

CONFIG = {"dataset": "mnist", "model": "cnn", "epochs": 4}
ROW = {"train_loss": 0.5, "train_accuracy": 0.8, "learning_rate": 0.1}
CELL = {"choices": {"epochs": 4, "dataset": "mnist", "model": "cnn"}, "trials": [[0, 0, {}]] * 2}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run after two of its four epochs, a third half written."""
    folder = tmp_path / "run <1>"
    write(folder / "config.json", CONFIG)
    lines = [json.dumps(ROW | {"epoch": epoch}) for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 3, "tra']))
    (folder / "timings.jsonl").write_text(
        '{"epoch": 1, "seconds": 3}\n{"epoch": 2, "seconds": 5}\n'
    )
    return folder


def test_progress_of_a_run(run: Path):
    found = read_progress(run)
    assert (found.done, found.total, found.share, found.seconds_left) == (2, 4, 0.5, 8.0)
    assert [row.accuracy for row in found.rows] == [0.8, 0.8]
    assert found.split == "train"


def test_progress_of_a_sweep(tmp_path: Path):
    rows = [{"activation": "relu"}, {"activation": "tanh"}]
    write(tmp_path / "config.json", {"rows": rows, "cell 1": CELL, "cell 2": CELL})
    history = [ROW | {"epoch": epoch, "validation_accuracy": 0.7} for epoch in (1, 2, 3, 4)]
    trial = {"variant": 0, "seed": 3, "tuned": {}, "status": "finished", "seconds": 8}
    write(tmp_path / "cells" / "000.json", {"trials": [trial | {"history": history}]})
    lost = [*history[:1], {**history[1], "train_loss": None}]
    flight = trial | {"variant": 1, "status": "diverged", "history": lost, "seconds": 4}
    group = tmp_path / "cells" / "001" / "group_0"
    checkpoints.save(group, {"a": np.ones(2)}, 2, {"trials": [flight]})
    found = read_progress(tmp_path)
    assert (found.done, found.total, found.seconds_left) == (6, 16, 20.0)
    assert [row.name for row in found.rows] == ["relu, seed 3", "tanh, seed 3"]
    assert [row.state for row in found.rows] == ["finished", "diverged"]
    assert found.split == "validation"


def get(address: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.fixture
def parse() -> Iterator[Callable[..., None]]:
    """Gives the flags these values, and back what they had."""

    def parse(*given: str) -> None:
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["program", *given])

    yield parse
    parse("--noserve")


def test_one_address_shows_it_and_ends_as_the_report(run: Path, parse, capsys):
    parse("--serve")
    before = sorted(run.rglob("*"))
    with serving(Console(width=200), run):
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", capsys.readouterr().out)
        status, page = get(address)
        assert status == 200
        assert "50%" in page
        assert "run &lt;1&gt;" in page
        assert 'http-equiv="refresh"' in page
        assert '<a href="?still">' in page
        status, page = get(f"{address}?still")
        assert status == 200
        assert "50%" in page and 'http-equiv="refresh"' not in page
        assert sorted(run.rglob("*")) == before
        above = address.rsplit("/", 2)[0] + "/"
        for wrong in (address[:-2], f"{address}..", f"{address}?more", above):
            assert get(wrong)[0] == 404
        assert get(address, Host="example.org")[0] == 404
        time.sleep(0.01)
        (run / "report.html").write_text("the report")
        assert get(address) == (200, "the report")
    with pytest.raises(urllib.error.URLError):
        get(address)


def test_nothing_is_served_unasked(run: Path, parse, capsys):
    parse()
    with serving(Console(), run):
        assert capsys.readouterr().out == ""
