"""From the name of a TensorFlow data set to its builder, with errors that say what to do."""

import contextlib
import difflib
import importlib.util
import io
import re
import sys
from collections.abc import Iterator
from typing import Any

from absl import logging

from cnn_jax.errors import UsageError

_INSTALL = "pip install 'cnn_jax[prepare]'"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS's notes on TensorFlow, OpenCV and folders off the terminal."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def first_line(error: BaseException) -> str:
    """What an error of TFDS says, in one line."""
    # TFDS begins with all arguments of the builder, which say nothing to the user.
    message = re.sub(r'^Failed to construct dataset ".*?}": ', "", str(error).strip())
    return message.splitlines()[0] if message else type(error).__name__


def is_prepared(builder: Any) -> bool:
    """Whether the builder's files are there."""
    with quiet():
        return builder.is_prepared()


def open_builder(name: str, root: str) -> Any:
    """Finds the builder of a data set.

    Args:
        name: `dataset[/config][:version]`.
        root: where prepared data is looked for.

    Returns:
        A `tfds.core.DatasetBuilder` of the version asked for; if none was, of the current version
        or else of any that is prepared in `root`.

    Raises:
        UsageError: no data set has this name, configuration or version, or its code cannot run.
    """
    with quiet():
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=root)
        except tfds.core.DatasetNotFoundError as error:
            raise UsageError(_unknown(name)) from error
        except Exception as error:
            if not re.fullmatch(r"[\w:/.*-]+", name):
                raise UsageError(_unknown(name)) from error
            # Some builders need TensorFlow merely to exist; their prepared files do not.
            prepared = _open_prepared(name, root)
            if prepared is None:
                raise UsageError(_cannot_open(name, error)) from error
            return prepared
        if is_prepared(builder):
            return builder
        return _open_prepared(name, root) or builder


def _open_prepared(name: str, root: str) -> Any | None:
    import tensorflow_datasets as tfds

    # A version in the name makes TFDS look at the files before its own code.
    versioned = name if ":" in name else f"{name}:*.*.*"
    try:
        builder = tfds.builder(versioned, data_dir=root)
    except Exception:
        return None
    return builder if is_prepared(builder) else None


def _unknown(name: str) -> str:
    import tensorflow_datasets as tfds

    known = ["mnist", *tfds.list_builders(with_community_datasets=False)]
    stem = re.split("[/:]", name)[0]
    matches = difflib.get_close_matches(stem, dict.fromkeys(known), n=3)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    return f"{name!r} is neither a folder nor a name of TensorFlow Datasets{hint}"


def _cannot_open(name: str, error: Exception) -> str:
    import tensorflow_datasets as tfds

    if "No module named 'tensorflow'" in str(error):
        return f"opening {name} needs tensorflow: {_INSTALL}"
    stem, _, config = name.partition(":")[0].partition("/")
    with contextlib.suppress(tfds.core.DatasetNotFoundError):
        configs = tfds.builder_cls(stem).builder_configs
        if config and config not in configs:
            closest = difflib.get_close_matches(config, configs, n=5, cutoff=0)
            return f"{stem} has no configuration {config}, but {', '.join(closest) or 'none'}"
    return f"cannot open {name}: {first_line(error)}"


def prepare(builder: Any, name: str) -> None:
    """Downloads a data set and writes it as ArrayRecord files where its builder looks for them.

    Args:
        builder: from `open_builder`.
        name: what the user calls it.

    Raises:
        UsageError: the `prepare` extra is not installed, or the preparation failed.
    """
    missing = [
        module
        for module in ("tensorflow", "importlib_resources")
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise UsageError(f"preparing {name} needs {' and '.join(missing)}: {_INSTALL}")
    try:
        # TFDS prints its progress; standard output is for results.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(file_format="array_record")
    except Exception as error:
        raise UsageError(
            f"cannot download and prepare {name} in {builder.data_dir}: {first_line(error)}"
        ) from error
