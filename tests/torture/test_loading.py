"""Whatever becomes of a file of a run: it is loaded as it was, or refused and named."""

import json
import random
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

import cnn_jax
from cnn_jax.errors import UsageError
from cnn_jax.extend import forget, loaded_files
from cnn_jax.studies.overview import compare_runs, read_entry
from cnn_jax.studies.saved_run import load_run
from tests.torture import attacks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading")
    digits = attacks.make_digits(folder / "data" / "digits")
    (folder / "soft.py").write_text(attacks.EXTENSION)
    file = cnn_jax.extend.load_file(folder / "soft.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "page")
        patch.setattr("cnn_jax.analysis.report.look", lambda *what: None)
        trained = cnn_jax.train(
            digits, activation="soft", filters=[4], hidden=[8], batch_size=16, epochs=3,
            validation_fraction=0.25, keep_epoch="best", workdir=folder / "run[1]", progress=False,
        )  # fmt: skip
    forget([file])
    assert not loaded_files()
    return trained.saved.path


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for writers that are not there."""
    monkeypatch.setattr("cnn_jax.storage._sums._PAUSE", 0)


def seen(path: Path) -> tuple[object, ...]:
    """All that predicting, evaluating and explaining take from a folder."""
    try:
        saved = load_run(path)
        held_out = saved.held_out
        assert held_out is not None
        entry, (_, others) = read_entry(path), compare_runs([path, path])
        return (
            [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(saved.state)],
            saved.choices,
            saved.hparams,
            saved.record.fingerprint,
            (saved.record.task, saved.record.style, saved.record.rule, saved.record.notes),
            [array.tobytes() for array in held_out],
            [json.dumps(row) for row in saved.history],
            saved.probabilities(np.ones((1, 4))).tobytes(),
            (entry.config, entry.result, [pair.paired for pair in others]),
        )
    finally:
        forget(loaded_files())


def test_four_hundred_mutations(run: Path, tmp_path: Path):
    rng, ends = random.Random(0), Counter()
    sound = seen(run)
    rounds = 0
    while sum(ends.values()) < 400:
        rounds += 1
        for what, copy in attacks.mutated_folders(run, tmp_path, rng):
            try:
                found = seen(copy)
            except UsageError as error:
                assert str(copy) in str(error) and "\n" not in str(error), what
                ends["refused"] += 1
            else:
                assert repr(found) == repr(sound), what
                ends["right"] += 1
    assert rounds < 10 and ends["refused"] > 200
