"""The files of examples/: trained, swept, resumed, predicted with and explained."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from saved_runs import starter

import cnn_jax
from cnn_jax.extend import EXTENSIONS, forget, loaded_files
from experiments import evaluate, explain, predict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = ("--batch_size=12", "--epochs=2", "--validation_fraction=0.25", "--seed=3")
CNN = ("--filters=4", "--hidden=8")
# The flags that choose what a file adds, and an axis over its number.
CASES = {
    "my_activation": (("--activation=my_wave", *CNN), "activation=relu,my_wave", "frequency=1,2"),
    "my_loss": (("--loss=my_margin_loss", *CNN), "loss=hinge,my_margin_loss", "lead=0,1"),
    "my_network": (("--model=my_network", "--network_width=8"), "model=lenet5,my_network", ""),
    "my_optimizer": (
        ("--optimizer=my_adan", "--schedule=my_fall", *CNN),
        "optimizer=adam,my_adan",
        "power=1,2",
    ),
}


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    forget(loaded_files())
    assert not EXTENSIONS


@pytest.fixture
def quick_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    pixels = np.full((8, 8), 80, np.uint8)
    pixels[:4, 4:] = 160
    Image.fromarray(pixels).save(tmp_path / "corner.png")
    return tmp_path / "corner.png"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("quick_pages")
@pytest.mark.parametrize("name", CASES)
def test_trained_resumed_evaluated_and_predicted_with(
    program, digits: Path, tmp_path: Path, picture: Path, name: str
):
    file = tmp_path / f"{name}.py"
    shutil.copy(EXAMPLES / file.name, file)
    assert len(file.read_text().splitlines()) < 25
    flags = (f"--extend={file}", f"--dataset={digits}", *SMALL, *CASES[name][0])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    outcome = program(f"--workdir={whole}", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.runs.hosts.must_stop", lambda: True)
        assert program(f"--workdir={broken}", *flags).code == 130
    file.unlink()
    outcome = program(f"--workdir={broken}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert [path.name for path in (whole / "extensions").glob("*.py")] == [f"00_{name}.py"]
    outcome = starter(program, predict.main, takes_paths=True)(f"--run={whole}", picture, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(json.loads(outcome.out)[0]["guesses"]) == 4
    outcome = starter(program, evaluate.main, takes_paths=False)(f"--run={whole}", "--nopage")
    assert (outcome.code, outcome.err) == (0, "")
    accuracy = json.loads((whole / "result.json").read_text())["test_accuracy"]
    assert f"{accuracy:.2%} accuracy" in outcome.out


@pytest.mark.parametrize("name", CASES)
def test_swept(sweep, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr("cnn_jax.analysis.ablation.render_ablation_report", lambda record: "")
    _, choice, number = CASES[name]
    axes = [f"--vary={axis}" for axis in (choice, number) if axis]
    if name == "my_optimizer":
        axes.append("--schedule=my_fall")
    outcome = sweep(
        f"--extend={EXAMPLES / name}.py", f"--dataset={digits}", *SMALL, *axes, "--seeds=2",
        "--epochs=1", "--image_size=12", f"--workdir={tmp_path / 'sweep'}",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    table = (tmp_path / "sweep" / "table.md").read_text()
    assert all(value in table for value in choice.partition("=")[2].split(","))
    if number:
        # Numbers share a program.
        assert "in 2 programs" in outcome.out


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explanations that take few samples."""
    from cnn_jax.analysis.explain.sections import Depth

    quick, subject = Depth(samples=2, overlap=1, ascent=2), explain.Subject
    monkeypatch.setattr(explain, "Subject", lambda *parts, **more: subject(*parts, quick, **more))


@pytest.mark.usefixtures("quick_pages", "shallow")
@pytest.mark.parametrize("name", CASES)
def test_explained(program, digits: Path, tmp_path: Path, name: str):
    flags = (f"--extend={EXAMPLES / name}.py", f"--dataset={digits}", *SMALL, *CASES[name][0])
    assert program(f"--workdir={tmp_path / 'run'}", *flags).code == 0
    outcome = starter(program, explain.main, takes_paths=True)(
        f"--run={tmp_path / 'run'}", "--count=1"
    )
    assert (outcome.code, outcome.err) == (0, "")
    page = (tmp_path / "run" / "explain.html").read_text()
    named = "its feature maps cannot be shown" not in page
    assert named == (name != "my_network")
    assert ("Grad-CAM: where the maps" in page) == named
    assert ("Nearest in the features" in page) == named
    assert "Saliency" in page


