"""Training longer than a run was started for, and from the weights of another run."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cnn_jax

SMALL = ("--filters=4", "--hidden=8", "--batch_size=12", "--validation_fraction=0.25")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_jax.analysis.report.render_report", lambda record, found: record.flags)
    monkeypatch.setattr("cnn_jax.analysis.report.look", lambda *what: None)


def refused(outcome, message: str) -> None:
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err


def test_longer_is_a_run_of_that_length_to_the_same_bits(program, digits: Path, tmp_path: Path):
    flags = (f"--dataset={digits}", *SMALL, "--augment=translate:1", "--dropout_rate=0.1")
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    assert program(f"--workdir={whole}", *flags, "--epochs=3").code == 0
    assert program(f"--workdir={longer}", *flags, "--epochs=1").code == 0
    outcome = program(f"--workdir={longer}", "--resume", "--epochs=3")
    assert (outcome.code, outcome.err) == (0, "")
    assert "note:" not in outcome.out
    for name in ("metrics.jsonl", "flags.txt", "config.json"):
        assert (longer / name).read_bytes() == (whole / name).read_bytes()
    results = [json.loads((run / "result.json").read_text()) for run in (whole, longer)]
    assert results[0]["test_loss"] == results[1]["test_loss"]
    refused(program(f"--workdir={longer}", "--resume", "--epochs=2"), "has trained longer already")
    refused(program(f"--workdir={longer}", "--resume", "--seed=3"), "leave the flag out")


def test_a_schedule_that_minds_says_so(program, digits: Path, tmp_path: Path):
    run = tmp_path / "run"
    flags = (f"--dataset={digits}", *SMALL, "--schedule=cosine")
    assert program(f"--workdir={run}", *flags, "--epochs=1").code == 0
    outcome = program(f"--workdir={run}", "--resume", "--epochs=2")
    assert (outcome.code, outcome.err) == (0, "")
    said = "planned for 1 epochs and goes on to 2; the schedule cosine is that of 2 from here on"
    assert said in outcome.out
    # In the folder, and in the report.
    assert said in (run / "flags.txt").read_text().splitlines()[0]
    assert said in (run / "report.html").read_text()
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert said in (run / "flags.txt").read_text()


def test_a_sweep_has_its_length(sweep, digits: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("cnn_jax.analysis.ablation.render_ablation_report", lambda record: "")
    run = tmp_path / "sweep"
    flags = (f"--dataset={digits}", *SMALL, "--vary=activation=relu,tanh", "--seeds=1")
    assert sweep(f"--workdir={run}", *flags, "--epochs=1").code == 0
    refused(sweep(f"--workdir={run}", "--resume", "--epochs=2"), "leave the flag out")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 of the digits 0 to 4, with batch normalization."""
    images, labels, test = part((0, 1, 2, 3, 4), 2000)
    trained = cnn_jax.train(
        (images, labels), test=test, model="lenet5", normalization="batch", epochs=4,
        batch_size=50, learning_rate=0.003, progress=False,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        return trained.save(tmp_path_factory.mktemp("source") / "run")


def part(digits: tuple[int, ...], count: int):
    """Images and labels of some digits of MNIST, as classes from 0, and a thousand to test on."""
    mnist = cnn_jax.data.load("mnist")
    splits = []
    for split, most in ((mnist.train, count), (mnist.test, 1000)):
        chosen = np.flatnonzero(np.isin(split.labels, digits))[:most]
        splits.append((split.images[chosen], np.searchsorted(digits, split.labels[chosen])))
    return *splits[0], splits[1]


def folder_of(images: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    for index, (image, label) in enumerate(zip(images[..., 0], labels, strict=True)):
        (folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"class_{label}" / f"{index:03d}.png")


def test_fine_tuning_a_small_folder_beats_training_from_scratch(source: Path, tmp_path: Path):
    images, labels, test = part((5, 6, 7, 8), 100)
    folder_of(images, labels, tmp_path / "own" / "train")
    folder_of(*test, tmp_path / "own" / "test")
    shared = {
        "model": "lenet5", "normalization": "batch", "epochs": 12, "batch_size": 10,
        "learning_rate": 0.002, "validation_fraction": 0.0, "progress": False,
    }  # fmt: skip
    gains = []
    for seed in (0, 1, 2):
        scratch = cnn_jax.train(tmp_path / "own", seed=seed, **shared)
        tuned = cnn_jax.train(tmp_path / "own", seed=seed, init_from=source, **shared)
        gains.append(tuned.accuracy - scratch.accuracy)
    assert min(gains) > 0
    assert np.mean(gains) > 0.01


def test_classes_in_another_order_keep_what_was_learned_of_them(source: Path, tmp_path: Path):
    images, labels, test = part((0, 1, 2, 3, 4), 40)
    still = {
        "model": "lenet5", "normalization": "batch", "epochs": 1, "batch_size": 10,
        "learning_rate": 1e-8, "freeze": ("conv*", "norm*", "dense*"), "progress": False,
    }  # fmt: skip
    turned = cnn_jax.train(
        (images, 4 - labels), test=(test[0], 4 - test[1]), class_names=tuple("43210"),
        init_from=source, **still,
    )  # fmt: skip
    before = cnn_jax.load_run(source)
    ours, theirs = (
        np.asarray(run.saved.run.predict(run.state, jnp.asarray(test[0][:50])))
        for run in (turned, before)
    )
    np.testing.assert_allclose(ours[:, ::-1], theirs, atol=1e-3 * np.abs(theirs).max())
    assert "last layer new" not in str(turned.notes)
    # The same number of classes, but others: nothing is known of them.
    new = cnn_jax.train((images, labels), class_names=tuple("abcde"), init_from=source, **still)
    assert "the run of init_from tells other classes apart: last layer new" in new.notes
    kernels = [each.state.params["network"]["output"]["kernel"] for each in (new, before)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def leaves(tree: Any) -> list[np.ndarray]:
    return list(map(np.asarray, jax.tree.leaves(tree)))


def test_frozen_layers_stay(program, source: Path, digits: Path, tmp_path: Path):
    run = tmp_path / "run"
    own = ("--model=lenet5", "--normalization=batch", "--batch_size=12", "--image_size=28")
    flags = (f"--dataset={digits}", f"--init_from={source}", *own)
    outcome = program(*flags, f"--workdir={run}", "--freeze=conv*,norm*", "--epochs=1")
    assert (outcome.code, outcome.err) == (0, "")
    before, after = (cnn_jax.load_run(path) for path in (source, run))
    for tree in ("params", "statistics"):
        old, new = (getattr(each.state, tree)["network"] for each in (before, after))
        for name in {"conv1", "norm1", "conv2", "norm2"} & old.keys():
            for one, other in zip(leaves(old[name]), leaves(new[name]), strict=True):
                np.testing.assert_array_equal(one, other)
    dense = [each.state.params["network"]["dense1"]["kernel"] for each in (before, after)]
    assert not np.array_equal(*dense)
    # Five classes there, four here: the last layer is new.
    assert "the run of --init_from tells other classes apart: last layer new" in outcome.out
    assert after.state.params["network"]["output"]["bias"].shape == (4,)
    assert after.saved.task.mean == before.saved.task.mean
    # It needs the other run no more.
    shutil.move(source, tmp_path / "away")
    try:
        outcome = program(f"--workdir={run}", "--resume", "--epochs=2")
        assert (outcome.code, outcome.err) == (0, "")
        assert int(cnn_jax.load_run(run).state.epoch) == 2
        refused(program(*flags, f"--workdir={tmp_path / 'other'}"), "is not a folder")
    finally:
        shutil.move(tmp_path / "away", source)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--model=cnn",), "--init_from is of another network: only one of them has"),
        (
            ("--model=lenet5", "--image_size=28"),
            "--init_from is of another network: only one of them has",
        ),
        (
            ("--model=lenet5", "--normalization=batch", "--image_size=20"),
            "--init_from is of another network: it has",
        ),
        (("--freeze=con",), "--freeze=con is no layer with parameters: conv1, conv2, dense1"),
        (("--freeze=*",), "--freeze leaves no layer to train"),
    ],
)
def test_what_does_not_fit(program, source: Path, digits: Path, flags, message: str):
    start = () if "freeze" in flags[0] else (f"--init_from={source}",)
    refused(program(f"--dataset={digits}", "--batch_size=12", *start, *flags), message)


NOISY = ("--learning_rate=0.3", "--optimizer=sgd", "--epochs=12", "--seed=1")


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def first_best(history: list[dict[str, float]]) -> int:
    return int(max(history, key=lambda record: record["validation_accuracy"])["epoch"])


def test_the_best_epoch_is_tested_and_used(program, digits: Path, tmp_path: Path):
    flags = (f"--dataset={digits}", *SMALL, *NOISY)
    run, plain = tmp_path / "run", tmp_path / "plain"
    outcome = program(f"--workdir={run}", *flags, "--keep_epoch=best")
    assert (outcome.code, outcome.err) == (0, "")
    best = first_best(lines(run / "metrics.jsonl"))
    assert best < 12
    said = f"tested after epoch {best}, the best on validation, and not the last"
    assert said in outcome.out
    assert said in (run / "report.html").read_text()
    for folder, epoch in (("best", best), ("checkpoints", 12)):
        names = [path.name for path in (run / folder).iterdir()]
        assert sorted(names) == ["SHA256SUMS", f"epoch_{epoch:05d}.npz"]
    result = json.loads((run / "result.json").read_text())
    assert (result["tested_epoch"], result["trained_epochs"]) == (best, 12)
    assert int(cnn_jax.load_run(run).state.epoch) == best
    # A run that ends there has the same numbers.
    assert program(f"--workdir={plain}", *flags, f"--epochs={best}").code == 0
    assert json.loads((plain / "result.json").read_text())["test_loss"] == result["test_loss"]


def test_patience_stops_early_and_for_good(program, digits: Path, tmp_path: Path):
    flags = (f"--dataset={digits}", *SMALL, *NOISY, "--patience=2", "--keep_epoch=best")
    run = tmp_path / "run"
    outcome = program(f"--workdir={run}", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    history = lines(run / "metrics.jsonl")
    assert len(history) == first_best(history) + 2 < 12
    assert f"stopped after {len(history)} of 12 epochs: no rise on validation" in outcome.out
    before = json.loads((run / "result.json").read_text())
    outcome = program(f"--workdir={run}", "--resume")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(lines(run / "metrics.jsonl")) == len(history)
    after = json.loads((run / "result.json").read_text())
    assert after["test_loss"] == before["test_loss"]


def test_interrupted_runs_keep_their_best_epoch(program, digits: Path, tmp_path: Path):
    flags = (f"--dataset={digits}", *SMALL, *NOISY, "--keep_epoch=best")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert program(f"--workdir={whole}", *flags).code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.runs.hosts.must_stop", lambda: True)
        assert program(f"--workdir={broken}", *flags).code == 130
        assert program(f"--workdir={broken}", "--resume").code == 130
    assert program(f"--workdir={broken}", "--resume").code == 0
    for name in ("metrics.jsonl", "flags.txt", "config.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    results = [json.loads((run / "result.json").read_text()) for run in (whole, broken)]
    assert results[0]["test_loss"] == results[1]["test_loss"]


def test_validation_and_one_run_are_needed(program, sweep, digits: Path):
    data = (f"--dataset={digits}", "--batch_size=12")
    for flag in ("--patience=2", "--keep_epoch=best"):
        refused(
            program(*data, flag, "--validation_fraction=0", "--filters=4"),
            "look at validation, but --validation_fraction=0 leaves none",
        )
        refused(sweep(*data, "--vary=activation=relu,tanh", flag), "is for one run")
