"""The source of functions that were registered from Python, as a file that a run can keep.

A function of a notebook is written down with what it refers to: modules as imports, plain values as
they are, other functions and classes of the notebook by their source too. In one file a name means
one thing: what means two in the session is refused.
"""

import ast
import builtins
import hashlib
import inspect
import symtable
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_origin

from cnn_jax.extend._files import ExtensionFile, adopt
from cnn_jax.extend._registry import PLAIN, Extension, ExtensionError, rehearsing

# What has a source of its own: two of them are not one for being written alike.
_BY_IDENTITY = (type, types.FunctionType)


class _Lines(dict[str, str]):
    """The lines of a file by the name that each defines, in their order.

    Attributes:
        meant: what each name stands for in the session.
    """

    def __init__(self) -> None:
        super().__init__(cnn_jax="import cnn_jax")
        self.meant: dict[str, Any] = {"cnn_jax": sys.modules["cnn_jax"]}

    def has(self, name: str, value: Any) -> bool:
        """Whether the line of a name is there, or on its way; from now on it is.

        Raises:
            ValueError: if the name stands for something else there.
        """
        if name not in self.meant:
            self.meant[name] = value
            return False
        meant = self.meant[name]
        alike = type(meant) is type(value) and repr(meant) == repr(value)
        if meant is not value and (isinstance(value, _BY_IDENTITY) or not alike):
            raise ValueError(f"{name} is the name of two things that the run needs: rename one")
        return True


def capture(extensions: Iterable[Extension]) -> ExtensionFile | None:
    """A file that registers these again, or None for none.

    Raises:
        ExtensionError: if one refers to something that cannot be written down.
    """
    chosen = list(extensions)
    if not chosen:
        return None
    lines = _Lines()
    calls = []
    for extension in chosen:
        try:
            name = _write(extension.function, lines)
        except (OSError, TypeError, ValueError, SyntaxError) as error:
            raise ExtensionError(
                f"{extension.kind} {extension.name} cannot be kept with the run: {error}; put it "
                "into a file and give that to cnn_jax.extend.load_file"
            ) from error
        options = {"name": extension.name} | dict(extension.options)
        text = "".join(f", {key}={value!r}" for key, value in options.items())
        calls.append(f"cnn_jax.{extension.kind}({name}{text})")
    head = [text for text in lines.values() if text.startswith(("import", "from"))]
    body = [text for text in lines.values() if not text.startswith(("import", "from"))]
    text = "\n".join(head) + "\n\n\n" + "\n\n\n".join([*body, "\n".join(calls)]) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    # Two sessions' files have two names, so that one process can read the runs of both.
    file = ExtensionFile(f"from_python_{sha256[:8]}.py", text, sha256)
    _rehearse(file, lines.meant)
    adopt(file, chosen)
    return file


def _write(function: Any, lines: _Lines) -> str:
    """Adds the source of a function or class and of all that it refers to; gives its name."""
    name = function.__name__
    if name == "<lambda>":
        raise ValueError("it is a lambda; give it a name with def")
    if inspect.ismethod(function):
        raise ValueError("it is a method of an object; write a function that calls it")
    if lines.has(name, function):
        return name
    if imported := _import_of(function, name):
        lines[name] = imported
        return name
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef | ast.ClassDef)
    definition.decorator_list = [
        item for item in definition.decorator_list if not ast.unparse(item).startswith("cnn_jax.")
    ]
    used = set(_free_names(symtable.symtable(ast.unparse(definition), name, "exec")))
    known = _surroundings(function)
    for other in sorted(used - vars(builtins).keys() | used & known.keys()):
        if other not in known:
            raise ValueError(f"it refers to {other}, which cannot be found from outside of it")
        _refer(other, known[other], lines)
    lines[name] = ast.unparse(definition)
    return name


