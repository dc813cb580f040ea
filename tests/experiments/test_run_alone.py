"""A run is used without its data, and says by name what is different where they are asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import starter

from experiments import evaluate, explain, predict

SMALL = ("--batch_size=4", "--filters=4", "--hidden=8", "--validation_fraction=0.25")
CLASSES = {"cat": 60, "dog": 190}


def draw(folder: Path, level: int, count: int, seed: int) -> None:
    """Pictures of one brightness, and noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = np.clip(rng.normal(level, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pets") / "pets"
    for seed, (name, level) in enumerate(CLASSES.items()):
        draw(folder / "train" / name, level, 8, seed)
        draw(folder / "test" / name, level, 4, seed + 9)
    return folder


@pytest.fixture(scope="module")
def trained(program, original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        outcome = program(f"--dataset={original}", f"--workdir={run}", *SMALL, "--epochs=1")
    assert (outcome.code, outcome.err) == (0, "")
    return run


@pytest.fixture
def pets(original: Path, tmp_path: Path) -> Path:
    """The data where the run was trained on them, to spoil; put back afterwards."""
    kept = tmp_path / "kept"
    shutil.copytree(original, kept)
    yield original
    shutil.rmtree(original, ignore_errors=True)
    shutil.copytree(kept, original)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "a run"))


def added(pets: Path) -> Path:
    draw(pets / "train" / "more", 250, 3, 5)
    for path in (pets / "train" / "more").iterdir():
        path.rename(pets / "train" / "dog" / f"new_{path.name}")
    (pets / "train" / "more").rmdir()
    return pets


def renamed(pets: Path) -> Path:
    for split in ("train", "test"):
        (pets / split / "cat").rename(pets / split / "zebra")
    return pets


def moved(pets: Path) -> Path:
    return Path(shutil.move(pets, pets.parent / "elsewhere"))


def deleted(pets: Path) -> Path:
    shutil.rmtree(pets)
    return pets


def missing(pets: Path) -> Path:
    for split in ("train", "test"):
        (pets / split / "cat" / "00.png").unlink()
    return pets


def relabeled(pets: Path) -> Path:
    (pets / "train" / "cat" / "00.png").rename(pets / "train" / "dog" / "cat.png")
    return pets


CHANGES: list[Callable[[Path], Path]] = [added, renamed, moved, deleted, missing, relabeled]


@pytest.fixture
def programs(program):
    def start(main: Callable, paths: bool, *arguments: object):
        return starter(program, main, takes_paths=paths)(*arguments)

    return start


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw(tmp_path_factory.mktemp("own") / "cat", 70, 1, 3)
    return next(tmp_path_factory.getbasetemp().glob("own*/cat/00.png"))


@pytest.fixture(scope="module")
def before(program, trained: Path, picture: Path) -> str:
    outcome = starter(program, predict.main, takes_paths=True)(f"--run={trained}", picture, "--csv")
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_predictions_stay_what_they_were(programs, run, pets, before, picture, change):
    change(pets)
    outcome = programs(predict.main, True, f"--run={run}", picture, "--csv")
    assert (outcome.code, outcome.err, outcome.out) == (0, "", before)
    shutil.rmtree(pets.parent / "elsewhere", ignore_errors=True)


EVALUATED = {
    added: "3 images were added (3 of dog)",
    renamed: "cat is called zebra",
    relabeled: "1 image of cat is now dog",
}


@pytest.mark.parametrize("change", EVALUATED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_finds_its_examples_and_names_the_rest(programs, run, pets, change, split):
    arguments = (f"--run={run}", f"--split={split}", "--json", "--nopage")
    expected = json.loads(programs(evaluate.main, False, *arguments).out)
    change(pets)
    outcome = programs(evaluate.main, False, *arguments)
    assert outcome.code == 0
    assert EVALUATED[change] in outcome.err
    found = json.loads(outcome.out)
    assert EVALUATED[change] in found["notes"][0]
    for record in (expected, found):
        record.pop("images_per_second")
        record.pop("notes")
    assert found == expected


REFUSED = {
    deleted: "where they are now can be said with --dataset",
    missing: "2 images are missing (2 of cat); the test split cannot be put together again",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_evaluation_needs_all_of_a_split(programs, run, pets, change):
    change(pets)
    outcome = programs(evaluate.main, False, f"--run={run}")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert REFUSED[change] in outcome.err


RESUMED = {**EVALUATED, missing: "2 images are missing (2 of cat)", deleted: "there is no folder"}


@pytest.mark.parametrize("change", RESUMED, ids=lambda change: change.__name__)
def test_resuming_names_what_differs(program, run, pets, change):
    change(pets)
    outcome = program(f"--workdir={run}", "--resume")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert RESUMED[change] in outcome.err


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)


def test_data_that_moved_are_given_their_new_place(program, programs, run, pets, no_report):
    expected = (run / "result.json").read_text()
    place = moved(pets)
    outcome = programs(evaluate.main, False, f"--run={run}", f"--dataset={place}", "--nopage")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{json.loads(expected)['test_accuracy']:.2%} accuracy on pets, test" in outcome.out
    outcome = program(f"--workdir={run}", "--resume", f"--dataset={place}")
    assert (outcome.code, outcome.err) == (0, "")
    # The run knows it from now on.
    assert f"--dataset={place}\n" in (run / "flags.txt").read_text()
    assert program(f"--workdir={run}", "--resume").code == 0
    assert programs(evaluate.main, False, f"--run={run}", "--nopage").code == 0
    shutil.rmtree(place)


@pytest.fixture
def other(pets: Path, tmp_path: Path) -> Path:
    """Other pictures of the same classes."""
    folder = Path(shutil.copytree(pets, tmp_path / "other"))
    for index, path in enumerate(sorted(folder.rglob("*.png"))):
        image = np.asarray(Image.open(path)).copy()
        image[0, 0] = index
        Image.fromarray(image).save(path)
    return folder


def test_classes_of_other_data_are_known_by_their_names(programs, run, other):
    arguments = (f"--run={run}", f"--dataset={other}", "--nopage")
    # With one more class in front of it, dog has another number there.
    (other / "train" / "ant").mkdir()
    shutil.copy(other / "test" / "dog" / "00.png", other / "train" / "ant")
    shutil.rmtree(other / "test" / "cat")
    outcome = programs(evaluate.main, False, *arguments, "--json")
    assert outcome.code == 2
    assert "has the classes ant, which the run was not trained on" in outcome.err
    shutil.rmtree(other / "train")
    outcome = programs(evaluate.main, False, *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert "Classes are matched by name; cat of the run is not in this set." in found["notes"]
    # The only class there is the run's second one.
    assert [row["support"] for row in found["classes"]] == [0, 4]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Oblong pictures of 12 bits in 16, with a validation split of their own."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        for name, level in (("bone", 3500), ("soft", 600)):
            (tmp_path / "scans" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(rng.normal(level, 300, (8, 12)), 0, 4095).astype(np.uint16)
                path = tmp_path / "scans" / split / name / f"{index}.png"
                Image.fromarray(pixels).save(path)
    return tmp_path / "scans"


def test_pictures_are_read_as_the_training_set_was(
    program, programs, scans: Path, tmp_path: Path, no_report
):
    run, picture = tmp_path / "run", tmp_path / "soft.png"
    # By its own range it would be another picture.
    Image.fromarray(np.full((12, 8), 900, np.uint16)).save(picture)
    read = ("--image_size=8", "--resize=pad", "--nodownload")
    outcome = program(f"--dataset={scans}", f"--workdir={run}", *SMALL, *read, "--epochs=2")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads((run / "data.json").read_text())
    floats, sides = {"low": None, "high": None}, {"shortest": 8, "longest": 12}
    assert record["rule"] == {"bits": 12, "resize": "pad", **floats, **sides}
    assert record["own_validation"]
    assert record["examples"] == {"train": 12, "validation": 6, "test": 4}
    assert record["notes"]
    before = programs(predict.main, True, f"--run={run}", picture, "--csv")
    for split, images in (("validation", 6), ("test", 4), ("train", 12)):
        outcome = programs(evaluate.main, False, f"--run={run}", f"--split={split}", "--nopage")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"{images} images" in outcome.out
    (scans / "val" / "soft" / "0.png").rename(scans / "train" / "soft" / "more.png")
    outcome = programs(evaluate.main, False, f"--run={run}", "--split=validation", "--nopage")
    assert outcome.code == 0
    assert "1 image is in the training split now" in outcome.err
    shutil.rmtree(scans)
    after = programs(predict.main, True, f"--run={run}", picture, "--csv")
    assert (after.code, after.err, after.out) == (0, "", before.out)


def test_own_pictures_are_explained_without_the_data(programs, run, pets, picture, monkeypatch):
    from cnn_jax.analysis.explain.sections import Depth

    subject, quick = explain.Subject, Depth(samples=2, overlap=1, ascent=2)
    monkeypatch.setattr(explain, "Subject", lambda *parts, **more: subject(*parts, quick, **more))
    deleted(pets)
    outcome = programs(explain.main, True, f"--run={run}", picture)
    assert (outcome.code, outcome.err) == (0, "")
    assert "no training images: the data of the run in" in outcome.out
    page = (run / "explain.html").read_text()
    assert 'id="evidence"' in page
    assert 'id="neighbors"' not in page
    outcome = programs(explain.main, True, f"--run={run}")
    assert outcome.code == 2
    assert "there is no folder" in outcome.err
