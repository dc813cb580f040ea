"""What the tests of the data sources share: a cache of their own, small pictures, small sets."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the tests away from the user's cache."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def write_picture(rng: np.random.Generator) -> Callable[..., Path]:
    """Writes a random picture and makes the folders above it."""

    def write(path: Path, shape: tuple[int, ...] = (6, 6)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        return path

    return write


Example = tuple[np.ndarray, int]


@pytest.fixture
def write_tfds(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data set as TFDS prepares it (ArrayRecord), with no TensorFlow.

    Returns a function of the set's examples by split, its name and configuration, and the shape,
    class names and names of its features; that function returns the data folder.
    """

    def write(
        splits: dict[str, Sequence[Example]],
        *,
        name: str = "toy_shapes",
        shape: tuple[int | None, ...] = (None, None, 3),
        class_names: Sequence[str] = ("circle", "square"),
        config: str = "",
        label_key: str = "label",
        file_format: str = "array_record",
    ) -> Path:
        import tensorflow_datasets as tfds

        folder = tmp_path / "tfds" / name / config / "1.0.0"
        folder.mkdir(parents=True)
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape),
                label_key: tfds.features.ClassLabel(names=list(class_names)),
            }
        )
        features.save_config(folder)
        for split, examples in splits.items():
            _write_records(
                folder / f"{name}-{split}.array_record-00000-of-00001", examples, label_key
            )
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        info = {
            "name": name,
            "version": "1.0.0",
            "configName": config,
            "fileFormat": file_format,
            "splits": [
                {
                    "name": split,
                    "filepathTemplate": template,
                    "shardLengths": [str(len(examples))],
                    "numBytes": "1",
                }
                for split, examples in splits.items()
            ],
            "supervisedKeys": {
                "tuple": {"items": [{"featureKey": "image"}, {"featureKey": label_key}]}
            },
        }
        (folder / "dataset_info.json").write_text(json.dumps(info))
        return tmp_path / "tfds"

    return write


def _write_records(path: Path, examples: Sequence[Example], label_key: str) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for image, label in examples:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "PNG")
        example = tf_example_pb2.Example()
        example.features.feature["image"].bytes_list.value.append(buffer.getvalue())
        example.features.feature[label_key].int64_list.value.append(label)
        writer.write(example.SerializeToString())
    writer.close()
