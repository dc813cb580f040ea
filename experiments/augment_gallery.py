"""Draws what augmentations do to real images: `python -m experiments.augment_gallery`.

Every augmentation with its defaults, or with --augment each one of that text.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from cnn_jax import data, storage
from cnn_jax.ops import augment
from cnn_jax.ops.augment import AUGMENTATIONS, AugmentationCall
from cnn_jax.studies.choices import read_config, read_dataset

from .flags import options
from .launch import launch, terminal
from .output import DRAWINGS, file_for

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(options)
flags.DEFINE_string("out", "augmentations.png", "The picture to write: .png, .svg or .pdf.")
flags.DEFINE_integer("originals", 2, "How many images are augmented.", lower_bound=1)
flags.DEFINE_integer("draws", 5, "How often each.", lower_bound=1)


def main() -> None:
    """Draws the gallery."""
    from cnn_jax.analysis.charts import augmentation_rows

    out = file_for("out", FLAGS.out, DRAWINGS)
    choices = options.given()
    config = read_config(choices)
    dataset, _ = read_dataset(choices)
    split = data.take(dataset.train, FLAGS.originals * dataset.num_classes, FLAGS.seed)
    images, labels = split.images[: FLAGS.originals], split.labels[: FLAGS.originals]
    text = choices.get("augment", "")
    gray = dataset.image_shape[2] == 1
    fit = [name for name, entry in AUGMENTATIONS.items() if not (gray and entry.color)]
    calls = augment.parse(text) if config.augment else [augment.parse(name)[0] for name in fit]
    drawn = {_name(call, text): _draw(call, images, labels, dataset.num_classes) for call in calls}
    figure, kind = augmentation_rows(images, drawn), out.suffix[1:]
    storage.write(out, lambda file: figure.savefig(file, format=kind, dpi=130, bbox_inches="tight"))
    terminal().print(f"picture: {out}", markup=False)


def _name(call: AugmentationCall, text: str) -> str:
    """As it was asked for, or else with the strength that is its default."""
    strength = "".join(f":{value:.3g}" for value in call.values[:1] if not isinstance(value, str))
    asked = (part.strip() for part in re.split(r"[,+]", text))
    named = (part for part in asked if part.partition(":")[0].strip() == call.name)
    return next(named, f"{call.name}{strength}")


def _draw(
    call: AugmentationCall, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> list[np.ndarray]:
    """For each image its draws: those of as many epochs."""
    targets = jax.nn.one_hot(labels, num_classes)
    floats = jnp.asarray(images) / 255
    key = jax.random.key(FLAGS.seed)

    def epoch(number: jax.Array) -> jax.Array:
        return augment.apply([call], key, floats, targets, epoch=number)[0]

    draws = jax.lax.map(epoch, jnp.arange(FLAGS.draws))
    return list(np.asarray(jnp.round(255 * draws)).astype(np.uint8).swapaxes(0, 1))


if __name__ == "__main__":
    launch(main)
