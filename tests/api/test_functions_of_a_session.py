"""Functions of a session: of equal names, and what they refer to, where a run keeps them."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax
from cnn_jax.api import ArgumentError
from cnn_jax.api._arguments import used_files
from cnn_jax.extend import EXTENSIONS, ExtensionError

pytestmark = pytest.mark.usefixtures("no_extensions")
SMALL = {"filters": (4,), "hidden": (), "epochs": 1, "batch_size": 16, "progress": False}
FACTOR = 1.0


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 3


def called_f(factor):
    """One of several functions of the same name."""

    def f(x):
        return jnp.sin(factor * x)

    return f


def drifted(x, factor=FACTOR):
    return jnp.sin(factor * x)


def referring():
    factor = 2.0

    class Two:
        @staticmethod
        def of(x):
            return factor * x

    def f(x):
        return Two.of(x)

    return f


def helped(x):
    return 2 * x


def twice(x):
    return helped(x)


def my_fade(key, image):
    return image / 2


def shifted(x):
    return x - 1


def test_what_has_one_name_is_not_mixed_up(tmp_path: Path):
    """Of two functions of a name in one session the file of a run would have the last."""
    one, two = called_f(1.0), called_f(3.0)
    cnn_jax.activation(one, name="one")
    cnn_jax.activation(two, name="two")
    with pytest.raises(ExtensionError, match="two cannot be kept .*: f is the name of two things"):
        used_files([{"activation": "one"}, {"activation": "two"}])
    (held,) = used_files([{"activation": "two"}])
    assert "factor = 3.0" in held.text and held.text.count("def f") == 1
    # The same one twice, of two kinds, is no clash.
    cnn_jax.activation(shifted)
    cnn_jax.normalization(shifted)
    (held,) = used_files([{"activation": "shifted", "normalization": "shifted"}])
    assert held.text.count("def shifted") == 1


def test_helpers_of_one_name_are_not_mixed_up():
    def over(helped):
        def wave(x):
            return helped(x)

        return wave

    def helped(x):
        return x / 2

    cnn_jax.activation(twice)
    cnn_jax.normalization(over(helped), name="halved")
    with pytest.raises(ExtensionError, match="helped is the name of two things"):
        used_files([{"activation": "twice", "normalization": "halved"}])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (drifted, "a default of drifted is not any more what it was given as"),
        (referring(), "it refers to factor, which cannot be found from outside of it"),
    ],
)
def test_what_would_be_another_elsewhere_is_not_kept(function, message, monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    cnn_jax.activation(function, name="other")
    with pytest.raises(ExtensionError, match=message):
        used_files([{"activation": "other"}])


def test_a_run_does_not_take_up_another_function_of_the_name(arrays, tmp_path: Path):
    run = cnn_jax.train(arrays, activation=called_f(1.0), **SMALL)
    before = run.predict(arrays[0][:4])
    cnn_jax.train(arrays, activation=called_f(3.0), **SMALL)
    uses = (
        lambda: run.predict(arrays[0][:4]),
        lambda: run.unlike_training(arrays[0][:4]),
        lambda: run.report(tmp_path / "page.html"),
        lambda: run.save(tmp_path / "run"),
    )
    for use in uses:
        with pytest.raises(ArgumentError, match="activation f is another function now"):
            use()
    assert not any(tmp_path.iterdir())
    assert before.shape == (4, 3)


def test_runs_of_two_sessions_are_read_in_one(arrays, tmp_path: Path):
    expected = []
    for function in (twice, shifted):
        place = tmp_path / function.__name__
        run = cnn_jax.train(arrays, activation=function, workdir=place, **SMALL)
        expected.append(run.predict(arrays[0][:4]))
        # The session ends.
        EXTENSIONS["activation", function.__name__].remove()
    runs = [cnn_jax.load_run(tmp_path / name) for name in ("twice", "shifted")]
    for run, logits in zip(runs, expected, strict=True):
        np.testing.assert_array_equal(run.predict(arrays[0][:4]), logits)


def test_a_cell_that_is_run_again_defines_the_same_function(arrays):
    cell = "def again(x):\n    return 2 * x\n"
    names = {}
    exec(compile(cell, "cell", "exec"), names)
    run = cnn_jax.train(arrays, activation=names["again"], **SMALL)
    before = run.predict(arrays[0][:4])
    exec(compile(cell, "cell", "exec"), names)
    cnn_jax.activation(names["again"])
    np.testing.assert_array_equal(run.predict(arrays[0][:4]), before)
    exec(compile(cell.replace("2", "3"), "cell", "exec"), names)
    cnn_jax.activation(names["again"])
    with pytest.raises(ArgumentError, match="activation again is another function now"):
        run.predict(arrays[0][:4])


def test_augmentations_of_one_name_are_refused(arrays):
    def lighter():
        def my_fade(key, image):
            return image

        return my_fade

    with pytest.raises(ArgumentError, match="two functions are called my_fade"):
        cnn_jax.train(arrays, augment=[my_fade, lighter()], **SMALL)
