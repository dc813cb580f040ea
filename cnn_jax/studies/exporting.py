"""A trained network as a file that other programs run: StableHLO, ONNX, or its weights alone.

What is exported takes images as bytes and gives logits: normalization and test-time views are
inside. A batch may have any size.
"""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add, mul
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from cnn_jax import compilation
from cnn_jax.errors import UsageError
from cnn_jax.models import MODELS, Mode
from cnn_jax.ops.augment import TEST_TIME
from cnn_jax.studies.saved_run import SavedRun
from cnn_jax.training.step import Setting, forward
from cnn_jax.training.task import normalize

PLATFORMS = ("cpu", "cuda", "tpu")


def logits_function(
    saved: SavedRun,
) -> Callable[[UInt8[Array, "n h w c"]], Float[Array, "n classes"]]:
    """The run's images to logits, its weights in it; convolutions are XLA's own."""
    config, network = saved.config, saved.config.architecture
    if "convolution" in MODELS[network.model].reads:
        config = replace(config, architecture=replace(network, convolution="lax"))
    setting = Setting(config, saved.task, None)
    params, statistics = jax.device_get(saved.state.weights)

    def logits(images: UInt8[Array, "n h w c"]) -> Float[Array, "n classes"]:
        views, weights = TEST_TIME[config.tta](images)
        found = [
            forward(setting, params, statistics, normalize(saved.task, view), Mode())[0]
            for view in views
        ]
        if len(found) == 1:
            return found[0]
        return reduce(add, map(mul, weights, found))

    return logits


def to_stablehlo(saved: SavedRun) -> bytes:
    """An artifact of `jax.export`, for CPU, GPU and TPU and batches of any size.

    Raises:
        UsageError: if there is no flatbuffers.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UsageError("JAX writes artifacts by flatbuffers; pip install 'cnn_jax[export]'")
    shape = ",".join(["n", *map(str, saved.task.image_shape)])
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.uint8)
    function = compilation.jit(logits_function(saved))
    return bytes(jax.export.export(function, platforms=PLATFORMS)(images).serialize())


def to_onnx(saved: SavedRun) -> bytes:
    """A model of ONNX, by jax2onnx.

    Raises:
        UsageError: if there is no jax2onnx, or it cannot convert this network.
    """
    try:
        from jax2onnx import to_onnx as convert
    except ImportError as error:
        raise UsageError(f"ONNX needs jax2onnx ({error}): pip install 'cnn_jax[onnx]'") from error
    images = jax.ShapeDtypeStruct(("n", *saved.task.image_shape), jnp.uint8)
    try:
        model = convert(logits_function(saved), inputs=[images], model_name=saved.name)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise UsageError(
            f"jax2onnx cannot convert this network: {type(error).__name__}: {lines[0]}"
        ) from error
    return bytes(model.SerializeToString())


def to_safetensors(saved: SavedRun) -> bytes:
    """All arrays that predict, by name, with what a user of them has to know as metadata.

    Raises:
        UsageError: if there is no safetensors.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise UsageError("there is no safetensors here; pip install 'cnn_jax[export]'") from error
    task = saved.task
    said = {
        "class_names": list(saved.class_names),
        "architecture": saved.config.to_json()["architecture"],
        "image_shape": task.image_shape,
        "mean": task.mean,
        "std": task.std,
        "output": saved.output,
    }
    return save(arrays(saved), {name: json.dumps(value) for name, value in said.items()})


def arrays(saved: SavedRun) -> dict[str, np.ndarray]:
    """All arrays that predict, by name: "conv1.conv.kernel"."""
    found = {}
    for tree in jax.device_get(saved.state.weights):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            words = [str(getattr(key, "key", key)) for key in path][1:]
            found[".".join(words)] = np.ascontiguousarray(leaf)
    return found


EXPORTERS: dict[str, Callable[[SavedRun], Any]] = {
    "stablehlo": to_stablehlo,
    "onnx": to_onnx,
    "safetensors": to_safetensors,
}
