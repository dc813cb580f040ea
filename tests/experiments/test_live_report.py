"""The report of a run, alive in headless Chromium: drawn on, by pointer and by keys."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, accessible, browser, needs_axe, needs_chromium

pytestmark = needs_chromium

# Digits as strokes, each a list of points from (0, 0) at the upper left to (1, 1).
Stroke = list[tuple[float, float]]


def arc(x: float, y: float, width: float, height: float, start: int, end: int) -> Stroke:
    """Part of an ellipse about (x, y), from one angle to another: 0 is right, 90 down."""
    step = 15 if end > start else -15
    angles = [math.radians(angle) for angle in range(start, end + step, step)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


DIGITS: list[list[Stroke]] = [
    [arc(0.5, 0.5, 0.2, 0.3, -90, 270)],
    [[(0.52, 0.2), (0.5, 0.5), (0.48, 0.8)]],
    [[*arc(0.5, 0.36, 0.18, 0.16, 190, 380), (0.55, 0.55), (0.32, 0.78), (0.72, 0.78)]],
    [[*arc(0.48, 0.35, 0.17, 0.14, 210, 450), *arc(0.48, 0.65, 0.2, 0.16, 270, 510)]],
    [[(0.38, 0.2), (0.3, 0.55), (0.7, 0.53)], [(0.64, 0.22), (0.58, 0.82)]],
    [[(0.68, 0.22), (0.38, 0.23), (0.36, 0.46), *arc(0.47, 0.62, 0.19, 0.17, 240, 510)]],
    [[(0.6, 0.18), (0.42, 0.4), *arc(0.5, 0.65, 0.15, 0.16, 190, 560)]],
    [[(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]],
    [[*arc(0.5, 0.35, 0.14, 0.14, 90, 450), *arc(0.5, 0.65, 0.17, 0.16, 270, 630)]],
    [[*arc(0.5, 0.36, 0.16, 0.16, 0, 360), (0.65, 0.5), (0.6, 0.82)]],
]


@pytest.fixture(scope="module")
def report(program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the network of --preset=mnist, trained on a part of it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        flags = ("--train_examples=8000", "--epochs=3", f"--workdir={folder}")
        outcome = program("--preset=mnist", *flags)
    assert outcome.code == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def page(tab: Browser, report: Path) -> Browser:
    tab.open(report)
    return tab


def best(page: Browser) -> str:
    """The first guess, once all is shown."""
    page.wait("document.getElementById('live').dataset.read")
    return page.value("document.querySelector('#ranks .guess').textContent")


def draw(page: Browser, strokes: list[Stroke]) -> None:
    page.value("document.getElementById('clear').click()")
    page.value("document.getElementById('pad').scrollIntoView({ block: 'center' })")
    left, top, width, height = page.value(
        "(() => { const b = document.getElementById('pad').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    for stroke in strokes:
        page.drag([(left + x * width, top + y * height) for x, y in stroke])


def test_digits_drawn_by_strokes_are_read(page: Browser):
    read = []
    for strokes in DIGITS:
        draw(page, strokes)
        read.append(best(page))
    right = [guess == str(digit) for digit, guess in enumerate(read)]
    assert sum(right) >= 9, read
    assert (page.said, page.requests) == ([], [])


def test_what_is_drawn_is_shown_and_taken_back(page: Browser):
    draw(page, DIGITS[7])
    assert best(page) == "7"
    assert page.value("document.getElementById('done').textContent").startswith("cut out, scaled")
    assert page.value("document.querySelectorAll('#layers canvas').length") == 6
    assert "%" in page.value("document.getElementById('said').textContent")
    page.value("document.getElementById('undo').click()")
    page.value("document.getElementById('undo').click()")
    assert page.value("document.getElementById('live').matches('.empty')")
    assert page.value("document.querySelectorAll('#ranks li').length") == 0


def test_a_test_picture_is_edited(page: Browser):
    page.value("document.querySelector('.card .edit').click()")
    truth = page.value("document.querySelector('.card figcaption').firstChild.textContent.trim()")
    assert best(page) == truth
    assert page.value("document.getElementById('done').textContent") == "as it is"
    page.value(
        "(() => { const about = document.getElementById('about'); about.value = '3';"
        " about.dispatchEvent(new Event('change')); })()"
    )
    page.wait("document.getElementById('scored').textContent === '3'")


def test_a_line_is_drawn_by_keys_alone(page: Browser):
    page.value("document.getElementById('draw').querySelector('h2').scrollIntoView()")
    page.value("document.body.focus()")
    for _ in range(60):
        page.press("Tab")
        if page.value("document.activeElement.id") == "pad":
            break
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16 + [" "]:
        page.press(key)
    assert best(page) == "1"
    assert page.value("document.getElementById('pen').textContent") == "The pen is up."


def test_every_control_is_reached_by_tab(page: Browser):
    wanted = set(
        page.value(
            "[...document.querySelectorAll('#live :is(button, input, select, canvas[tabindex],"
            " summary)')].map(each => each.id || each.tagName)"
        )
    )
    assert {"pad", "thickness", "erase", "undo", "clear", "picture"} <= wanted
    # What stands after the sheet is reached from its controls, which a drawing shows.
    draw(page, DIGITS[1])
    best(page)
    page.value("document.querySelector('#live').setAttribute('tabindex', '-1')")
    page.value("document.querySelector('#live').focus()")
    found = set()
    for _ in range(len(wanted) + 2):
        page.press("Tab")
        found.add(page.value("document.activeElement.id || document.activeElement.tagName"))
    assert wanted <= found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_overflows(tab: Browser, report: Path, width: int, dark: bool):
    tab.open(report, width, dark)
    draw(tab, DIGITS[2])
    best(tab)
    assert tab.value("document.documentElement.scrollWidth") <= width


@needs_axe
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible(tab: Browser, report: Path, dark: bool):
    tab.open(report, dark=dark)
    draw(tab, DIGITS[3])
    best(tab)
    assert accessible(tab) == []


def test_connections_are_forbidden(page: Browser, report: Path):
    assert page.value("fetch('https://localhost:1/').then(() => 'made', () => 'refused')") == (
        "refused"
    )
    assert any("Content Security Policy" in text for text in page.said)
    assert len(report.read_bytes()) < 1_500_000
