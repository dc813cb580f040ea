"""What arguments mean as choices: names or functions, names or arrays."""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib

from cnn_jax import compilation, extend, storage
from cnn_jax.api._values import SEEDS, ArgumentError, list_of, number, path_of, switch, whole
from cnn_jax.data import DATASETS, Dataset
from cnn_jax.data.arrays import as_dataset, kind_of, of_splits
from cnn_jax.data.dataset import check_dataset
from cnn_jax.data.registry import MULTI_LABEL
from cnn_jax.errors import FieldError, UsageError, did_you_mean
from cnn_jax.extend import EXTENSIONS, Extension, ExtensionFile
from cnn_jax.models import MODELS, NORMALIZATIONS
from cnn_jax.ops import ACTIVATIONS, LOSSES, PARAMETRIC_ACTIVATIONS, POOLINGS
from cnn_jax.ops.augment import AUGMENTATIONS
from cnn_jax.studies.choices import DATA, FIELDS, WHOLE, known_choices
from cnn_jax.studies.run_directory import RunDirectory, is_begun
from cnn_jax.studies.saved_run import SavedRun, load_run
from cnn_jax.training import OPTIMIZERS, SCHEDULES, known_hyperparameters
from cnn_jax.training.devices import MeshShape, best_shape

# How a run from Python was started, as its folder says.
COMMAND = "from Python"
# What arrays are called as a data set.
ARRAYS = "arrays"
# The choices that may be functions: of which kind, and the functions that have a name already.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[], Mapping[str, Any]]]] = {
    "activation": (
        extend.activation,
        lambda: ACTIVATIONS | {name: it.function for name, it in PARAMETRIC_ACTIVATIONS.items()},
    ),
    "loss": (extend.loss, lambda: LOSSES),
    "schedule": (extend.schedule, lambda: SCHEDULES),
    "optimizer": (
        extend.optimizer, lambda: {name: item.build for name, item in OPTIMIZERS.items()}
    ),
    "normalization": (extend.normalization, lambda: NORMALIZATIONS),
    "pooling": (extend.pooling, lambda: POOLINGS),
    "model": (extend.network, lambda: {name: item.build for name, item in MODELS.items()}),
    "augment": (
        extend.augmentation, lambda: {name: item.function for name, item in AUGMENTATIONS.items()}
    ),
}  # fmt: skip
# The kind of extension that each of them is.
_KINDS = {name: name for name in _FUNCTIONS} | {"model": "network", "augment": "augmentation"}


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Turns what the engine refuses into an error that names arguments, and no flags."""
    try:
        yield
    except ArgumentError:
        raise
    except FieldError as error:
        raise ArgumentError(error.named("")) from error
    except UsageError as error:
        raise ArgumentError(re.sub(r"--(?=[a-z])", "", str(error))) from error


def read_choices(given: Mapping[str, Any], others: Collection[str]) -> dict[str, Any]:
    """Arguments as choices; functions are registered, and stand by their names.

    Args:
        given: the arguments.
        others: the names of those beside them, for which one may have been meant.

    Raises:
        ArgumentError: if there is no such argument or it cannot have such a value.
    """
    choices = {}
    _register(given)
    known = known_choices()
    for name, value in given.items():
        if name == "dataset":
            raise ArgumentError(f"dataset is the first argument: data={value!r}")
        if name not in known:
            hint = did_you_mean(name, {*known, *others} - {"dataset"})
            raise ArgumentError(f"{name} is not an argument{hint or '; see help(cnn_jax.train)'}")
        if value is not None:
            choices[name] = read_value(name, value)
    return choices


def _register(given: Mapping[str, Any]) -> None:
    """Registers the functions among the arguments, whose numbers are arguments too."""
    for name, value in given.items():
        if name in _FUNCTIONS and callable(value):
            read_value(name, value)


def read_value(name: str, value: Any) -> Any:
    """One argument as a choice.

    Raises:
        ArgumentError: if it cannot have such a value.
    """
    if name in _FUNCTIONS:
        return _augment(value) if name == "augment" else _name_of(name, value)
    if name == "init_from":
        folder = path_of(name, getattr(getattr(value, "saved", None), "path", value))
        if not folder.is_dir():
            raise ArgumentError(
                f"init_from must be the folder of a run, or a run that is in one (save writes it): "
                f"{folder}"
            )
        return str(folder)
    default = (DATA | FIELDS).get(name)
    if name in known_hyperparameters() or isinstance(default, float):
        return number(name, value)
    if isinstance(default, bool):
        return switch(name, value)
    if isinstance(default, tuple):
        return list_of(name, value)
    if isinstance(default, int) or name in {"seed", *WHOLE}:
        return whole(name, value, 0 if name in SEEDS else 1)
    return value


def _name_of(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not callable(value):
        raise ArgumentError(f"{name} must be a name or a function, got {value!r}")
    register, registered = _FUNCTIONS[name]
    for (kind, own), extension in EXTENSIONS.items():
        if kind == _KINDS[name] and extension.function is value:
            return own
    for own, function in registered().items():
        if function is value:
            return own
    try:
        register(value)
    except UsageError as error:
        raise ArgumentError(f"{name}: {error}") from error
    return str(value.__name__)


def _augment(value: Any) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    names = [_name_of("augment", part) for part in parts]
    functions = {name: part for name, part in zip(names, parts, strict=True) if callable(part)}
    for name, part in zip(names, parts, strict=True):
        if callable(part) and functions[name] is not part:
            raise ArgumentError(f"augment: two functions are called {name}; rename one")
    return ",".join(names)


def used_functions(choices: Collection[Mapping[str, Any]]) -> tuple[Extension, ...]:
    """The functions from outside that runs of these choices call."""
    names = {
        (_KINDS[field], name.partition(":")[0].strip())
        for chosen in choices
        for field, value in chosen.items()
        if field in _KINDS
        for name in (re.split(r"[,+]", value) if field == "augment" else [value])
    }
    return tuple(EXTENSIONS[key] for key in EXTENSIONS if key in names)


def used_files(choices: Collection[Mapping[str, Any]]) -> list[ExtensionFile]:
    """The files of functions from outside that runs of these choices are to keep.

    Raises:
        ExtensionError: if a function of this session cannot be written down.
    """
    captured = extend.capture([each for each in used_functions(choices) if each.file is None])
    return [*extend.loaded_files(), *([captured] if captured else [])]


@contextlib.contextmanager
def data_by_name(data: Any, test: Any = None, class_names: Any = None) -> Iterator[str]:
    """The name of a data set inside, which may be given as arrays.

    Args:
        data: a name, a folder, `(images, labels)`, a `Dataset`, or a function that returns arrays.
        test: `(images, labels)`, where `data` is.
        class_names: of arrays.

    Raises:
        ArgumentError: if it is none of these.
    """
    if isinstance(data, str | Path):
        if test is not None or class_names is not None:
            raise ArgumentError("test and class_names are for arrays; a data set by name has both")
        yield str(data)
        return
    with named():
        found = _dataset(data, test, class_names)
    before = DATASETS.get(ARRAYS)
    DATASETS[ARRAYS] = lambda cache_dir: found
    (MULTI_LABEL.add if found.multi_label else MULTI_LABEL.discard)(ARRAYS)
    try:
        yield ARRAYS
    finally:
        MULTI_LABEL.discard(ARRAYS)
        del DATASETS[ARRAYS]
        if before is not None:
            DATASETS[ARRAYS] = before


def _dataset(data: Any, test: Any, class_names: Any) -> Dataset:
    if isinstance(data, Dataset):
        if test is not None or class_names is not None:
            raise ArgumentError("test and class_names are for arrays; a Dataset has both")
        return check_dataset(data)
    if callable(data):
        return as_dataset(ARRAYS, data())
    for name, pair in {"data": data, "test": test}.items():
        if (pair is not None or name == "data") and not _is_pair(pair):
            named = "the name of a data set, a folder, or " if name == "data" else ""
            raise ArgumentError(f"{name} must be {named}(images, labels), got {kind_of(pair)}")
    found = of_splits(ARRAYS, tuple(data), test, class_names)
    if found.multi_label and all(
        (part.labels.sum(1) == 1).all() for part in (found.train, found.test)
    ):
        raise ArgumentError(
            "each row of labels has exactly one 1: one class for each image is "
            "labels.argmax(axis=1); labels that are there or not are given as a "
            "cnn_jax.data.Dataset"
        )
    return found


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def new_directory(workdir: str | Path) -> RunDirectory:
    """A folder to write to, in which nothing has begun."""
    path = path_of("workdir", workdir)
    if is_begun(path):
        raise ArgumentError(f"workdir={path} already exists; give a new folder")
    return RunDirectory(path)


def write_page(path: Any, render: Callable[[], str]) -> Path:
    """Writes a page, and says where.

    Raises:
        ArgumentError: if it cannot be written.
    """
    place = path_of("path", path)
    try:
        storage.write(place, render())
    except storage.WriteError as error:
        raise ArgumentError(f"path: {error}") from error
    return place


def start_of(choices: Mapping[str, Any]) -> SavedRun | None:
    """The run whose weights training starts from, if it does."""
    start = choices.get("init_from")
    return None if start is None else load_run(Path(start))


def share_devices(trials: int, together: int) -> MeshShape:
    """All devices, as the programs share them."""
    return best_shape(jax.device_count(), trials, together)


def check_compiler() -> None:
    """Refuses a compiler that computes wrong numbers.

    Raises:
        ArgumentError: naming what would be right.
    """
    if wrong := compilation.untrusted():
        raise ArgumentError(
            f"jaxlib {jaxlib.__version__} computes wrong numbers on this CPU ({'; '.join(wrong)}); "
            f"install {' or '.join(compilation.TESTED)}"
        )
