"""Every image-classification set of TensorFlow Datasets, read without TensorFlow.

The data must have been prepared as ArrayRecord files, once, by `download=True` (which needs the
`prepare` extra and the network) or by any other use of
`tfds.builder(name).download_and_prepare(file_format="array_record")`.
"""

import contextlib
import difflib
import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import UInt8

from cnn_jax.data._class_names import CLASS_NAMES
from cnn_jax.data._names import nearest, resolve
from cnn_jax.data._repeats import repeats
from cnn_jax.data.cache import cached, file_stamps, fingerprint, progress
from cnn_jax.data.dataset import Dataset, PixelRule, Split
from cnn_jax.data.folders import check_room, on_ground, open_picture, resize
from cnn_jax.errors import FIELD, FieldError, UsageError

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


def open_builder(name: str, root: str, others: Iterable[str] = ()) -> Any:
    """Finds the builder of a data set.

    Args:
        name: `dataset[/config][:version]`.
        root: where prepared data is looked for.
        others: names to be proposed too, where this one is not known.

    Returns:
        A `tfds.core.DatasetBuilder` of the version asked for; if none was, of the current version
        or else of any that is prepared in `root`.

    Raises:
        UsageError: no data set has this name, configuration or version, or its code cannot run.
    """
    _check_features(Path(root), name)
    with quiet():
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=root)
        except Exception as error:
            meant = resolve(name, tfds.list_builders(with_community_datasets=False))
            if meant not in (None, name):
                return open_builder(meant, root, others)
            nowhere = isinstance(error, tfds.core.DatasetNotFoundError)
            if nowhere or not re.fullmatch(r"\w[\w:/.*-]*", name):
                raise UsageError(_unknown(name, others)) from error
            # Some builders need TensorFlow merely to exist; their prepared files do not.
            prepared = _open_prepared(name, root)
            if prepared is None:
                raise UsageError(_cannot_open(name, error)) from error
            return prepared
        if builder.is_prepared():
            return builder
        return _open_prepared(name, root) or builder


def _check_features(root: Path, name: str) -> None:
    """Refuses prepared files that name code of others: TFDS imports whatever they name.

    Raises:
        UsageError: naming the file.
    """
    folder = root / re.split("[/:]", name)[0]
    try:
        files = sorted(folder.rglob("features.json")) if folder != root else []
        kinds = {file: _kinds(json.loads(file.read_text(encoding="utf-8"))) for file in files}
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot read what is prepared in {folder}: {first_line(error)}"
        ) from error
    for file, found in kinds.items():
        for kind in found:
            if not kind.startswith("tensorflow_datasets."):
                raise UsageError(
                    f"{file} names {kind}, which is no part of TensorFlow Datasets and would be "
                    "run; it is not opened"
                )


def _kinds(content: Any) -> Iterator[str]:
    """The Python classes that a description of features names."""
    if isinstance(content, dict):
        yield from (str(content[key]) for key in ("pythonClassName", "type") if key in content)
    values = content.values() if isinstance(content, dict) else content
    for value in values if isinstance(content, (dict, list)) else ():
        yield from _kinds(value)


def _open_prepared(name: str, root: str) -> Any | None:
    import tensorflow_datasets as tfds

    # A version in the name makes TFDS look at the files before its own code.
    versioned = name if ":" in name else f"{name}:*.*.*"
    try:
        builder = tfds.builder(versioned, data_dir=root)
    except Exception:
        return None
    return builder if builder.is_prepared() else None


def _unknown(name: str, others: Iterable[str]) -> str:
    import tensorflow_datasets as tfds

    matches = nearest(name, [*others, *tfds.list_builders(with_community_datasets=False)])
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    return f"{name!r} is neither a folder nor a name of TensorFlow Datasets{hint}"


def _cannot_open(name: str, error: Exception) -> str:
    import tensorflow_datasets as tfds

    if "No module named 'tensorflow'" in str(error):
        return f"opening {name} needs tensorflow: {_INSTALL}"
    stem, _, config = name.partition(":")[0].partition("/")
    with contextlib.suppress(tfds.core.DatasetNotFoundError, ValueError):
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


# Decoded together: a batch is several times faster to fetch than its examples one by one.
_BATCH = 256

# Sets whose images are stored with rows and columns exchanged.
_TRANSPOSED = frozenset({"emnist"})


