"""Arguments of other types and sizes from Python: each is refused in a line that names it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax
from cnn_jax.api import ArgumentError
from cnn_jax.data import Dataset, Split

pytestmark = pytest.mark.usefixtures("no_extensions")
SMALL = {"filters": (2,), "hidden": (), "epochs": 1, "batch_size": 16, "progress": False}
LABELS = np.arange(60) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 1), np.uint8)

BAD_DATA = {
    "light": ((IMAGES / 255, LABELS), "(255 * images).round().astype('uint8')"),
    "floats": ((IMAGES.astype(float), LABELS), "numpy.asarray(images, numpy.uint8)"),
    "channels first": ((IMAGES.transpose(0, 3, 1, 2), LABELS), "images.transpose(0, 2, 3, 1)"),
    "lists": ((IMAGES.tolist(), LABELS.tolist()), "images are of int64, expected uint8"),
    "two images": (([IMAGES[0], IMAGES[1][:3]], [0, 1]), "images are no array"),
    "one hot": ((IMAGES, np.eye(3, dtype=int)[LABELS]), "labels.argmax(axis=1)"),
    "words": ((IMAGES, LABELS.astype(str)), "numpy.unique(labels, return_inverse=True)"),
    "negative": ((IMAGES, LABELS - 1), "labels run from -1 to 1, expected whole numbers from 0"),
    "none": ((IMAGES[:0], LABELS[:0]), "a split has no images"),
    "one number": ((IMAGES, 0), "labels must be an array, got 0"),
    "far apart": ((IMAGES, LABELS * 10**9), "labels run up to 2,000,000,000, but there are 60"),
    "too large": ((IMAGES, LABELS + 2**32), "labels run from 4294967296"),
    "rows": ((IMAGES, np.full((60, 3), 256)), "rows of labels run from 256 to 256"),
    "three": ((IMAGES, LABELS, None), "(images, labels), got tuple of 3"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_arrays_that_cannot_be(case: str):
    data, message = BAD_DATA[case]
    with pytest.raises(ArgumentError) as refused:
        cnn_jax.train(data, **SMALL)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"class_names": ["a", "b"]}, "labels run from 0 to 2, expected 0 to 1"),
        ({"class_names": 3}, "class names must be a list of words, got 3"),
        ({"test": IMAGES}, "test must be (images, labels), got ndarray"),
        ({"dataset": "mnist"}, "dataset is the first argument: data='mnist'"),
        ({"learning_rate": np.ones(2)}, "learning_rate must be a number"),
        ({"learning_rate": True}, "learning_rate must be a number, got True"),
        ({"learning_rate": 10**400}, "learning_rate must be a number"),
        ({"epochs": np.arange(2)}, "epochs must be a whole number"),
        ({"seed": 2**31}, "seed must be at most 2,147,483,647"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"filters": 4.5}, "filters must be a list, got 4.5"),
        ({"freeze": 3}, "freeze=3 is no layer"),
        ({"resolutions": [3]}, "resolutions must be PIXELS:EPOCHS"),
        ({"download": "no"}, "download must be True or False, got 'no'"),
        ({"workdir": 3}, "workdir must be a path, got 3"),
        ({"workdir": ""}, "workdir must be a path, got ''"),
        ({"init_from": 3}, "init_from must be a path, got 3"),
        ({"work_dir": "x"}, "work_dir is not an argument; did you mean workdir?"),
    ],
)
def test_choices_that_cannot_be(more, message: str):
    with pytest.raises(ArgumentError) as refused:
        cnn_jax.train((IMAGES, LABELS), **{**SMALL, **more})
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"vary": ["activation"]}, "vary must be a dict by option"),
        ({"baseline": "relu"}, "baseline must be a dict by option"),
        ({"tune": 3}, "tune must be a list of names, got 3"),
        ({"sources": "init"}, "sources must be a list, got 'init'"),
        ({"search": 4}, "search must be a text, got 4"),
        ({"seeds": True}, "seeds must be a whole number, got True"),
        ({"max_seeds": 2.5}, "max_seeds must be a whole number, got 2.5"),
        ({"tune_seeds": "a"}, "tune_seeds must be a whole number"),
        ({"equivalent_within": "a"}, "equivalent_within must be a number, got 'a'"),
        ({"prune": "no"}, "prune must be True or False, got 'no'"),
        ({"base_line": {}}, "did you mean baseline?"),
    ],
)
def test_comparisons_that_cannot_be(more, message: str):
    given = {"vary": {"activation": ["relu", "tanh"]}, **SMALL, **more}
    with pytest.raises(ArgumentError) as refused:
        cnn_jax.ablate((IMAGES, LABELS), **given)
    assert message in str(refused.value)


def test_lists_and_columns_are_arrays():
    as_lists = [list(IMAGES), LABELS[:, None].tolist()]
    run, same = (cnn_jax.train(data, **SMALL) for data in (as_lists, (IMAGES, LABELS)))
    assert run.history == same.history
    with pytest.raises(ArgumentError, match="images are no array, and no picture files"):
        run.predict([IMAGES[0], IMAGES[0, :3]])


def test_texts_and_numbers_of_numpy_are_choices():
    given = {"filters": "2", "epochs": np.int8(1), "learning_rate": jnp.float32(0.5), "freeze": ""}
    run = cnn_jax.train((IMAGES, LABELS), **{**SMALL, **given})
    assert run.config.architecture.filters == (2,)
    assert run.hyperparameters["learning_rate"] == 0.5
    with pytest.raises(ArgumentError, match="freeze=conv9 is no layer"):
        cnn_jax.train((IMAGES, LABELS), freeze="conv9", **SMALL)


def test_a_data_set_is_checked():
    split = Split(IMAGES, LABELS.astype(np.int32))
    whole = Dataset("mine", split, split, ("a", "b", "c"))
    with pytest.raises(ArgumentError, match="a Dataset has both"):
        cnn_jax.train(whole, class_names=["a", "b", "c"], **SMALL)
    with pytest.raises(ArgumentError, match="expected 0 to 1"):
        cnn_jax.train(Dataset("mine", split, split, ("a", "b")), **SMALL)


def test_a_tilde_is_the_folder_of_the_user(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setenv("HOME", str(tmp_path / "home"))
        patched.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
        run = cnn_jax.train((IMAGES, LABELS), workdir="~/run", **SMALL)
        assert run.report("~/page.html") == tmp_path / "home" / "page.html"
        assert cnn_jax.load_run("~/run").accuracy == run.accuracy
    assert not (tmp_path / "~").exists()
    for path, more, message in (
        (None, {}, "path must be a path"),
        (tmp_path / "home" / "run", {"data": (IMAGES, LABELS)}, "data must be the name of a data"),
    ):
        with pytest.raises(ArgumentError, match=message):
            cnn_jax.load_run(path, **more)


def test_a_run_does_not_take_another_function_for_its_own(tmp_path: Path):
    def make(factor):
        if factor == 1:

            def mine(x):
                return jnp.sin(x)

        else:

            def mine(x):
                return jnp.cos(x)

        return mine

    run = cnn_jax.train((IMAGES, LABELS), activation=make(1), **SMALL)
    before = run.predict(IMAGES[:3])
    cnn_jax.activation(make(1), name="mine")
    np.testing.assert_array_equal(run.predict(IMAGES[:3]), before)
    cnn_jax.activation(make(2), name="mine")
    for use in (
        lambda: run.predict(IMAGES[:3]),
        lambda: run.unlike_training(IMAGES[:3]),
        lambda: run.report(tmp_path / "page.html"),
        lambda: run.save(tmp_path / "run"),
    ):
        with pytest.raises(ArgumentError, match="activation mine is another function now"):
            use()
    assert not list(tmp_path.iterdir())


def test_functions_that_cannot_be_kept_or_called(tmp_path: Path):
    class Mine:
        def wave(self, x):
            return jnp.sin(x)

    with pytest.raises(ArgumentError, match="it is a method of an object"):
        cnn_jax.train((IMAGES, LABELS), activation=Mine().wave, workdir=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ArgumentError, match="give it one by def"):
        cnn_jax.train((IMAGES, LABELS), activation=lambda x: x, **SMALL)
    with pytest.raises(ArgumentError, match="network Mine is a class; give a function"):
        cnn_jax.train((IMAGES, LABELS), model=Mine, epochs=1)


def test_numbers_of_an_axis_are_written_as_they_are_used(tmp_path: Path):
    study = cnn_jax.ablate(
        (IMAGES, LABELS), vary={"learning_rate": [10**-2.5, 0.01]}, seeds=1,
        workdir=tmp_path / "study", **SMALL,
    )  # fmt: skip
    flags = (tmp_path / "study" / "flags.txt").read_text()
    (written,) = (line for line in flags.splitlines() if line.startswith("--vary"))
    texts = written.removeprefix("--vary=learning_rate=").split(",")
    used = {trial.hparams["learning_rate"] for trial in study.record.trials}
    assert {np.float32(text) for text in texts} == {np.float32(value) for value in used}
    assert texts[1] == "0.01"
