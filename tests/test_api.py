"""Every public name has a line in docs/api.md, and types that a type checker can use.

`python tests/test_api.py` writes docs/api.md anew.
"""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType

import pytest

import cnn_jax
from cnn_jax import ops

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
HEAD = """# Every public name

After `import cnn_jax` its rooms are there: `cnn_jax.ops`, `cnn_jax.models`, `cnn_jax.data`,
`cnn_jax.training`, `cnn_jax.analysis`, `cnn_jax.extend`, `cnn_jax.api`, `cnn_jax.compilation` and
`cnn_jax.native`, each loaded when it is first used. What trains (`cnn_jax.train`, `ablate`,
`load_run`) and what registers (`cnn_jax.loss` and the like) stand beside them. What is not on this
page is not public. `python tests/test_api.py` writes it from the rooms' `__all__`.
"""


def rooms() -> list[ModuleType]:
    """The packages that have public names; one whose own begins with _ is its room's."""
    found = []
    for name in cnn_jax.__all__:
        room = getattr(cnn_jax, name)
        if not inspect.ismodule(room):
            continue
        below = pkgutil.iter_modules(getattr(room, "__path__", ()), f"{room.__name__}.")
        names = [module.name for module in below if module.ispkg and "._" not in module.name]
        found += [room, *map(importlib.import_module, names)]
    return [room for room in found if public(room)]


def public(room: ModuleType) -> list[str]:
    """The names of a room, its own rooms apart."""
    names = getattr(room, "__all__", ())
    return [name for name in names if not inspect.ismodule(getattr(room, name))]


def meaning(value: object) -> str:
    """One line about what a name stands for."""
    if inspect.isroutine(value) or inspect.isclass(value):
        return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    if isinstance(value, Mapping):
        return f"by name: {', '.join(f'`{name}`' for name in value)}"
    if isinstance(value, Collection) and not isinstance(value, str):
        ordered = sorted(value) if isinstance(value, set | frozenset) else value
        return ", ".join(f"`{item}`" for item in ordered)
    if isinstance(value, int | float | str):
        return f"`{value}`"
    return f"the type `{re.sub(r'([a-z_]+[.])+', '', str(value))}`"


def page() -> str:
    """What docs/api.md should be."""
    parts = [HEAD]
    for room in rooms():
        rows = [
            f"| `{name}` | {meaning(getattr(room, name)).replace('|', chr(92) + '|')} |"
            for name in public(room)
        ]
        about = (room.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        parts += [
            f"## {room.__name__}",
            f"{about}\n",
            "| name | what it is |",
            "| --- | --- |",
            *rows,
        ]
        parts += [""]
    return "\n".join(parts)


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "write docs/api.md anew: python tests/test_api.py"


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.__name__)
def test_names_are_there_once_and_explained(room: ModuleType):
    assert len(room.__all__) == len(set(room.__all__))
    for name in public(room):
        assert not name.startswith("_")
        assert meaning(getattr(room, name)), name


@pytest.fixture(scope="module")
def revealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy --strict takes every public name of ops for, in a file outside the package."""
    lines = []
    for room in (ops, ops.augment):
        lines.append(f"from {room.__name__} import {', '.join(public(room))}")
        lines += [f"reveal_type({name})" for name in public(room)]
    file = tmp_path_factory.mktemp("user") / "program.py"
    file.write_text("\n".join(lines) + "\n")
    options = ("--strict", "--follow-imports=silent", "--no-pretty", "--config-file=")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={ROOT / '.cache' / 'mypy'}", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    types = {}
    for number, text in re.findall(r"program.py:(\d+): note: Revealed type is (.*)", done.stdout):
        types[re.fullmatch(r"reveal_type\((\w+)\)", lines[int(number) - 1])[1]] = text
    return types


def test_ops_have_types(revealed: dict[str, str]):
    assert revealed.keys() == {*public(ops), *public(ops.augment)}
    for name, text in revealed.items():
        # What JAX and NumPy leave open in their own types.
        ours = re.sub(r"numpy\.\w+\[(?:[^\[\]]|\[[^\[\]]*\])*\]|type\[Any\]", "", text)
        assert not re.search(r"\bAny\b", ours), f"{name}: {text}"


if __name__ == "__main__":
    PAGE.write_text(page())
