"""Every kind of page in headless Chromium, of data whose names would run if they were not text."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from browser import Browser, accessible, browser, needs_axe, needs_chromium
from PIL import Image
from saved_runs import starter

from cnn_jax.analysis.progress import render_progress
from cnn_jax.analysis.walkthrough import learning
from cnn_jax.studies.progress import read_progress
from experiments import compare, evaluate, explain, lr_find, overview, walkthrough

pytestmark = needs_chromium

# An element of this name is in no page, if names are text.
NAMES = ["</script><x-x><img src=x onerror=alert(1)>", "<x-x>\"bold\" & 'bare'", "{{ 7 * 7 }}"]
TRAINED = (
    "--image_size=12", "--filters=4", "--hidden=8", "--batch_size=10", "--epochs=2",
    "--validation_fraction=0.25",
)  # fmt: skip
PAGES = (
    "report", "labels", "evaluation", "explain", "walkthrough", "ablation", "comparison", "index",
    "index of a run", "rates", "progress",
)  # fmt: skip
INJECTED = "document.querySelectorAll('x-x, [onerror]')"
# What can be reached by Tab, numbered.
NUMBER_CONTROLS = """
    [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
      .filter(each => !each.disabled && each.tabIndex >= 0)
      .filter(each => each.checkVisibility({ visibilityProperty: true }))
      .map((each, place) => each.dataset.control = place).length
"""


def write_pictures(folder: Path, header: str, rows: list[str]) -> Path:
    """Pictures in color with a table; those of different rows can be told apart."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        (folder / split).mkdir(parents=True)
        lines = [header]
        for number in range(count):
            pixels = rng.integers(0, 120, (12, 12, 3))
            pixels[4 * (number % 3) : 4 * (number % 3) + 4] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"{number}.png")
            lines.append(f"{number}.png;{rows[number % 3]}")
        (folder / split / "labels.csv").write_text("\n".join(lines))
    return folder


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(scope="module")
def pages(
    program: Callable, sweep: Callable, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One page of each kind."""
    runs, albums = tmp_path_factory.mktemp("all") / "runs", tmp_path_factory.mktemp("albums")
    names = [quoted(name) for name in NAMES]
    classes = write_pictures(albums / "<x-x>classes", "file;label", names)
    several = write_pictures(
        albums / "<x-x>labels", ";".join(["file", *names]), ["1;0;1", "0;1;0", "0;0;1"]
    )
    run, other, labels, swept = (runs / name for name in ("<x-x>one", "two", "labels", "swept"))

    def start(main: Callable, *arguments: object, takes_paths: bool = False) -> None:
        outcome = starter(program, main, takes_paths)(*arguments)
        assert outcome.code == 0, outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_JAX_CACHE", str(runs.parent / "cache"))
        few = {name: learning.AUGMENTATIONS[name] for name in ("flip", "mixup")}
        patch.setattr(learning, "AUGMENTATIONS", few)
        data = (f"--dataset={classes}", *TRAINED)
        assert program(*data, f"--workdir={run}").code == 0
        assert program(*data, f"--workdir={other}", "--activation=tanh").code == 0
        assert program(f"--dataset={several}", *TRAINED, f"--workdir={labels}").code == 0
        axis = ("--vary=activation=relu,tanh", "--seeds=2")
        assert sweep(*data, *axis, f"--workdir={swept}").code == 0
        start(evaluate.main, f"--run={run}")
        start(explain.main, f"--run={run}", takes_paths=True)
        start(walkthrough.main, f"--run={run}", "--examples=100")
        start(compare.main, run, other, f"--out={runs / 'compare.html'}", takes_paths=True)
        start(lr_find.main, *data, f"--out={runs / 'rates.html'}")
        start(overview.main, runs, "--index", takes_paths=True)
    progress = runs / "progress.html"
    progress.write_text(render_progress(read_progress(run)), encoding="utf-8")
    found = [
        run / "report.html", labels / "report.html", run / "evaluation-test.html",
        run / "explain.html", run / "walkthrough.html", swept / "report.html",
        runs / "compare.html", runs / "index.html", run / "index.html", runs / "rates.html",
        progress,
    ]  # fmt: skip
    return dict(zip(PAGES, found, strict=True))


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_text_of_users_is_text_and_nothing_is_asked_for(
    tab: Browser, pages: dict[str, Path], name: str
):
    tab.open(pages[name])
    assert (tab.said, tab.requests) == ([], [])
    assert tab.value(f"{INJECTED}.length") == 0
    tab.value("document.querySelectorAll('button, [type=checkbox]').forEach(each => each.click())")
    assert tab.value(f"{INJECTED}.length") == 0
    assert (tab.said, tab.requests) == ([], [])
    policy = tab.value("document.querySelector('meta[http-equiv=Content-Security-Policy]').content")
    assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none';")
    assert "connect" not in policy and "http" not in policy
    refused = "fetch('https://localhost:1/').then(() => 'made', () => 'refused')"
    assert tab.value(refused) == "refused"
    assert any("Content Security Policy" in text for text in tab.said)


@pytest.mark.parametrize("name", ["report", "labels", "explain", "walkthrough"])
def test_names_that_the_network_says_are_text(tab: Browser, pages: dict[str, Path], name: str):
    tab.open(pages[name], motion=False)
    tab.value("document.getElementById('pad').scrollIntoView()")
    x, y = tab.value(
        "[document.getElementById('pad').getBoundingClientRect()].map(box => [box.x, box.y])[0]"
    )
    tab.drag([(x + 50, y + 50), (x + 150, y + 150)])
    tab.wait("document.getElementById('live').dataset.read")
    said = tab.value("document.getElementById('ranks').textContent")
    # The lecture draws faces of its own.
    assert all(each in said for each in (["smile"] if name == "walkthrough" else NAMES))
    assert tab.value(f"{INJECTED}.length") == 0
    assert tab.said == []


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique_and_links_lead_somewhere(tab: Browser, pages: dict[str, Path], name: str):
    tab.open(pages[name])
    ids = tab.value("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert sorted(ids) == sorted(set(ids))
    anchors = "[...document.querySelectorAll('a[href]')].map(each => each.getAttribute('href'))"
    for anchor in tab.value(anchors):
        page, _, part = anchor.partition("#")
        page = page.partition("?")[0]
        assert part in ids if part else (pages[name].parent / unquote(page)).exists()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows(tab: Browser, pages: dict[str, Path], name: str):
    for width in (390, 768, 1280):
        tab.open(pages[name], width)
        assert tab.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", PAGES)
def test_every_control_is_reached_by_tab(tab: Browser, pages: dict[str, Path], name: str):
    tab.open(pages[name])
    count, reached = tab.value(NUMBER_CONTROLS), set()
    for _ in range(count + 1):
        tab.press("Tab")
        reached.add(tab.value("document.activeElement.dataset.control"))
    assert reached - {None} == {str(place) for place in range(count)}


@needs_axe
@pytest.mark.parametrize(
    "width, dark", [(1280, False), (1280, True), (390, False)], ids=["light", "dark", "phone"]
)
@pytest.mark.parametrize("name", PAGES)
def test_it_is_accessible(tab: Browser, pages: dict[str, Path], name: str, width: int, dark: bool):
    tab.open(pages[name], width, dark)
    # A page may ask for itself again where it can be stopped (WCAG 2.2.1), which axe does not see.
    assert [each for each in accessible(tab) if "meta-refresh" not in each] == []
    assert tab.value("!document.querySelector('[http-equiv=refresh]')") or tab.value(
        "!!document.querySelector('a[href=\"?still\"]')"
    )
