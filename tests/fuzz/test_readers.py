"""Mutated files of every format: each is read, or refused in one line; nothing else is raised."""

import itertools
import zlib
from pathlib import Path

import pytest
from readers import CORPUS, FORMATS, mutations, try_reading

from cnn_jax.errors import UsageError

# A few seconds altogether; `readers.py` and `guided.py` take as long as they are given.
MUTATIONS = 20


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_is_sound(name: str, tmp_path: Path):
    form = FORMATS[name]
    assert not isinstance(try_reading(form, form.example, tmp_path / "set"), UsageError | str)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("name", FORMATS)
def test_whatever_becomes_of_a_file(name: str, tmp_path: Path):
    form, seed = FORMATS[name], zlib.crc32(name.encode())
    for content in itertools.islice(mutations(form.example, seed), MUTATIONS):
        try_reading(form, content, tmp_path / "set")


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("found", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_is_answered(found: Path, tmp_path: Path):
    form = FORMATS[found.name.partition("-")[0]]
    try_reading(form, found.read_bytes(), tmp_path / "set")
