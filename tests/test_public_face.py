"""What `import cnn_jax` shows, and what it does not load."""

import subprocess
import sys
from pathlib import Path

import pytest

import cnn_jax

ROOMS = (
    "analysis", "api", "compilation", "data", "extend", "models", "native", "ops", "training"
)  # fmt: skip
# What stands beside the rooms: whatever registers a function, and what trains.
NAMES = (
    "ablate", "activation", "augmentation", "dataset", "load_run", "loss", "network",
    "normalization", "optimizer", "pooling", "schedule", "train",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]
# What only drawing, reading, saving and watching need.
LATE = {
    "PIL",
    "jinja2",
    "matplotlib",
    "orbax",
    "scipy",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
}


def printed(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_rooms_are_there_after_the_import():
    code = f"import cnn_jax\nprint(*(getattr(cnn_jax, room).__name__ for room in {ROOMS}))"
    assert printed(code).split() == [f"cnn_jax.{room}" for room in ROOMS]
    assert set(ROOMS) < set(dir(cnn_jax))
    assert cnn_jax.__all__ == sorted(ROOMS + NAMES)
    assert all(callable(getattr(cnn_jax, name)) for name in NAMES)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'cnn_jax' has no attribute 'kitchens'"):
        _ = cnn_jax.kitchens


def test_the_package_alone_loads_nothing():
    code = "import sys; before = {*sys.modules}; import cnn_jax; print({*sys.modules} - before)"
    loaded = eval(printed(code))
    assert {name for name in loaded if name.startswith("cnn_jax")} == {"cnn_jax"}
    assert not {"numpy", "jax", "flax", "absl", "optax"} & loaded


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_loads_what_it_needs(room: str):
    loaded = eval(printed(f"import sys; import cnn_jax.{room}; print({{*sys.modules}})"))
    assert not LATE & loaded


def test_types_are_published():
    assert (Path(cnn_jax.__file__).parent / "py.typed").is_file()