def load_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    image_size: int | None,
    cache_dir: str | os.PathLike[str] | None,
    test_only: bool = False,
    resize_how: str = "crop",
    others: Iterable[str] = (),
) -> Dataset:
    """Reads the `train` and `test` splits of a TensorFlow data set, cached once decoded.

    Without a labeled `test` split `validation` takes its place.

    Args:
        name: `dataset[/config][:version]`.
        data_dir: where prepared data is; default: `TFDS_DATA_DIR`, then `~/tensorflow_datasets`.
        download: download and prepare what is not there.
        image_size: side to which every image is resized on reading (see `resize`), or None.
        cache_dir: see `cached`.
        test_only: whether a set that has no `train` split will do; it has no training examples.
        resize_how: see `resize`.
        others: names that are no sets of TensorFlow Datasets, to be proposed too.

    Returns:
        The data set, named without its version.

    Raises:
        UsageError: the name is unknown, the data is not prepared or damaged, cannot be prepared,
            or is not of one image and one class label per example.
    """
    root = os.path.expanduser(
        data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    )
    builder = open_builder(name, root, others)
    image_key, label_key = _find_keys(builder)
    with quiet():
        prepared = builder.is_prepared()
    if not prepared:
        if not download:
            raise FieldError(
                f"{name} is not prepared in {builder.data_dir}, expected its ArrayRecord files "
                f"there; name another {FIELD.data_dir} or set TFDS_DATA_DIR, or ask for "
                f"{FIELD.download}"
            )
        prepare(builder, name)
    dataset_name = builder.info.full_name.rpartition("/")[0]
    folder = Path(builder.data_dir)
    key = fingerprint(
        builder.info.full_name,
        file_stamps(folder, (path for path in folder.iterdir() if path.is_file())),
        image_size if resize_how == "crop" else (image_size, resize_how),
    )

    if "train" not in builder.info.splits and not test_only:
        raise UsageError(
            f"{dataset_name} has no train split but {', '.join(builder.info.splits)}, so nothing "
            "can be trained on it; experiments.evaluate tests a trained run on it"
        )

    sizes: set[tuple[int, int]] = set()

    def read_split(split: str) -> Split:
        return _read_split(builder, split, image_key, label_key, image_size, resize_how, sizes)

    def read() -> Dataset:
        test = read_split(_find_test_split(builder, label_key))
        train = read_split("train") if "train" in builder.info.splits else test[:0]
        notes = repeats({"train": train, "test": test})
        names = _class_names(builder, label_key)
        rule = PixelRule(resize=resize_how).resized(sizes, image_size)
        return Dataset(dataset_name, train, test, names, notes=notes, rule=rule)

    return cached(read, name=dataset_name, key=key, cache_dir=cache_dir)


def _find_keys(builder: Any) -> tuple[str, str]:
    """The names of the image and of the class label in an example."""
    import tensorflow_datasets as tfds

    features = builder.info.features or {}
    pairs: list[Any] = [builder.info.supervised_keys or (), ("image", "label")]
    for keys in pairs:
        found = [features[key] for key in keys if isinstance(key, str) and key in features]
        if len(found) != 2 or len(keys) != 2:
            continue
        image, label = found
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            if image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3, None):
                raise UsageError(
                    f"{builder.name} has images of {np.dtype(image.np_dtype)} with "
                    f"{image.shape[-1]} channels, expected uint8 with 1 or 3"
                )
            return keys
    raise UsageError(
        f"{builder.name} is no image-classification set: it has {', '.join(features)}, "
        "expected an image with a class label"
    )


def _find_test_split(builder: Any, label_key: str) -> str:
    """`test`, or `validation` where there is no test split or its labels are kept secret (-1)."""
    splits = builder.info.splits
    for split in ("test", "validation"):
        if split in splits and splits[split].num_examples:
            with _reading(builder, split):
                first = _source(builder, split, _find_keys(builder)[0])[0]
            if first[label_key] >= 0:
                return split
    raise UsageError(
        f"{builder.name} has the splits {', '.join(splits)}, expected a labeled test or validation"
    )


@contextlib.contextmanager
def _reading(builder: Any, split: str) -> Iterator[None]:
    """Turns whatever reading a split raises into one line."""
    try:
        with quiet():
            yield
    except UsageError:
        raise
    except NotImplementedError as error:
        raise UsageError(
            f"{builder.name} is prepared as {builder.info.file_format.value} in "
            f"{builder.data_dir}, expected array_record; prepare it in another data folder"
        ) from error
    except Exception as error:
        raise UsageError(
            f"cannot read the {split} split of {builder.name} in {builder.data_dir}: "
            f"{first_line(error)}"
        ) from error


def _read_split(
    builder: Any, split: str, image_key: str, label_key: str, image_size: int | None, how: str,
    sizes: set[tuple[int, int]],
) -> Split:  # fmt: skip
    """The examples of a split; the sizes of its pictures are added to `sizes`."""
    with _reading(builder, split):
        source = _source(builder, split, image_key)
        channels = builder.info.features[image_key].shape[-1] or 1
        count = len(source)
        labels = np.empty(count, np.int32)
        images = np.empty((0, 0, 0, 0), np.uint8)
        with progress(f"Decoding {builder.name}, {split} split", count) as advance:
            for start in range(0, count, _BATCH):
                examples = source.__getitems__(list(range(start, min(start + _BATCH, count))))
                for index, example in enumerate(examples, start):
                    image = _decode(example[image_key], channels)
                    if builder.name in _TRANSPOSED:
                        image = image.swapaxes(0, 1)
                    if index == 0 and image_size:
                        check_room(builder.name, (count, image_size, image_size, image.shape[2]))
                    sizes.add((image.shape[0], image.shape[1]))
                    image = resize(image, image_size, how)
                    if index == 0:
                        images = np.empty((count, *image.shape), np.uint8)
                    if image.shape != images.shape[1:]:
                        raise UsageError(
                            f"{builder.name} has images of different shapes, such as "
                            f"{images.shape[1:]} and {image.shape}, expected an image size to "
                            "resize them to"
                        )
                    images[index] = image
                    labels[index] = example[label_key]
                advance(len(examples))
    return Split(images, labels)


def _source(builder: Any, split: str, image_key: str) -> Any:
    """The examples of a split, pictures as they are stored: TFDS reads any format of Pillow's."""
    import tensorflow_datasets as tfds

    return builder.as_data_source(split, decoders={image_key: tfds.decode.SkipDecoding()})


def _decode(content: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    with open_picture(io.BytesIO(content), "") as picture:
        pixels = np.asarray(on_ground(picture).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _class_names(builder: Any, label_key: str) -> tuple[str, ...]:
    names = tuple(builder.info.features[label_key].names)
    if names == tuple(map(str, range(len(names)))):
        stem = builder.info.full_name.rpartition("/")[0]
        return CLASS_NAMES.get(stem, CLASS_NAMES.get(builder.name, names))
    return names
