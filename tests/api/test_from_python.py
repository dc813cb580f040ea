"""Training from Python: the programs' numbers, arrays and functions as arguments, named errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.api import ArgumentError
from cnn_jax.api._arguments import used_files
from cnn_jax.extend import EXTENSIONS

pytestmark = pytest.mark.usefixtures("no_extensions")
ROOT = Path(__file__).resolve().parents[2]
SMALL = {"filters": (4,), "hidden": (8,), "epochs": 2, "batch_size": 16, "progress": False}
SCALE = 2.0
PARTS = {"phase": (0.0, [1]), "of": len}
Frequency = Annotated[float, cnn_jax.ops.Interval("(0, inf)"), "of the wave"]


def my_wave(x, *, frequency: Frequency = 1.0):
    return helped(x) * jnp.sin(frequency * x + PARTS["phase"][0])


def helped(x):
    return SCALE * x


def my_fade(key, image):
    return image / 2


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Three classes: where a row is light."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 100, (120, 12, 12, 1))
    images[np.arange(120), 4 * labels] += 150
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained(arrays) -> cnn_jax.api.TrainedRun:
    return cnn_jax.train(arrays, class_names=("a", "b", "c"), learning_rate=0.01, **SMALL)


def test_a_run_says_what_came_of_it(trained, arrays):
    assert 0 <= trained.accuracy <= 1
    low, high = trained.interval
    assert low <= trained.accuracy <= high
    assert [record["epoch"] for record in trained.history] == [1, 2]
    assert trained.class_names == ("a", "b", "c")
    assert trained.hyperparameters["learning_rate"] == 0.01
    assert "cnn on arrays; test accuracy" in repr(trained)
    assert "validation accuracy" in trained._repr_html_()
    probabilities = trained.predict(arrays[0][:5])
    assert probabilities.shape == (5, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(trained.predict(arrays[0][0]), trained.predict(arrays[0][:1]))
    np.testing.assert_array_equal(
        trained.predict(arrays[0][:2, ..., 0]), trained.predict(arrays[0][:2])
    )


def test_the_same_numbers_as_the_program(tmp_path: Path):
    flags = ["--epochs=2", "--model=lenet5", "--train_examples=400", "--batch_size=50", "--seed=2"]
    code = (
        "import sys; from unittest import mock; import cnn_jax.analysis.report as r\n"
        "from experiments import train, launch\n"
        "with mock.patch.object(r, 'look', lambda *a: None), "
        "mock.patch.object(r, 'render_report', lambda *a: ''): launch.start(train.main)"
    )
    program = subprocess.run(
        [sys.executable, "-c", code, *flags, f"--workdir={tmp_path / 'run'}", "--augment=flip"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert program.returncode == 0, program.stderr
    run = cnn_jax.train(
        "mnist", model="lenet5", epochs=2, train_examples=400, batch_size=50, seed=2,
        augment="flip", progress=False,
    )  # fmt: skip
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(run.history)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert run.accuracy == result["test_accuracy"]
    assert run.result["test_loss"] == result["test_loss"]
    loaded = cnn_jax.load_run(tmp_path / "run")
    assert list(loaded.history) == list(run.history)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.predict(images), run.predict(images))
    assert loaded.temperature == run.temperature == result["temperature"] != 1
    np.testing.assert_array_equal(loaded.unlike_training(images), run.unlike_training(images))
    Image.fromarray(images[0]).save(tmp_path / "noise.png")
    command = [sys.executable, "-m", "experiments.predict", f"--run={tmp_path / 'run'}", "--json"]
    told = subprocess.run([*command, str(tmp_path / "noise.png")], cwd=ROOT, capture_output=True)
    (ours,) = json.loads(told.stdout)
    (row,) = run.predict(tmp_path / "noise.png")
    np.testing.assert_allclose(ours["guesses"][0]["probability"], row.max(), rtol=1e-6)
    assert [ours["unlike_training"]] == run.unlike_training(tmp_path / "noise.png").tolist()


def test_functions_are_arguments_and_kept_with_the_run(arrays, tmp_path: Path):
    run = cnn_jax.train(
        arrays, activation=my_wave, frequency=2.0, workdir=tmp_path / "run", **SMALL
    )
    assert run.config.architecture.activation == "my_wave"
    assert run.hyperparameters["frequency"] == 2.0
    # In this session the function is there; elsewhere its source is read.
    here = cnn_jax.load_run(tmp_path / "run").predict(arrays[0][:4])
    np.testing.assert_array_equal(here, run.predict(arrays[0][:4]))
    code = (
        "import sys, numpy as np, cnn_jax\n"
        "run = cnn_jax.load_run(sys.argv[1])\n"
        "np.save(sys.argv[3], run.predict(np.load(sys.argv[2])))\n"
    )
    np.save(tmp_path / "images.npy", arrays[0][:4])
    places = [str(tmp_path / name) for name in ("run", "images.npy", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *places], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), here, rtol=1e-5)
    (kept,) = (tmp_path / "run" / "extensions").glob("00_from_python_*.py")
    text = kept.read_text()
    assert "SCALE = 2.0" in text
    assert "Frequency = Annotated[float, Interval('(0, inf)'), 'of the wave']" in text
    assert "PARTS = dict([tuple(['phase', tuple([0.0, [1]])]), tuple(['of', len])])" in text
    assert text.index("def helped") < text.index("def my_wave")
    # A function that means something else now is not taken for the one of the run.
    EXTENSIONS["activation", "my_wave"].remove()
    cnn_jax.activation(lambda x: x, name="my_wave")
    with pytest.raises(ArgumentError, match="my_wave"):
        cnn_jax.load_run(tmp_path / "run")


def test_an_augmentation_after_a_space_is_kept(no_extensions):
    cnn_jax.augmentation(my_fade)
    (held,) = used_files([{"augment": "flip, my_fade"}])
    assert "def my_fade" in held.text


def test_a_run_is_saved_later(trained, arrays, tmp_path: Path):
    assert trained.save(tmp_path / "run") == tmp_path / "run"
    loaded = cnn_jax.load_run(tmp_path / "run")
    assert loaded.accuracy == trained.accuracy
    np.testing.assert_array_equal(loaded.predict(arrays[0][:4]), trained.predict(arrays[0][:4]))
    with pytest.raises(ArgumentError, match="already exists"):
        trained.save(tmp_path / "run")
    assert loaded.report(tmp_path / "copy.html").read_text().startswith("<!doctype html>")


BAD = {
    "epoch": ({"epoch": 3}, "epoch is not an argument; did you mean epochs?"),
    "text": ({"epochs": "many"}, "epochs must be a whole number, got 'many'"),
    "zero": ({"epochs": 0}, "epochs must be positive, got 0"),
    "word": ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
    "range": ({"learning_rate": -1}, "learning_rate must be in (0, inf), got -1"),
    "name": ({"activation": "rleu"}, "activation=rleu is not one of"),
    "kind": ({"activation": 3}, "activation must be a name or a function, got 3"),
    "shape": ({"activation": lambda x: x.sum()}, "activation: activation <lambda>: its name"),
    "unread": ({"momentum": 0.5}, "momentum has no effect with optimizer=adam"),
    "other": ({"model": "lenet5", "filters": (3,)}, "filters has no effect with model=lenet5"),
    "parts": ({"batch_size": 1000, "micro_batches": 250}, "cannot be cut into micro_batches=250"),
    "list": ({"filters": ("a",)}, "filters must be positive integers"),
    "small": (
        {"model": "vgg", "filters": None, "hidden": None},
        "vgg needs images of at least 16x16 pixels",
    ),
    "fraction": ({"validation_fraction": 1.5}, "validation_fraction must be in [0, 1), got 1.5"),
    "augment": ({"augment": "flap"}, "augment: unknown augmentation 'flap': did you mean flip?"),
    "start": ({"init_seed": 1.5}, "init_seed must be a whole number, got 1.5"),
    "several": ({"loss": "crossentropy"}, "loss=crossentropy is not one of"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_name_the_argument(arrays, case: str):
    wrong, message = BAD[case]
    with pytest.raises(ArgumentError) as refused:
        cnn_jax.train(arrays, **{**SMALL, **wrong})
    assert message in str(refused.value)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize(
    "data, more, message",
    [
        ("no_such_set_there", {}, "no_such_set_there"),
        (3, {}, "data must be the name of a data set, a folder, or"),
        ("mnist", {"class_names": ["a"]}, "test and class_names are for arrays"),
        ((np.zeros((9, 4, 4)), np.zeros(9, int)), {}, "images are of float64, expected uint8"),
        ((np.zeros((9, 4, 4), np.uint8), np.zeros(8, int)), {}, "9 images have 8 labels"),
    ],
)
def test_data_that_cannot_be(data, more, message: str):
    with pytest.raises(ArgumentError) as refused:
        cnn_jax.train(data, **SMALL, **more)
    assert message in str(refused.value)


def test_what_cannot_be_kept_or_predicted(trained, arrays, tmp_path: Path):
    table = np.ones(1, np.float32)

    def mine(x):
        return x * table

    with pytest.raises(ArgumentError, match="mine cannot be kept with the run: it refers to table"):
        cnn_jax.train(arrays, activation=mine, workdir=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
    for images in (arrays[0][:2, :4], arrays[0][:2] / 255, tmp_path / "none.png"):
        with pytest.raises(ArgumentError, match="images"):
            trained.predict(images)
    with pytest.raises(ArgumentError, match="is not a folder"):
        cnn_jax.load_run(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="is not the folder of a run"):
        cnn_jax.load_run(tmp_path)


def test_a_run_that_diverges_says_so(arrays):
    run = cnn_jax.train(arrays, optimizer="sgd", learning_rate=1e30, **SMALL | {"epochs": 5})
    assert run.result["status"] == "diverged"
    assert len(run.history) < 5
    assert "the loss is not finite" in repr(run)


def test_a_batch_is_no_larger_than_the_training_set(arrays):
    run = cnn_jax.train(arrays, **SMALL | {"batch_size": 1000, "epochs": 1})
    test, batches = run.notes
    assert test.startswith("there is no labeled test split: 20 % of the training images")
    assert batches == "batches of 86, not 1000: there are 86 training images"


def test_a_folder_is_read_as_its_arguments_say(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, count in (("few", 8), ("many", 40)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8))
            picture.save(tmp_path / "set" / name / f"{index}.png")
    run = cnn_jax.train(
        tmp_path / "set", image_size=8, resize="stretch", class_weights="balanced", init="he",
        **SMALL | {"epochs": 1},
    )  # fmt: skip
    assert (run.saved.record.rule.resize, run.config.architecture.init) == ("stretch", "he")
    assert any("20 %" in note for note in run.notes)
    assert run.notes[-1] in run._repr_html_()
    with pytest.raises(ArgumentError, match="resize=pads is not one of.*did you mean pad"):
        cnn_jax.train(tmp_path / "set", image_size=8, resize="pads", **SMALL)


def test_a_comparison(arrays, tmp_path: Path):
    study = cnn_jax.ablate(
        arrays, vary={"activation": ["relu", my_wave]}, tune={"learning_rate": [0.001, 0.03]},
        seeds=2, compare="all", filters=(4,), hidden=(8,), epochs=1, batch_size=16, progress=False,
    )  # fmt: skip
    table = study.table()
    assert [row["activation"] for row in table.rows] == ["relu", "my_wave"] or len(table.rows) == 2
    assert study.best["mean_test_accuracy"] == max(r["mean_test_accuracy"] for r in table.rows)
    assert "<table>" in table._repr_html_() and "**" not in table._repr_html_()
    assert "my_wave" in str(table)
    assert study.report(tmp_path / "study.html").is_file()
    assert study.figure().axes
    assert len(study.record.trials) == 8
    # A trial alone has the numbers that it has among others.
    trial = next(t for t in study.record.trials if t.chosen and t.variant == 0)
    alone = cnn_jax.train(
        arrays, learning_rate=trial.hparams["learning_rate"], seed=trial.seed,
        filters=(4,), hidden=(8,), epochs=1, batch_size=16, progress=False,
    )  # fmt: skip
    assert dict(alone.history[0]) == dict(trial.history[0])
    for wrong, message in (
        ({"vary": {"activations": ["relu"]}}, "did you mean activation?"),
        ({"vary": {"activation": []}}, "activation has no values"),
        ({"vary": {"activation": ["relu", "relu"]}}, "relu more than once"),
        ({"tune": ["activation"]}, "tune=activation: only numbers can be tuned"),
        ({}, "nothing varies"),
        ({"vary": {"activation": ["relu"]}, "compare": "some"}, "compare must be baseline or all"),
        ({"vary": {"activation": ["relu"]}, "seeds": 0}, "seeds must be positive, got 0"),
        ({"vary": {"activation": ["relu"]}, "baseline": {"activation": "tanh"}}, "baseline"),
    ):
        with pytest.raises(ArgumentError) as refused:
            cnn_jax.ablate(arrays, epochs=1, progress=False, **wrong)
        assert message in str(refused.value)


def test_values_of_a_comparison_as_the_program_takes_them(arrays):
    common = {"seeds": 1, "epochs": 1, "progress": False}
    study = cnn_jax.ablate(
        arrays, vary={"batch_size": "16,32", "hidden": ["none", "4+4"]}, filters=("4",), **common
    )
    assert {(row["batch_size"], row["hidden"]) for row in study.table().rows} == {
        (16, "none"), (16, "4+4"), (32, "none"), (32, "4+4"),
    }  # fmt: skip
    study = cnn_jax.ablate(
        arrays, vary={"learning_rate": ["x1e-1", "x1"]}, filters=(4,), hidden=(), **common
    )
    assert {trial.hparams["learning_rate"] for trial in study.record.trials} == {0.0001, 0.001}


def test_a_comparison_starts_from_a_run(arrays, tmp_path: Path):
    common = {"filters": (4,), "hidden": (8,), "batch_size": 16, "progress": False}
    start = cnn_jax.train(arrays, epochs=6, workdir=tmp_path / "start", **common)
    losses = [
        cnn_jax.ablate(
            arrays, vary={"activation": ["relu", "tanh"]}, seeds=1, epochs=1, **common, **more
        ).record.trials[0].history[0]["train_loss"]
        for more in ({"init_from": start}, {})
    ]  # fmt: skip
    assert losses[0] < 0.7 * losses[1]


def test_a_comparison_is_repeated_by_its_flagfile(arrays, tmp_path: Path):
    cnn_jax.ablate(
        arrays, vary={"activation": ["relu", "tanh"]}, tune={"learning_rate": [0.01, 0.03]},
        baseline={"activation": "tanh"}, prune=True, freeze=("conv1",), filters=(4,),
        hidden=(), epochs=2, seeds=1, progress=False, workdir=tmp_path / "study",
    )  # fmt: skip
    flags = (tmp_path / "study" / "flags.txt").read_text().splitlines()
    assert {"--baseline=activation=tanh", "--prune", "--freeze=conv1", "--filters=4"} <= {*flags}