# What the flags of CASES say, as arguments; a function is given where a file adds one.
PYTHON = {
    "my_activation": ({"activation": "my_wave"}, "relu"),
    "my_loss": ({"loss": "my_margin_loss"}, "hinge"),
    "my_network": ({"model": "my_network"}, "lenet5"),
    "my_optimizer": ({"optimizer": "my_adan", "schedule": "my_fall"}, "adam"),
}


@pytest.mark.usefixtures("quick_pages", "shallow")
@pytest.mark.parametrize("name", PYTHON)
def test_the_same_from_python(program, digits: Path, tmp_path: Path, picture: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    names, other = PYTHON[name]
    functions = {field: getattr(module, function) for field, function in names.items()}
    small = {"epochs": 1, "batch_size": 12, "seed": 3, "image_size": 28, "progress": False}
    small |= {} if name == "my_network" else {"filters": (4,), "hidden": (8,)}
    where = tmp_path / "run"
    run = cnn_jax.train(digits, workdir=where, **functions, **small)
    # One axis over the function, and what else belongs to it as it is.
    field = next(iter(names))
    rest = {key: value for key, value in functions.items() if key != field}
    small.pop("seed")
    study = cnn_jax.ablate(digits, vary={field: [other, functions[field]]}, **rest, **small)
    assert {row[field] for row in study.table().rows} == {other, names[field]}
    predicted = run.predict(picture)
    del sys.modules[name]
    for extension in list(EXTENSIONS.values()):
        extension.remove()
    # What the folder keeps of the functions is enough for whoever goes on.
    loaded = cnn_jax.load_run(where)
    np.testing.assert_allclose(loaded.predict(picture), predicted, rtol=1e-5)
    outcome = program(f"--workdir={where}", "--resume", "--epochs=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert [record["epoch"] for record in lines(where / "metrics.jsonl")] == [1, 2]
    outcome = starter(program, explain.main, takes_paths=True)(f"--run={where}", "--count=1")
    assert (outcome.code, outcome.err) == (0, "")


def refused(outcome, message: str) -> None:
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_a_changed_file_is_refused(program, digits: Path, tmp_path: Path, quick_pages):
    file = tmp_path / "mine.py"
    file.write_text((EXAMPLES / "my_activation.py").read_text())
    run = tmp_path / "run"
    flags = (f"--dataset={digits}", *SMALL, *CNN, "--activation=my_wave", "--epochs=1")
    refused(program(*flags), "--activation=my_wave is not one of")
    assert program(f"--extend={file}", *flags, f"--workdir={run}").code == 0
    file.write_text(file.read_text().replace("jnp.sin", "jnp.cos"))
    refused(program(f"--workdir={run}", "--resume"), "mine.py was changed since the run in")
    outcome = program(f"--workdir={run}", "--resume", f"--extend={file}")
    refused(outcome, "mine.py")
    # What is kept does, wherever the run lies.
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    kept = moved / "extensions" / "00_mine.py"
    assert program(f"--workdir={moved}", "--resume", f"--extend={kept}").code == 0
    file.unlink()
    assert program(f"--workdir={moved}", "--resume").code == 0


def test_help_and_errors_know_what_was_added(program, tmp_path: Path, digits: Path):
    file = EXAMPLES / "my_activation.py"
    outcome = program(f"--extend={file}", "--help")
    assert "my_wave" in outcome.out
    assert "--frequency" in outcome.out
    assert "Hyperparameter in (0, inf): of the wave. Default: 1 (my_wave)" in " ".join(
        outcome.out.split()
    )
    refused(program(f"--extend={file}", "--activation=my_wav"), "did you mean my_wave?")
    refused(
        program(f"--extend={file}", "--activation=my_wave", "--frequency=-1"),
        "--frequency must be in (0, inf), got -1",
    )
    refused(program(f"--extend={file}", "--frequency=2"), "--frequency has no effect with")
    assert not list(tmp_path.glob("here/runs"))
    (tmp_path / "bad.py").write_text(
        "import cnn_jax\ncnn_jax.activation(lambda x: x.sum(), name='s')"
    )
    refused(
        program(f"--extend={tmp_path / 'bad.py'}"), "bad.py: activation s: its result has shape"
    )
    (tmp_path / "flag.py").write_text(
        "import cnn_jax\n@cnn_jax.activation\ndef s(x, *, plan=1.0):\n    return plan * x\n"
    )
    refused(program(f"--extend={tmp_path / 'flag.py'}"), "the number plan has the name of another")
    # Without the file its names are gone.
    assert "my_wave" not in program("--help").out
