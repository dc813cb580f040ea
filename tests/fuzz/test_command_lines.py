"""Hostile command lines: one clear line for each that cannot be, and nothing half made."""

from pathlib import Path

import pytest
from command_lines import answers, make_place, program_of, wrong

# Of the programs that are hostile most often; `command_lines.py` runs as many as it is given.
# What was answered wrongly once is in tests/experiments/test_hostile_flags.py, by its flags: a seed
# draws another line once there is another flag.
PROGRAMS = ("train", "ablation")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lines") / "place"
    make_place(place)
    return place


def test_hostile_command_lines(place: Path):
    drawn = [seed for seed in range(10_000, 10_060) if program_of(seed) in PROGRAMS][:25]
    problems = [
        (line, problem, answer.err[-500:])
        for line, answer in answers(drawn, place)
        for problem in wrong(answer)
    ]
    assert problems == []
