"""The ablation program in rounds: it goes on to the same bytes, in programs that are compiled."""

import csv
import json
from pathlib import Path

import pytest

from cnn_jax.studies import cells

TABLES = ("results.csv", "summary.csv", "table.md", "table.tex", "means.png")
FLAGS = (
    "--hidden=", "--filters=4", "--batch_size=16", "--epochs=2", "--validation_fraction=0.3",
    "--vary=activation=relu,tanh,elu", "--optimizer=sgd", "--seeds=3",
)  # fmt: skip
UNTIL = ("--until=decided", "--max_seeds=8", "--learning_rate=0.05", "--equivalent_within=0")
SEARCH = ("--tune=learning_rate", "--tune_seeds=1", "--until=decided", "--max_seeds=5")


class StoppedError(Exception):
    """The process is gone."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def flaky(after: int) -> type[cells.CellDirectory]:
    """Cells whose process is killed before the next thing is written down."""
    done = []

    class Flaky(cells.CellDirectory):
        def save(self, *arguments) -> None:
            self._count()
            super().save(*arguments)

        def finish(self, result) -> None:
            self._count()
            super().finish(result)

        def _count(self) -> None:
            if len(done) == after:
                raise StoppedError
            done.append(1)

    return Flaky


@pytest.mark.parametrize("more", [UNTIL, SEARCH], ids=["until", "search"])
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    sweep, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
):
    data = f"--dataset={digits}"
    outcome = sweep(data, f"--workdir={tmp_path / 'unbroken'}", *FLAGS, *more)
    assert (outcome.code, outcome.err) == (0, "")
    workdir = tmp_path / "broken"
    begin = (data, f"--workdir={workdir}", *FLAGS, *more)
    for after in (1, 3, 4):
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            patch.setattr("cnn_jax.studies.cells.CellDirectory", flaky(after))
            sweep(*begin)
        begin = (f"--workdir={workdir}", "--resume")
    assert sweep(*begin).code == 0
    for name in TABLES:
        ours, theirs = (tmp_path / path / name for path in ("broken", "unbroken"))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_rounds_are_trained_in_the_programs_of_the_first(sweep, digits: Path, tmp_path: Path):
    workdir = tmp_path / "sweep"
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *FLAGS, *UNTIL)
    assert outcome.code == 0, outcome.err
    later = sorted((workdir / "cells").glob("*_round_*.json"))
    assert later and all(json.loads(file.read_text())["programs"] == 0 for file in later)
    seeds = {row["activation"]: int(row["n"]) for row in rows(workdir / "summary.csv")}
    assert max(seeds.values()) == seeds["relu"] and set(seeds.values()) <= {3, 5, 8}
    assert "looked at after 3, 5 and 8 seeds" in (workdir / "table.md").read_text()


def test_a_row_is_trained_at_its_best_value_and_not_tested_before(
    sweep, digits: Path, tmp_path: Path
):
    workdir = tmp_path / "sweep"
    outcome = sweep(f"--dataset={digits}", f"--workdir={workdir}", *FLAGS, *SEARCH[:2])
    assert outcome.code == 0, outcome.err
    results = rows(workdir / "results.csv")
    tested = [row for row in results if row["test_accuracy"]]
    assert {row["seed"] for row in tested} == {"0", "1", "2"}
    assert all(row["chosen"] == "true" for row in tested)
    tries = {
        name: len({r["learning_rate_flag"] for r in results if r["activation"] == name})
        for name in ("relu", "tanh", "elu")
    }
    assert len(set(tries.values())) == 1
    page = (workdir / "report.html").read_text()
    assert "what more tries bring" in page and "learning_rate around the best" in page
    assert "It was chosen on 1 seed of which nothing is reported" in outcome.out.replace("\n", " ")


def test_a_pilot_says_how_many_seeds_it_takes(sweep, digits: Path, tmp_path: Path):
    outcome = sweep(
        f"--dataset={digits}", f"--workdir={tmp_path / 'w'}", *FLAGS, "--learning_rate=0.05",
        "--detect=20",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "To show a difference of 20 points from relu in four cases of five" in said
    assert "seeds" in said.partition("this pilot:")[2].partition(".")[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max_seeds=9",), "--max_seeds is of --until=decided or replicated"),
        (("--until=decided", "--compare=all"), "leave --compare=all out"),
        (("--search=random:9",), "give --tune=learning_rate without --vary=learning_rate"),
    ],
)
def test_flags_without_effect_are_refused(sweep, digits: Path, tmp_path: Path, flags, message):
    outcome = sweep(f"--dataset={digits}", f"--workdir={tmp_path / 'w'}", *FLAGS, *flags)
    assert outcome.code != 0 and message in outcome.err
    assert not (tmp_path / "w").exists()
