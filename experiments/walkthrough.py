"""Builds the lecture as one page: `python -m experiments.walkthrough --out=walkthrough.html`.

Every station is computed anew. Two small networks are trained on the spot, on drawn faces and on
handwritten digits; with --run=DIR the ranked guesses are those of that run instead.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console

from cnn_jax import compilation, data, training
from cnn_jax.analysis.explain import trained_network
from cnn_jax.analysis.live import in_page
from cnn_jax.analysis.pictures import learn_style
from cnn_jax.analysis.walkthrough import Trained, render_walkthrough
from cnn_jax.data.faces import LABELS, make_faces
from cnn_jax.models import Architecture, build_abstract, count_parameters
from cnn_jax.ops import CALIBRATED, OUTPUT_ACTIVATIONS
from cnn_jax.studies.choices import read_task
from cnn_jax.studies.saved_run import SavedRun
from cnn_jax.training.task import normalize

from .flags import page_weights
from .launch import launch, terminal
from .output import file_for
from .runs import saved_run

FLAGS = flags.FLAGS
for _name in ("run", "out", "extend", "page_weights"):
    flags.declare_key_flag(_name)
flags.DEFINE_integer(
    "examples",
    6000,
    "How many images each of the small networks is trained on.",
    lower_bound=100,
    upper_bound=60_000,
)

PAGE = "walkthrough.html"
_FACES = training.Config(
    Architecture(filters=(8, 16), hidden=(32,)), schedule="cosine", batch_size=50, epochs=6
)
_DIGITS = training.Config(Architecture(model="lenet5"), schedule="cosine", batch_size=50, epochs=4)
_LEARNING_RATE = 3e-3
_TEST_FACES = 1000


def main() -> None:
    """Builds the page as the flags say."""
    saved_run.check_flags(main)
    page_weights.most_bytes()
    console = terminal()
    start = time.perf_counter()
    saved = saved_run.load() if FLAGS.run else None
    path = file_for("out", FLAGS.out or Path("." if saved is None else saved.path, PAGE))
    guesser = _learn(console, digits(FLAGS.examples), _DIGITS) if saved is None else _of_run(saved)
    smiles = _learn(console, faces(FLAGS.examples), _FACES)
    with console.status("computing the stations"):
        page = render_walkthrough(_smile_first(smiles), guesser)
    saved_run.write_page(path, page)
    seconds = time.perf_counter() - start
    console.print(
        f"page: {path} ({len(page.encode()) / 1e6:.1f} MB, {seconds:.0f} s)", markup=False
    )


def digits(examples: int) -> data.Dataset:
    """The embedded MNIST, with so many of its training images."""
    mnist = data.load("mnist")
    return replace(mnist, train=data.take(mnist.train, examples, 0))


def faces(examples: int) -> data.Dataset:
    """Drawn faces, and of their labels only whether they smile."""
    drawn = make_faces(examples, _TEST_FACES)
    smiling = LABELS.index("smiling")
    train, test = (
        data.Split(split.images, split.labels[:, smiling].astype(np.int32))
        for split in (drawn.train, drawn.test)
    )
    return data.Dataset("drawn faces", train, test, ("no smile", "smile"))


def _learn(console: Console, dataset: data.Dataset, config: training.Config) -> Trained:
    """A small network, trained now, and what it says of the test images."""
    task = read_task(dataset)
    train = training.to_device(dataset.train)
    start = time.perf_counter()
    with console.status(f"training on {dataset.name}"):
        *_, end = training.fit(config, task, train, chosen={"learning_rate": _LEARNING_RATE})
        learned = _trained(config, dataset, task, end.state, "softmax")
    seconds = time.perf_counter() - start
    console.print(
        f"{seconds:5.1f} s  {config.architecture.model} on {len(dataset.train):,} {dataset.name}"
    )
    return learned


def _of_run(saved: SavedRun) -> Trained:
    """A trained run, and what it says of the test images."""
    saved.split("test")
    return _trained(saved.config, saved.dataset, saved.task, saved.state, saved.output)


def _trained(
    config: training.Config,
    dataset: data.Dataset,
    task: training.Task,
    state: training.TrainState,
    output: str,
) -> Trained:
    """A network, and what it says of the test images; `output` is its output activation."""
    test = dataset.test
    logits = compilation.jit(training.make_run(config, task).predict)(
        state, jnp.asarray(test.images)
    )
    model = build_abstract(config.architecture, task.image_shape, task.num_classes)
    style = learn_style(dataset.train.images)
    network = trained_network(model, state.weights, partial(normalize, task), style)
    return Trained(
        config.architecture.model,
        dataset.name,
        len(dataset.train),
        dataset.class_names,
        network.tapped(network.weights),
        network.normalize,
        count_parameters(model, dataset.image_shape),
        test.images,
        test.labels,
        np.asarray(OUTPUT_ACTIVATIONS[output](logits)),
        config.loss in CALIBRATED,
        in_page(
            network,
            style,
            dataset.rule,
            dataset.class_names,
            output,
            most=page_weights.most_bytes(),
        ),
    )


def _smile_first(smiles: Trained) -> Trained:
    """The same with the smile of most contrast in the first place, for the page to look at."""
    contrast = np.std(smiles.images, axis=(1, 2, 3))
    smiling = smiles.labels == smiles.class_names.index("smile")
    order = np.argsort(-contrast * smiling, kind="stable")
    return smiles._replace(
        images=smiles.images[order],
        labels=smiles.labels[order],
        probabilities=smiles.probabilities[order],
    )


if __name__ == "__main__":
    launch(main)
