"""The notebooks as a reader runs them, from top to bottom, and as they are committed."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from absl.testing import flagsaver
from nbclient import NotebookClient

from cnn_jax.studies.choices import read_config, read_hparams
from experiments import ablation
from experiments.flags import axes, options

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
FLAGS = ablation.FLAGS


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=nbformat.NO_CONVERT)


def execute(name: str) -> list[Any]:
    """The outputs of a notebook in a fresh kernel of this interpreter."""
    notebook = read(name)
    resources = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources=resources).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


def displayed(outputs: list[Any], kind: str) -> list[str]:
    return [output.data[kind] for output in outputs if kind in output.get("data", ())]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.ipynb")))
def test_committed_without_outputs(name: str):
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, cell.id
            assert cell.execution_count is None, cell.id


def test_tour():
    outputs = execute("tour.ipynb")
    text = printed(outputs)
    assert "[[4. 3. 4.]\n [2. 4. 3.]\n [2. 3. 4.]]" in text
    assert "[[9. 7.]\n [8. 6.]]" in text
    assert "[[4.25 4.25]\n [4.25 3.5 ]]" in text
    assert "log loss of 0.011: 4.50986" in text
    assert float(re.search(r"([\d.]+)% of 10,000 test images", text)[1]) > 95
    assert len(displayed(outputs, "image/png")) == 11


def test_colab_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CNN_JAX_QUICK", "1")
    monkeypatch.setenv("CNN_JAX_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    outputs = execute("colab_tpu.ipynb")
    text = printed(outputs)
    assert "WARNING: there is no accelerator" in text
    assert (tmp_path / "runs" / "ablation-quick" / "table.md").read_text() in text
    assert len(displayed(outputs, "image/png")) == 1
    report, comparison = displayed(outputs, "text/html")
    assert "lenet5 on mnist" in report
    assert "label_smoothing" in comparison


def test_an_idea_of_ones_own():
    assert len(read("own_idea.ipynb").cells) == 10
    outputs = execute("own_idea.ipynb")
    # Bars of progress leave nothing to see behind.
    run, table = [page for page in displayed(outputs, "text/html") if "<table>" in page]
    assert "lenet5 on mnist; test accuracy" in run
    assert all(f"<td>{name}<" in table for name in ("relu", "gelu", "my_wave"))
    assert "<th>learning_rate</th>" in table
    assert len(displayed(outputs, "image/png")) == 1


def test_the_newest_package_that_was_brought_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drive = tmp_path / "drive"
    drive.mkdir()
    monkeypatch.chdir(tmp_path)
    (cell,) = (cell for cell in read("colab_tpu.ipynb").cells if "def brought" in cell.source)
    (brought,) = (
        node for node in ast.parse(cell.source).body if getattr(node, "name", "") == "brought"
    )
    defined: dict[str, Any] = {"Path": Path, "ON_COLAB": True, "home": drive}
    exec(ast.unparse(brought), defined)
    with pytest.raises(FileNotFoundError, match="no cnn_jax-....whl and no cnn_jax....zip"):
        defined["brought"]()
    for age, name in enumerate(("cnn_jax.txt", "drive/cnn_jax-0.1.0.whl", "cnn_jax-main.zip")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert defined["brought"]() == drive / "cnn_jax-0.1.0.whl"


@pytest.fixture
def flags_of_the_notebook() -> Iterator[dict[str, Any]]:
    """What the Colab notebook gives the programs outside of quick mode."""
    defined: dict[str, Any] = {"QUICK": False}
    for cell in read("colab_tpu.ipynb").cells:
        if "flags" in cell.metadata.get("tags", ()):
            exec(cell.source, defined)
    with flagsaver.flagsaver():
        yield defined


def parse(arguments: list[str]) -> dict[str, Any]:
    FLAGS.unparse_flags()
    FLAGS(["program", *arguments])
    return options.given()


def test_flags_of_the_full_run(flags_of_the_notebook: dict[str, Any]):
    choices = parse(flags_of_the_notebook["RECIPE"])
    config = read_config(choices)
    assert config.architecture.model == "airnet"
    assert config.precision == "bfloat16"
    assert read_hparams(config, choices)["label_smoothing"] == 0.2


def test_flags_of_the_full_ablation(flags_of_the_notebook: dict[str, Any]):
    choices = parse(flags_of_the_notebook["GRID"])
    study = axes.read_study(FLAGS.vary, FLAGS.tune, FLAGS.seeds, choices)
    assert len(study.grid.variants) == 4
    assert [len(cell.trials) for cell in study.grid.cells] == [8, 8]
