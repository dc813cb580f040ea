"""The library: built once, kept, and done without where it cannot be had."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from cnn_jax import native

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu" or native.load() is None, reason="there is no C++ compiler"
)

PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
# Says who built the library, and how many files a compiler read for it.
LOAD = """
import json, subprocess
runs = []
run = subprocess.run
subprocess.run = lambda command, **given: runs.append(command) or run(command, **given)
from cnn_jax import native
builder = native.load()
print(json.dumps([builder, sum("-shared" in command for command in runs)]))
"""


def load(cache: Path, program: str = LOAD, **environment: str) -> tuple[str | None, int]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={
            **{name: text for name, text in os.environ.items() if name != PROGRAMS},
            "CNN_JAX_CACHE": str(cache),
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    builder, builds = json.loads(done.stdout)
    return builder, builds


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "native").glob("*.so"))


def test_it_is_built_once_and_again_where_the_file_was_damaged(tmp_path: Path):
    assert load(tmp_path) == (native.load(), 1)
    assert load(tmp_path) == (native.load(), 0)
    (library,) = kept(tmp_path)
    sound = library.read_bytes()
    library.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert load(tmp_path) == (native.load(), 1)
    assert load(tmp_path) == (native.load(), 0)


def test_it_is_kept_beside_the_programs_of_jax(tmp_path: Path):
    programs = str(tmp_path / "programs")
    assert load(tmp_path / "cache", **{PROGRAMS: programs}) == (native.load(), 1)
    assert load(tmp_path / "other", **{PROGRAMS: programs}) == (native.load(), 0)
    assert len(kept(tmp_path / "programs")) == 1


def test_programs_that_are_kept_elsewhere(tmp_path: Path):
    program = """
import jax
from cnn_jax import native
jax.config.update("jax_compilation_cache_dir", "gs://bucket/programs")
print('["%s", 0]' % native._folder())
"""
    assert load(tmp_path, program) == (str(tmp_path / "native"), 0)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert load(tmp_path / "file") == (native.load(), 1)


def test_without_a_compiler_there_is_none(tmp_path: Path):
    assert load(tmp_path, PATH=str(tmp_path), CXX="") == (None, 0)


def test_a_compiler_that_fails_is_no_error(tmp_path: Path):
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo some; else exit 1; fi\n')
    compiler.chmod(0o755)
    assert load(tmp_path, CXX=str(compiler)) == (None, 1)
    assert not kept(tmp_path)


def compiler_with(tmp_path: Path, old: str, new: str) -> str:
    """A compiler that is given other words."""
    script = tmp_path / "compiler"
    script.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo some; '
        f'else exec {shutil.which("c++")} $(echo "$@" | sed "s#{old}#{new}#"); fi\n'
    )
    script.chmod(0o755)
    return str(script)


def test_a_library_that_computes_something_else_is_not_taken(tmp_path: Path):
    source = native.__file__.replace("__init__.py", "convolution.cc")
    wrong = tmp_path / "wrong.cc"
    wrong.write_text(
        Path(source).read_text().replace("+= pixels[c] * error", "-= pixels[c] * error")
    )
    compiler = compiler_with(tmp_path, source, str(wrong))
    assert load(tmp_path, CXX=compiler) == (None, 1)
    assert not kept(tmp_path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of another kind")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_processors_without_wide_registers(tmp_path: Path, processor: str):
    compiler = compiler_with(tmp_path, "-march=native", f"-march={processor}")
    assert load(tmp_path, CXX=compiler) == ("some", 1)
    assert len(kept(tmp_path)) == 1


def test_another_backend_has_none(tmp_path: Path):
    program = f"import jax\njax.default_backend = lambda: 'gpu'\n{LOAD}"
    assert load(tmp_path, program) == (None, 0)
