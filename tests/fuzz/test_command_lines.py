"""Hostile command lines: one clear line for each that cannot be, and nothing half made."""

from pathlib import Path

import pytest
from command_lines import answers, make_place, program_of, wrong

# Of the programs that are hostile most often; `command_lines.py` runs as many as it is given.
PROGRAMS = ("train", "ablation", "predict")
# Were answered wrongly once.
KEPT: tuple[int, ...] = ()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lines") / "place"
    make_place(place)
    return place


def test_hostile_command_lines(place: Path):
    drawn = [seed for seed in range(10_000, 10_060) if program_of(seed) in PROGRAMS][:40]
    problems = [
        (line, problem, answer.err[-500:])
        for line, answer in answers([*KEPT, *drawn], place)
        for problem in wrong(line, answer)
    ]
    assert problems == []
