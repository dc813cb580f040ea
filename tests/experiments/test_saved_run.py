"""Runs read back from their folder, and folders that hold none or a damaged one."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from saved_runs import accuracy_of, starter, train

from cnn_jax import storage, training
from cnn_jax.studies import choices as choices_of
from cnn_jax.studies import saved_run
from experiments import evaluate
from experiments.runs import saved_run as of_flags

FLAGS = flags.FLAGS


@pytest.fixture(scope="module")
def trained(program, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(program, digits, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy, to spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def load(program):
    """Loads a run as a program would."""

    def load(path: Path) -> saved_run.SavedRun:
        found = []

        def main() -> None:
            found.append(of_flags.load())

        outcome = program.func(main, f"--run={path}")
        assert (outcome.code, outcome.err) == (0, "")
        return found[0]

    return load


def test_a_run_is_what_training_left(load, trained: Path):
    saved = load(trained)
    assert int(saved.state.epoch) == 25
    assert (len(saved.dataset.train), len(saved.validation)) == (60, 20)
    assert saved.config.architecture.filters == (8,)
    assert saved.hparams["learning_rate"] == 0.005
    test = training.to_device(saved.dataset.test)
    logits = jax.jit(saved.run.predict)(saved.state, test.images)
    guesses = np.asarray(logits).argmax(1)
    assert np.mean(guesses == saved.dataset.test.labels) == pytest.approx(accuracy_of(trained))
    assert_same_network(saved, logits)


def assert_same_network(saved: saved_run.SavedRun, logits: np.ndarray) -> None:
    """What is explained has to be the network that predicts."""
    test = saved.dataset.test.images
    network = saved.network
    images = network.normalize(test.astype(np.float32))
    np.testing.assert_allclose(network.logits(network.weights, images), logits, atol=1e-4)


def test_of_a_run_with_averages_these_predict(load, program, digits: Path, tmp_path: Path):
    saved = load(
        train(program, digits, tmp_path / "averaged", "--average_decay=0.99", "--epochs=2")
    )
    logits = jax.jit(saved.run.predict)(saved.state, saved.dataset.test.images)
    assert_same_network(saved, logits)
    last = saved.state._replace(average=())
    assert not np.allclose(jax.jit(saved.run.predict)(last, saved.dataset.test.images), logits)


def test_flags_are_read_without_being_set(trained: Path):
    before = FLAGS["learning_rate"].value, FLAGS["filters"].value
    choices = saved_run.read_choices(trained)
    assert (FLAGS["learning_rate"].value, FLAGS["filters"].value) == before
    assert choices["filters"] == ["8"]
    assert choices["learning_rate"] == 0.005
    assert choices["download"] is False
    config = choices_of.read_config(choices)
    stored = json.loads((trained / "config.json").read_text())
    described = choices_of.every_choice(choices, config, choices_of.read_hparams(config, choices))
    assert json.loads(json.dumps(described)) == stored


def no_flags(run: Path) -> None:
    (run / "flags.txt").unlink()


def not_text(run: Path) -> None:
    (run / "flags.txt").write_bytes(b"\xff\xfe\x00")


def unknown_option(run: Path) -> None:
    with (run / "flags.txt").open("a") as file:
        file.write("--color=blue\n")


def unknown_value(run: Path) -> None:
    path = run / "flags.txt"
    path.write_text(path.read_text().replace("--activation=relu", "--activation=reluu"))


def no_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def damaged_checkpoint(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_shape(run: Path) -> None:
    for name in ("flags.txt", "config.json"):
        path = run / name
        path.write_text(
            path.read_text().replace("--hidden=16", "--hidden=9").replace(" 16\n", " 9\n")
        )


def another_activation(run: Path) -> None:
    path = run / "flags.txt"
    path.write_text(path.read_text().replace("--activation=relu", "--activation=tanh"))


def broken_config(run: Path) -> None:
    (run / "config.json").write_text("{")


def data_gone(run: Path) -> None:
    for name in ("flags.txt", "config.json"):
        path = run / name
        path.write_text(path.read_text().replace("/digits", "/gone"))


@pytest.mark.parametrize(
    "damage, message",
    [
        (no_flags, "is not the folder of a run: it has no flags.txt"),
        (not_text, "cannot read"),
        (unknown_option, "gives --color, which is not an option of a run in this version"),
        (unknown_value, "--activation=reluu is not possible here: value should be one of"),
        (no_checkpoint, "has no checkpoint"),
        (damaged_checkpoint, "is damaged: it is not what was written"),
        (another_shape, "network/dense1/bias of shape (16,), this one (9,)"),
        (another_activation, "flags.txt says activation=tanh, but config.json activation=relu"),
        (broken_config, "config.json"),
        (data_gone, "there is no folder"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damaged_runs(program, run: Path, damage, message: str):
    """By its checksums; and without them, as a run of an older version has none."""
    damage(run)
    for said in (str(run), message):
        outcome = starter(program, evaluate.main, takes_paths=False)(f"--run={run}")
        assert outcome.code == 2
        assert outcome.err.startswith("error: ")
        assert len(outcome.err.splitlines()) == 1
        assert said in outcome.err
        (run / storage.SUMS_FILE).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "give --run=FOLDER"),
        (["--run=nowhere"], "--run=nowhere is not a folder"),
        (["--run=.", "--filters=8"], "--filters has no effect here; the flags are "),
    ],
)
def test_flags_that_name_no_run(program, flags: list[str], message: str):
    outcome = starter(program, evaluate.main, takes_paths=False)(*flags)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_a_diverged_run_predicts_nothing(
    program, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
    run, flags = tmp_path / "diverged", ("--optimizer=sgd", "--epochs=3", "--batch_size=12")
    outcome = program(
        f"--dataset={digits}", f"--workdir={run}", *flags, "--learning_rate=1e30",
        "--validation_fraction=0.25", "--filters=8", "--hidden=16",
    )  # fmt: skip
    assert outcome.code == 3
    outcome = starter(program, evaluate.main, takes_paths=False)(f"--run={run}")
    assert outcome.code == 2
    assert "diverged" in outcome.err


@pytest.mark.parametrize(
    "arguments, paths",
    [
        (["--run=a", "b.png"], ["b.png"]),
        (["--run", "a", "b.png"], ["b.png"]),
        (["b.png", "--json", "c.png"], ["b.png", "c.png"]),
        (["--nojson", "b", "-top", "3", "c"], ["b", "c"]),
        (["--json", "--", "--run", "-x.png"], ["--run", "-x.png"]),
    ],
)
def test_paths_are_told_from_flags(program, arguments: list[str], paths: list[str]):
    found: list[str] = []

    def main(given: list[str]) -> None:
        found.extend(given)

    outcome = program.func(main, *arguments, takes_paths=True)
    assert (outcome.code, found) == (0, paths)
