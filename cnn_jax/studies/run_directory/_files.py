"""What lies in the folder of a run, and how it is read."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cnn_jax import storage
from cnn_jax.errors import UsageError
from cnn_jax.extend import KEPT
from cnn_jax.storage import strict_json
from cnn_jax.training import checkpoints
from cnn_jax.training.grid import with_nan

FLAGS_FILE = "flags.txt"
CONFIG_FILE = "config.json"
ENVIRONMENT_FILE = "environment.json"
REPORT_FILE = "report.html"
RESULT_FILE = "result.json"
LIKENESS_FILE = "likeness.npz"
HELD_OUT_FILE = "held_out.npz"
CHECKPOINTS = "checkpoints"
# The checkpoint of the best epoch, beside that of the last.
BEST = "best"
# What a start writes before flags.txt.
_OF_A_BEGINNING = frozenset(
    {CONFIG_FILE, ENVIRONMENT_FILE, KEPT, "data", "data.json", "examples.npz"}
    | {storage.SUMS_FILE, storage.LOCK_FILE}
)


def read_flags(path: Path, known: Collection[str]) -> dict[str, list[str]]:
    """The texts of every flag in `path`/flags.txt by its name, without setting any.

    Args:
        path: of a run or a sweep.
        known: names of the flags that may be there.

    Raises:
        UsageError: if there is no such file, or it has another flag.
    """
    file = path / FLAGS_FILE
    try:
        lines = storage.read(file).decode().splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path} is not the folder of a run: it has no {FLAGS_FILE}") from None
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    stored: dict[str, list[str]] = {}
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        given, equals, text = line.strip().removeprefix("--").partition("=")
        name = given if given in known else given.removeprefix("no")
        if name not in known:
            raise UsageError(
                f"{file} gives --{given}, which is not an option of a run in this version"
            )
        stored.setdefault(name, []).append(text if equals else str(given == name).lower())
    return stored


def planned_epochs(path: Path) -> int:
    """How many epochs a run was last started for."""
    return int(json.loads(storage.read(path / CONFIG_FILE))["epochs"])


def is_begun(path: Path) -> bool:
    """Whether something is in a folder, what a start that came to no end left there apart.

    flags.txt is the last file that a start writes, and the lock the first.
    """
    if not path.is_dir():
        return path.exists()
    names = {file.name for file in path.iterdir() if not storage.is_part(file)}
    return bool(names) and (storage.LOCK_FILE not in names or not names <= _OF_A_BEGINNING)


def first_difference(
    path: Path, choices: Mapping[str, Any], only_common: bool = False, apart: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
    """Where `path`/config.json and these choices differ: a name, its value there and here.

    Args:
        path: of a run or a sweep.
        choices: by name.
        only_common: whether names that one of them lacks are passed over.
        apart: names that may differ, those inside of others too.

    Raises:
        UsageError: if the file cannot be read.
    """
    file = path / CONFIG_FILE
    try:
        stored = dict(json.loads(storage.read(file)))
    except UsageError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}; put it back from a copy") from error
    stored, wanted = _without(stored, apart), _without(json.loads(strict_json(choices)), apart)
    names = stored.keys() & wanted.keys() if only_common else stored.keys() | wanted.keys()
    for name in sorted(names):
        if stored.get(name) != wanted.get(name):
            return name, stored.get(name), wanted.get(name)
    return None


def _without(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


def history_of(checkpoint: checkpoints.Checkpoint) -> tuple[dict[str, float], ...]:
    """The records of all epochs up to a checkpoint.

    Raises:
        UsageError: if they are not those of epochs 1 to its own.
    """
    records = tuple(map(with_nan, checkpoint.said["history"]))
    epochs = [record["epoch"] for record in records]
    if epochs != [*range(1, checkpoint.said["epoch"] + 1)]:
        raise UsageError(
            f"the checkpoint {checkpoint.path} is of epoch {checkpoint.said['epoch']}, but its "
            f"history of epochs {', '.join(map(str, epochs))}; put it back from a copy"
        )
    return records
