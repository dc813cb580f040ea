"""The rooms: what each may import, and how many modules it may hold."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_MODULES = 16
# What each room may import of the project, itself apart.
MAY_IMPORT = {
    "cnn_jax.errors": set(),
    "cnn_jax.compilation": {"cnn_jax.ops"},
    "cnn_jax.native": {"cnn_jax.errors", "cnn_jax.ops", "cnn_jax.data", "cnn_jax.storage"},
    "cnn_jax.ops": set(),
    "cnn_jax.models": {"cnn_jax.errors", "cnn_jax.ops"},
    "cnn_jax.storage": {"cnn_jax.errors"},
    "cnn_jax.display": set(),
    "cnn_jax.memory": {"cnn_jax.errors"},
    "cnn_jax.data": {"cnn_jax.errors", "cnn_jax.display", "cnn_jax.memory", "cnn_jax.storage"},
    "cnn_jax.training": {
        "cnn_jax.errors",
        "cnn_jax.display",
        "cnn_jax.memory",
        "cnn_jax.compilation",
        "cnn_jax.native",
        "cnn_jax.ops",
        "cnn_jax.models",
        "cnn_jax.data",
        "cnn_jax.storage",
    },
    "cnn_jax.analysis": {
        "cnn_jax.errors",
        "cnn_jax.display",
        "cnn_jax.memory",
        "cnn_jax.compilation",
        "cnn_jax.ops",
        "cnn_jax.models",
        "cnn_jax.data",
        "cnn_jax.storage",
    },
    "cnn_jax.extend": {
        "cnn_jax.errors",
        "cnn_jax.display",
        "cnn_jax.memory",
        "cnn_jax.compilation",
        "cnn_jax.ops",
        "cnn_jax.models",
        "cnn_jax.data",
        "cnn_jax.training",
        "cnn_jax.storage",
    },
    "cnn_jax.studies": {
        "cnn_jax.errors",
        "cnn_jax.display",
        "cnn_jax.memory",
        "cnn_jax.compilation",
        "cnn_jax.native",
        "cnn_jax.ops",
        "cnn_jax.models",
        "cnn_jax.data",
        "cnn_jax.training",
        "cnn_jax.analysis",
        "cnn_jax.extend",
        "cnn_jax.storage",
    },
    "cnn_jax.api": {
        "cnn_jax.errors",
        "cnn_jax.display",
        "cnn_jax.memory",
        "cnn_jax.compilation",
        "cnn_jax.ops",
        "cnn_jax.models",
        "cnn_jax.data",
        "cnn_jax.training",
        "cnn_jax.analysis",
        "cnn_jax.extend",
        "cnn_jax.studies",
        "cnn_jax.storage",
    },
}
FILES = sorted(
    path.relative_to(ROOT)
    for top in ("cnn_jax", "experiments")
    for path in (ROOT / top).rglob("*.py")
)


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports when it is imported itself, by their full names."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    package = list(path.parts[:-1])
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in NAMES else base
                for alias in node.names
            )


def room_of(name: str) -> str:
    return next((room for room in MAY_IMPORT if f"{name}.".startswith(f"{room}.")), name)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "cnn_jax"], ids=str)
def test_imports_go_one_way(path: Path):
    room = room_of(name_of(path))
    for name in imported(path):
        if name.startswith(("cnn_jax.", "experiments")) and room in MAY_IMPORT:
            assert room_of(name) in {room, *MAY_IMPORT[room]}, f"{path} imports {name}"


def test_ops_need_nothing_but_jax_and_what_it_needs():
    outside = {
        name.split(".")[0]
        for path in FILES
        if path.parts[:2] == ("cnn_jax", "ops")
        for name in imported(path)
    }

    assert outside - sys.stdlib_module_names == {"cnn_jax", "jax", "jaxtyping", "numpy"}


def test_no_module_imports_itself_by_way_of_others():
    edges = {
        name: {other for other in imported(path) if other in NAMES and other != name}
        for name, path in NAMES.items()
        if path.name != "__init__.py"
    }
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way, name])
        if name not in finished:
            for other in edges.get(name, ()):
                visit(other, (*way, name))
            finished.add(name)

    for name in edges:
        visit(name, ())


def test_no_room_is_crowded():
    for folder in {path.parent for path in FILES}:
        modules = [path for path in FILES if path.parent == folder]
        assert len(modules) <= MOST_MODULES, f"{folder} has {len(modules)} modules"


def test_every_program_is_compiled_under_our_options():
    """What is made by `jax.jit` itself is inside of other programs."""
    inside = {Path("cnn_jax/analysis/explain/network.py"), Path("cnn_jax/training/sweep.py")}
    plain = {
        path
        for path in FILES
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "jax.jit"
    }

    assert plain == inside | {Path("cnn_jax/compilation.py")}


def test_every_file_is_written_by_storage():
    """What is written elsewhere may be half there, and no test has that disk fail."""
    apart = {Path("cnn_jax/data/files/archives.py"), Path("experiments/output.py")}
    writing = {
        "write_text",
        "write_bytes",
        "mkdir",
        "touch",
        "rename",
        "unlink",
        "makedirs",
        "copyfile",
    }
    found = {
        (str(path), ast.unparse(node))
        for path in FILES
        if path.parts[:2] != ("cnn_jax", "storage") and path not in apart
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
        if _name(node.func) in writing
        or (_name(node.func) in {"open", "savefig"} and _writes(node))
    }
    assert not found


def _name(function: ast.Attribute | ast.Name) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id


def _writes(call: ast.Call) -> bool:
    """Whether a file is opened for writing by its name; a figure goes into an open file."""
    given = [*call.args, *(word.value for word in call.keywords)]
    modes = [each.value for each in given if isinstance(each, ast.Constant)]
    if _name(call.func) == "savefig":
        return not (
            isinstance(call.args[0], ast.Name) and call.args[0].id in {"file", "text", "data"}
        )
    return any(
        isinstance(mode, str) and set(mode) & set("wax+") and len(mode) < 4 for mode in modes
    )
