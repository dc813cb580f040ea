"""From names and paths to sources."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax import data
from cnn_jax.data._names import resolve
from cnn_jax.data.layouts import LAYOUTS
from cnn_jax.errors import UsageError


def test_the_image_size_applies_to_the_embedded_set():
    assert data.load("mnist", image_size=4).image_shape == (4, 4, 1)


@pytest.mark.parametrize("name", sorted(data.DATASETS))
def test_special_names_answer_to_their_name(name: str):
    assert data.load(name).name == name


def test_a_special_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(data.load("mnist").train) == 60000
    with pytest.raises(UsageError, match="neither IDX files nor a folder train"):
        data.load("./mnist")


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pets").mkdir()
    with pytest.raises(UsageError, match="pets holds neither"):
        data.load("~/pets")


@pytest.mark.parametrize("size", [0, -3])
def test_bad_sizes_are_refused(size: int):
    with pytest.raises(UsageError, match="image size"):
        data.load("mnist", image_size=size)


def test_paths_that_lead_nowhere(tmp_path: Path):
    with pytest.raises(UsageError, match="there is no folder"):
        data.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there is no folder"):
        data.load("./nowhere")
    with pytest.raises(UsageError, match="is empty"):
        data.load("")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file, expected a folder"):
        data.load(tmp_path / "file")


def test_importing_and_reading_mnist_needs_numpy_alone():
    heavy = ("jax", "tensorflow", "tensorflow_datasets", "PIL", "rich")
    code = (
        "import sys, cnn_jax.data; cnn_jax.data.load('mnist');"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
    assert printed.stderr == ""


def test_the_page_on_data_shows_every_layout_that_help_prints():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    printed = data.describe_layouts()
    for each in LAYOUTS:
        assert each.tree in page
        assert each.meaning in page
        assert each.title in printed


@pytest.mark.parametrize(
    ("written", "meant"), [("MNIST", "mnist"), ("Mnist", "mnist"), ("FACES", "faces")]
)
def test_names_are_understood_as_people_write_them(written: str, meant: str):
    assert data.load(written).name == meant
    assert data.is_multi_label(written) == data.is_multi_label(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CIFAR-10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("Fashion-MNIST", "fashion_mnist"),
        ("FashionMNIST", "fashion_mnist"),
        ("fmnist", "fashion_mnist"),
        ("cifar100:3.0.2", "cifar100:3.0.2"),
        ("EMNIST-Letters", "emnist/letters"),
        ("SVHN", "svhn_cropped"),
        ("no such set", None),
    ],
)
def test_aliases(written: str, meant: str | None):
    known = ("mnist", "cifar10", "cifar100", "fashion_mnist", "emnist", "svhn_cropped")
    assert resolve(written, known) == meant


@pytest.mark.parametrize(
    ("name", "there"),
    [("mnist", False), ("", False), ("MNIST", False), ("pets", True), ("pets/letters", True),
     ("pets/digits", False), ("faces", False)],
)  # fmt: skip
def test_what_is_there_is_decided_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    (tmp_path / "faces").mkdir()
    (tmp_path / "pets/letters-train-images-idx3-ubyte").touch()
    opened = []
    monkeypatch.setattr(
        "cnn_jax.data.registry._load_path", lambda path, options, cache, only: opened.append(path)
    )

    def no_path(cache: object):
        raise UsageError("a name")

    for each in ("mnist", "faces"):
        monkeypatch.setitem(data.DATASETS, each, no_path)
    assert data.is_of_files(name) == there
    with contextlib.suppress(UsageError):
        data.load(name)
    assert bool(opened) == there