def _free_names(scope: symtable.SymbolTable) -> Iterator[str]:
    """The names that code takes from around it, those of annotations and defaults too."""
    outside = scope.get_type() == "module"
    for symbol in scope.get_symbols():
        if not symbol.is_assigned() if outside else symbol.is_global():
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from _free_names(inner)


def _surroundings(function: Any) -> dict[str, Any]:
    """All that a name can mean inside of a function or class of a notebook or a module."""
    if inspect.isclass(function):
        return dict(vars(sys.modules[function.__module__]))
    held = inspect.getclosurevars(function).nonlocals
    return function.__globals__ | dict(held)


def _refer(name: str, value: Any, lines: _Lines) -> None:
    imported = _import_of(value, name)
    own = name
    if imported is None and isinstance(value, _BY_IDENTITY):
        own = _write(value, lines)
        if own == name:
            return
    if lines.has(name, value):
        return
    if isinstance(value, types.ModuleType):
        lines[name] = f"import {value.__name__}" + _as(value.__name__, name)
    elif imported is not None:
        lines[name] = imported
    elif own != name:
        lines[name] = f"{name} = {own}"
    else:
        try:
            lines[name] = f"{name} = {_expression(value, lines)}"
        except ValueError as error:
            raise ValueError(f"it refers to {name}, {error}") from error


def _expression(value: Any, lines: _Lines) -> str:
    """A value as an expression; what that refers to is added."""

    def all_of(values: Iterable[Any]) -> str:
        return ", ".join(_expression(each, lines) for each in values)

    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{all_of(value)}]" if isinstance(value, list) else f"tuple([{all_of(value)}])"
    if isinstance(value, dict):
        return f"dict([{all_of(value.items())}])"
    if get_origin(value) is Annotated:
        _refer("Annotated", Annotated, lines)
        return f"Annotated[{all_of((value.__origin__, *value.__metadata__))}]"
    if getattr(value, "__module__", None) == "builtins":
        return value.__name__
    if isinstance(value, _BY_IDENTITY):
        _refer(value.__name__, value, lines)
        return value.__name__
    if is_dataclass(value):
        held = [getattr(value, field.name) for field in fields(value)]
        return f"{_expression(type(value), lines)}({all_of(held)})"
    raise ValueError(f"a {type(value).__name__}")


def _import_of(value: Any, name: str) -> str | None:
    """How something is imported from an installed package, if it can be."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    own = getattr(value, "__qualname__", getattr(value, "__name__", name))
    if module is None or "." in own or getattr(module, own, None) is not value:
        return None
    file = getattr(module, "__file__", None)
    places = [sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib")]
    ours = module.__name__.partition(".")[0] == "cnn_jax"
    if not ours and (file is None or not any(file.startswith(place) for place in places)):
        return None
    return f"from {module.__name__} import {own}" + _as(own, name)


def _as(own: str, name: str) -> str:
    return "" if own == name else f" as {name}"


def _rehearse(file: ExtensionFile, meant: dict[str, Any]) -> None:
    """Runs a file without registering anything, to see that it stands alone."""
    run: Callable[..., Any] = exec
    rehearsing.append(file.name)
    found: dict[str, Any] = {"__name__": "cnn_jax_rehearsal"}
    try:
        run(compile(file.text, file.name, "exec"), found)
        for name, value in meant.items():
            if _defaults(found[name]) != _defaults(value):
                raise ValueError(f"a default of {name} is not any more what it was given as")
    except Exception as error:
        raise ExtensionError(
            f"functions of this session cannot be kept with the run: {error}; put them into a "
            "file and give that to cnn_jax.extend.load_file"
        ) from error
    finally:
        rehearsing.pop()


def _defaults(value: Any) -> list[str]:
    """The plain values that the arguments of a function have where none is given."""
    plain = getattr(value, "__defaults__", None) or ()
    named = getattr(value, "__kwdefaults__", None) or {}
    return [repr(each) for each in (*plain, *named.values()) if isinstance(each, PLAIN)]
