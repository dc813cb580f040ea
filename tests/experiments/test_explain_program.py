"""The page that explains a run: that it has all its parts, and what it refuses."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import starter, train

from experiments import explain

PARTS = ("filters", "maps", "evidence", "classes", "neighbors", "mistakes", "ambiguous")


@pytest.fixture(scope="module")
def trained(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(program, digits, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def start(program, trained: Path):
    """Runs the program on that run."""
    run = starter(program, explain.main, takes_paths=True)
    return lambda *arguments: run(f"--run={trained}", *arguments)


def test_page_has_every_part_and_nothing_from_outside(start, trained: Path):
    outcome = start("--images=3,17")
    assert (outcome.code, outcome.err) == (0, "")
    page = (trained / "explain.html").read_text()
    for part in PARTS:
        assert f'<section id="{part}">' in page
        assert f'href="#{part}"' in page
    assert page.count('<img src="data:image/png;base64,') >= len(PARTS) - 1
    assert "test image 3 on its way" in page
    assert not re.search(r"""(src|href)\s*=\s*(?!["']?(data:|#|index\.html"))""", page)
    assert not re.search(
        r"""url\(\s*(?!["']?(data:|#))|@import|<link|<iframe|<script[^>]+src""", page
    )
    assert str(trained / "explain.html") in outcome.out


def test_own_pictures_and_a_chosen_class(start, tmp_path: Path):
    (tmp_path / "own").mkdir()
    pixels = np.full((20, 20, 3), 80, np.uint8)
    pixels[:10, 10:] = 160
    Image.fromarray(pixels).save(tmp_path / "own" / "corner.png")
    (tmp_path / "own" / "bad.png").write_text("no picture")
    outcome = start(tmp_path / "own", "--target=2", f"--out={tmp_path / 'page.html'}")
    assert outcome.code == 0
    assert "bad.png: it is not a picture" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    page = (tmp_path / "page.html").read_text()
    assert "corner.png on its way" in page


def test_drawn_images_are_those_of_the_seed(start, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def sections(subject):
        seen.append((subject.chosen.names, subject.split))
        return iter(())

    monkeypatch.setattr("experiments.explain.make_sections", sections)
    for flags in (["--seed=1"], ["--seed=1"], ["--seed=2"], ["--split=validation", "--count=50"]):
        assert start(*flags).code == 0
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert len(seen[0][0]) == 6
    assert len(seen[3][0]) == len(seen[3][1].labels) == 20


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--images=40"], "--images must be 1 to 50 numbers from 0 to 39, got '40'"),
        (["--images=-1"], "got '-1'"),
        (["--images=one"], "got 'one'"),
        (["--images=" + ",".join("1" * 51)], "got 51 of them"),
        (["--images=1", "--count=3"], "give one of them"),
        (["a.png", "--count=3"], "leave out the files"),
        (["a.png"], "a.png: there is no such file"),
        (["--count=0"], "--count=0"),
        (["--target=7"], "--target=7 is not one of the run's; there are 0, 1, 2, 3"),
        (["--top=3"], "--top has no effect here"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(start, arguments: list[str], message: str):
    outcome = start(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
