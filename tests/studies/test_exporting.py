"""Exported networks give the run's logits, in a process that knows nothing of this project."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import cnn_jax
from cnn_jax import training
from cnn_jax.errors import UsageError
from cnn_jax.models import Architecture
from cnn_jax.studies.exporting import logits_function, to_onnx, to_safetensors, to_stablehlo
from cnn_jax.training.step import TrainState

TASK = training.Task((16, 16, 3), 4, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *TASK.image_shape), dtype=np.uint8)
NETWORKS = {
    "cnn": Architecture("cnn", "gelu", "group", filters=(4, 6), hidden=(8,), pooling="average"),
    "lenet5": Architecture("lenet5", "prelu"),
    "resnet20": Architecture("resnet20", normalization="batch"),
    "airnet": Architecture("airnet", normalization="batch", width=0.1),
    "vgg": Architecture("vgg", "silu", normalization="batch", width=0.1),
}


def untrained(architecture: Architecture, tta: str = "none") -> SimpleNamespace:
    """What a saved run has that is exported, its arrays as drawn and moved a little."""
    config = training.Config(architecture, tta=tta)
    run = training.make_run(config, TASK)
    numbers = jax.tree.map(jnp.float32, training.hyperparameters(config))
    shapes = jax.eval_shape(run.init, numbers, jax.random.key(0))
    rng = np.random.default_rng(0)
    params, statistics = jax.tree.map(
        lambda leaf: np.float32(rng.uniform(0.05, 0.2, leaf.shape)),
        (shapes.params, shapes.statistics),
    )
    state = TrainState(jnp.zeros((), jnp.int32), params, statistics, ())
    return SimpleNamespace(
        config=config, task=TASK, state=state, name="run", class_names=tuple("abcd"),
        output="softmax", run=run,
    )  # fmt: skip


class Module(nnx.Module):
    def __init__(self, classes: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(4, classes, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.norm(self.conv(x)))).mean((1, 2)))


def test_a_network_from_outside_is_exported_too():
    pytest.importorskip("flatbuffers")
    cnn_jax.network(lambda shape, classes, rngs: Module(classes, rngs), name="mine")
    try:
        saved = untrained(Architecture("mine"))
        artifact = jax.export.deserialize(bytearray(to_stablehlo(saved)))
        expected = jax.jit(saved.run.predict)(saved.state, IMAGES)
        np.testing.assert_allclose(artifact.call(IMAGES), expected, rtol=1e-5, atol=1e-5)
    finally:
        cnn_jax.extend.EXTENSIONS["network", "mine"].remove()


def outside(code: str, *arguments: object) -> None:
    """Runs Python where this project cannot be imported."""
    test = "import importlib.util; assert importlib.util.find_spec('cnn_jax') is None\n"
    libraries = [path for path in sys.path if not (Path(path) / "cnn_jax").is_dir()]
    # An installation to develop in finds it by a hook of its own.
    hide = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
    hide += f"sys.path[:] = {libraries!r}\n"
    command = [sys.executable, "-c", hide + test + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_that_is_exported_predicts(name: str):
    saved = untrained(NETWORKS[name], "flip" if name == "cnn" else "none")
    expected = jax.jit(saved.run.predict)(saved.state, IMAGES)
    found = jax.jit(logits_function(saved))(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_artifact_runs_by_jax_alone(name: str, tmp_path: Path):
    pytest.importorskip("flatbuffers")
    saved = untrained(NETWORKS[name])
    (tmp_path / "model").write_bytes(to_stablehlo(saved))
    np.save(tmp_path / "images.npy", IMAGES)
    code = """
import sys
import jax.export, numpy as np
images = np.load(sys.argv[1] + "/images.npy")
model = jax.export.deserialize(bytearray(open(sys.argv[1] + "/model", "rb").read()))
assert set(model.platforms) == {"cpu", "cuda", "tpu"}
one = model.call(images[:1])
np.save(sys.argv[1] + "/logits.npy", model.call(images))
np.testing.assert_allclose(one, np.load(sys.argv[1] + "/logits.npy")[:1], rtol=1e-4, atol=1e-5)
"""
    outside(code, tmp_path)
    expected = jax.jit(saved.run.predict)(saved.state, IMAGES)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-5, atol=1e-5)


# jax2onnx 0.17 cannot pad the channels of a batch of any size, as resnet20's shortcuts do.
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet20"])
def test_onnx_runs_elsewhere(name: str, tmp_path: Path):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    saved = untrained(NETWORKS[name])
    (tmp_path / "model.onnx").write_bytes(to_onnx(saved))
    np.save(tmp_path / "images.npy", IMAGES)
    code = """
import sys
import onnxruntime, numpy as np
model = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
images = np.load(sys.argv[1] + "/images.npy")
(logits,) = model.run(None, {model.get_inputs()[0].name: images})
np.save(sys.argv[1] + "/logits.npy", logits)
"""
    outside(code, tmp_path)
    expected = jax.jit(saved.run.predict)(saved.state, IMAGES)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-5, atol=1e-5)


def test_weights_have_names(tmp_path: Path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    saved = untrained(NETWORKS["resnet20"])
    (tmp_path / "weights").write_bytes(to_safetensors(saved))
    held = numpy_files.load_file(tmp_path / "weights")
    assert held["conv1.conv.kernel"].shape == (3, 3, 3, 16)
    count = sum(leaf.size for leaf in jax.tree.leaves(saved.state.weights))
    assert sum(array.size for array in held.values()) == count
    kernel = saved.state.params["network"]["output"]["kernel"]
    np.testing.assert_array_equal(held["output.kernel"], kernel)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    for module in ("jax2onnx", "safetensors.numpy", "safetensors"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for export, extra in ((to_stablehlo, "export"), (to_safetensors, "export"), (to_onnx, "onnx")):
        with pytest.raises(UsageError, match=rf"pip install 'cnn_jax\[{extra}\]'"):
            export(untrained(NETWORKS["lenet5"]))
