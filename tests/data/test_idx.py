"""IDX files: a round trip, and every way in which they can be wrong."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.errors import UsageError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def encode(array: np.ndarray) -> bytes:
    """IDX as its description says, written with struct rather than numpy."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        IMAGES: rng.integers(0, 256, (7, 5, 4), dtype=np.uint8),
        LABELS: np.array([0, 1, 2, 0, 1, 2, 0], np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.array([2, 1, 0], np.uint8),
    }


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "digits"
    path.mkdir()
    for name, array in arrays.items():
        (path / name).write_bytes(encode(array))
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_round_trip(folder: Path, arrays: dict[str, np.ndarray], compressed: bool, dotted: bool):
    for path in list(folder.iterdir()):
        name = path.name.replace("-idx", ".idx") if dotted else path.name
        content = path.read_bytes()
        path.unlink()
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    read = data.load(folder)
    assert read.name == "digits"
    assert read.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(read.train.images[..., 0], arrays[IMAGES])
    np.testing.assert_array_equal(read.train.labels, arrays[LABELS])
    np.testing.assert_array_equal(read.test.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(read.test.labels, [2, 1, 0])


def test_the_image_size_applies(folder: Path):
    assert data.load(folder, image_size=8).image_shape == (8, 8, 1)


def _truncate(folder: Path):
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-1])


def _lengthen(folder: Path):
    (folder / LABELS).write_bytes((folder / LABELS).read_bytes() + b"\0")


def _cut_header(folder: Path):
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:9])


def _empty(folder: Path):
    (folder / IMAGES).write_bytes(b"")


def _swap_magic(folder: Path):
    (folder / IMAGES).write_bytes((folder / LABELS).read_bytes())


def _drop_a_label(folder: Path):
    (folder / LABELS).write_bytes(encode(np.zeros(6, np.uint8)))


def _claim_the_moon(folder: Path):
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3)
    (folder / IMAGES).write_bytes(header + b"0")


def _remove(folder: Path):
    (folder / LABELS).unlink()


def _corrupt_gzip(folder: Path):
    content = bytearray(gzip.compress((folder / IMAGES).read_bytes()))
    content[len(content) // 2] ^= 255
    (folder / f"{IMAGES}.gz").write_bytes(content)
    (folder / IMAGES).unlink()


def _cut_gzip(folder: Path):
    content = gzip.compress((folder / IMAGES).read_bytes())
    (folder / f"{IMAGES}.gz").write_bytes(content[:-20])
    (folder / IMAGES).unlink()


def _rename_to_gzip(folder: Path):
    (folder / IMAGES).rename(folder / f"{IMAGES}.gz")


def _no_images(folder: Path):
    (folder / IMAGES).write_bytes(encode(np.zeros((0, 5, 4), np.uint8)))
    (folder / LABELS).write_bytes(encode(np.zeros(0, np.uint8)))


def _unknown_test_label(folder: Path):
    (folder / "t10k-labels-idx1-ubyte").write_bytes(encode(np.array([0, 1, 3], np.uint8)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, f"{IMAGES} is truncated: 155 bytes, but a shape of .* takes 156"),
        (_lengthen, f"{LABELS} is too long"),
        (_cut_header, f"{IMAGES} is truncated: its header has 9 of 16 bytes"),
        (_empty, f"{IMAGES} begins with nothing"),
        (_swap_magic, f"{IMAGES} begins with 00000801, .* 00000803"),
        (_drop_a_label, f"{IMAGES} holds 7 images and .*{LABELS} 6 labels"),
        (_claim_the_moon, f"{IMAGES} is truncated"),
        (_remove, f"lacks {LABELS}"),
        (_corrupt_gzip, f"cannot read .*{IMAGES}.gz"),
        (_cut_gzip, f"cannot read .*{IMAGES}.gz"),
        (_rename_to_gzip, f"cannot read .*{IMAGES}.gz"),
        (_no_images, "found 1 class"),
        (_unknown_test_label, "test labels run from 0 to 3, expected 0 to 2"),
    ],
)
def test_damage_is_one_clear_error(folder: Path, damage: Callable[[Path], None], message: str):
    damage(folder)
    with pytest.raises(UsageError, match=message) as caught:
        data.load(folder)
    assert "\n" not in str(caught.value)
