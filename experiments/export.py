"""Writes a trained network for other programs: `python -m experiments.export --run=DIR`.

--to=stablehlo writes an artifact that JAX alone runs, on CPU, GPU and TPU; --to=onnx a model for
ONNX runtimes; --to=safetensors the weights by name. The first two take images as bytes, in batches
of any size, and give logits: normalization is inside.
"""

from absl import flags

from cnn_jax.studies.exporting import EXPORTERS

from .launch import launch, terminal
from .output import file_for
from .runs import saved_run

FLAGS = flags.FLAGS
for _name in ("run", "out", "extend"):
    flags.declare_key_flag(_name)
flags.DEFINE_enum("to", "stablehlo", list(EXPORTERS), "The format of the file.")

_USE = {
    "stablehlo": """import jax.export, numpy as np
model = jax.export.deserialize(bytearray(open("{path}", "rb").read()))
logits = model.call(np.zeros((2, {shape}), np.uint8))""",
    "onnx": """import onnxruntime, numpy as np
model = onnxruntime.InferenceSession("{path}")
(logits,) = model.run(None, {{model.get_inputs()[0].name: np.zeros((2, {shape}), np.uint8)}})""",
    "safetensors": """from safetensors.numpy import load_file
weights = load_file("{path}")
print({{name: array.shape for name, array in weights.items()}})""",
}


def main() -> None:
    """Exports as the flags say."""
    saved_run.check_flags(main)
    saved = saved_run.load()
    path = file_for("out", FLAGS.out or saved.path / f"model.{FLAGS.to}")
    console = terminal()
    with console.status("exporting"):
        content = EXPORTERS[FLAGS.to](saved)
    saved_run.write_page(path, content)
    console.print(
        f"{FLAGS.to}: {path} ({len(content) / 1e6:.1f} MB); what runs it:\n", markup=False
    )
    shape = ", ".join(map(str, saved.task.image_shape))
    # As it is: brackets are no markup.
    console.print(_USE[FLAGS.to].format(path=path, shape=shape), markup=False)
    if FLAGS.to != "safetensors":
        console.print(f"\nThe classes are {', '.join(saved.class_names)}.", markup=False)


if __name__ == "__main__":
    launch(main)
