"""Files of functions from outside: read once, refused as a whole, known by their text."""

from pathlib import Path

import pytest

from cnn_jax.errors import UsageError
from cnn_jax.extend import EXTENSIONS, forget, kept_files, load_file, loaded_files
from cnn_jax.ops import ACTIVATIONS

GOOD = """
import jax.numpy as jnp
import cnn_jax

@cnn_jax.activation
def my_wave(x, *, frequency=1.0):
    return x * jnp.sin(frequency * x)
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "ideas.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_file_is_read_once(write):
    path = write(GOOD)
    first = load_file(path)
    function = ACTIVATIONS["my_wave"]
    assert load_file(path) is first
    assert load_file(write(GOOD, "copy.py")) is first
    assert ACTIVATIONS["my_wave"] is function
    assert loaded_files() == [first]
    assert EXTENSIONS["activation", "my_wave"].file == "ideas.py"


def test_a_changed_file_takes_its_place(write):
    before = load_file(write(GOOD))
    after = load_file(write(GOOD.replace("my_wave", "my_tide")))
    assert before.sha256 != after.sha256
    assert "my_wave" not in ACTIVATIONS and "my_tide" in ACTIVATIONS
    forget([after])
    assert "my_tide" not in ACTIVATIONS and not loaded_files()


def test_two_files_cannot_have_one_name(write):
    load_file(write(GOOD))
    with pytest.raises(UsageError, match="its name is taken by that of ideas.py"):
        load_file(write(GOOD + "\n", "others.py"))
    assert [file.name for file in loaded_files()] == ["ideas.py"]


def test_another_file_of_the_name_does_not_take_its_place(write):
    first = load_file(write(GOOD))
    other = write(GOOD.replace("my_wave", "my_tide"), "more/ideas.py")
    with pytest.raises(UsageError, match="is another ideas.py than the one in use here, .*rename"):
        load_file(other)
    assert loaded_files() == [first] and "my_wave" in ACTIVATIONS
    # The same text is the same file, wherever it lies.
    assert load_file(write(GOOD, "more/ideas.py")) is first


def test_a_kept_file_is_not_another_one_in_use(write):
    load_file(write(GOOD))
    kept = write(GOOD + "# changed\n", "extensions/00_ideas.py")
    assert kept_files(kept.parents[1]) == [kept]
    with pytest.raises(UsageError, match="is another ideas.py than the one in use"):
        load_file(kept)


BAD = {
    "no file": (None, "there is no file"),
    "syntax": ("def f(:\n", "line 1: "),
    "a null byte": ("x = 1\0\n", "ideas.py: source code string cannot contain null bytes"),
    "an error": ("import cnn_jax\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
    "an import": ("import not_there_at_all\n", "line 1: ModuleNotFoundError: No module named"),
    "nothing": ("x = 1\n", "registers nothing; put @cnn_jax.activation"),
    "a taken name": (GOOD.replace("my_wave", "relu"), "activation relu: its name is taken"),
    "a bad second": (
        GOOD + "\n@cnn_jax.loss\ndef my_loss(logits, targets):\n    return logits\n",
        "ideas.py: loss my_loss: its result has shape (5, 3), expected (5,)",
    ),
    "an unknown kind": ("import cnn_jax\n@cnn_jax.activator\ndef f(x): ...\n", "has no attribute"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_leaves_nothing(write, tmp_path: Path, case: str):
    text, message = BAD[case]
    path = write(text) if text is not None else tmp_path / "ideas.py"
    with pytest.raises(UsageError) as refused:
        load_file(path)
    assert message in str(refused.value)
    assert "ideas.py" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not loaded_files() and not EXTENSIONS
