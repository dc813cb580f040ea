"""Looks into a trained run: `python -m experiments.explain --run=DIR --images=3,17,256`.

Writes one page: the filters of the first layer, feature maps, what in an image speaks for a class,
the image each class asks for, nearest training images, confident mistakes, and images it is torn
on. The images are some of the data set (--images, or --count drawn by --seed), or picture files:
`python -m experiments.explain --run=DIR photo.png`.
"""

import time
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Float, Int
from rich.console import Console
from rich.text import Text

from cnn_jax import compilation, data
from cnn_jax.analysis.evaluate import EVEN
from cnn_jax.analysis.explain import (
    Chosen,
    Labeled,
    Subject,
    contributions,
    make_sections,
    render_explanations,
)
from cnn_jax.analysis.predictions import top_guesses, true_names
from cnn_jax.errors import UsageError
from cnn_jax.studies.choices import PLACE
from cnn_jax.studies.saved_run import SavedRun

from .flags import page_weights
from .launch import launch, terminal
from .output import file_for
from .runs import saved_run
from .runs.picture_files import Skipped, find_pictures, read_fitted, true_class

FLAGS = flags.FLAGS
for _name in ("run", "split", "out", "seed", "invert", "extend", "page_weights", *sorted(PLACE)):
    flags.declare_key_flag(_name)
flags.DEFINE_list("images", None, "Which images of the split to explain, by their number from 0.")
flags.DEFINE_integer(
    "count", 6, "How many images to draw where none are named.", lower_bound=1, upper_bound=50
)
flags.DEFINE_string(
    "target",
    None,
    "The class whose evidence is shown; each image's first guess if not given. Of several labels "
    "an image, the label; the most probable ones if not given.",
)

PAGE = "explain.html"
# Explaining takes a row of the page for each image; or for each of so many labels of it.
_MOST = 50
_MOST_LABELS = 6


def main(paths: list[str]) -> None:
    """Explains as the flags say."""
    saved_run.check_flags(main)
    page_weights.most_bytes()
    if paths and (FLAGS.images or FLAGS["count"].present):
        raise UsageError("--images and --count are for images of the data set; leave out the files")
    if FLAGS.images and FLAGS["count"].present:
        raise UsageError("--images names the images and --count draws some; give one of them")
    console = terminal()
    start = time.perf_counter()
    with console.status("reading the run"):
        saved = saved_run.load(*sorted(PLACE))
    path = file_for("out", FLAGS.out or saved.path / PAGE)
    target = _class_number(FLAGS.target, saved.class_names) if FLAGS.target else None
    train, split, gone = _examples(saved, bool(paths))
    images, truths, names = read_files(paths, saved) if paths else pick(split, saved.class_names)
    predict = compilation.jit(
        lambda state, images: saved.probabilities(
            saved.run.predict(state, images) / saved.temperature
        )
    )
    with console.status("predicting"):
        # One call, and so one program.
        both = np.asarray(predict(saved.state, np.concatenate([images, split.images])))
    ours, theirs = both[: len(images)], both[len(images) :]
    targets = _targets(ours, target, saved.task.multi_label)
    network = saved.network
    subject = Subject(
        network,
        contributions(network),
        saved.class_names,
        Chosen(images, truths, names, ours, targets),
        Labeled(train.images, train.labels),
        Labeled(split.images, split.labels),
        theirs,
        saved.thresholds if saved.task.multi_label else None,
        gone=gone,
    )
    page = _explain(console, saved, subject)
    saved_run.write_page(path, page)
    console.print(f"page: {path} ({time.perf_counter() - start:.0f} s)", markup=False)


def _examples(saved: SavedRun, pictures: bool) -> tuple[data.Split, data.Split, str]:
    """The training split and that of --split; where pictures will do, none if they are gone.

    Returns:
        Both, and why they are empty.
    """
    try:
        return saved.split("train"), saved.split(FLAGS.split), ""
    except UsageError as error:
        if not pictures or FLAGS["split"].present:
            raise
        shape = (0, *saved.task.image_shape)
        labels = (0, saved.task.num_classes) if saved.task.multi_label else (0,)
        none = data.Split(np.zeros(shape, np.uint8), np.zeros(labels, np.int32))
        return none, none, str(error)


def _targets(
    probabilities: Float[np.ndarray, "n outputs"], target: int | None, multi_label: bool
) -> Int[np.ndarray, "n t"]:
    """The outputs of each image whose evidence is shown."""
    if target is not None:
        return np.full((len(probabilities), 1), target)
    # The most probable labels, in their own order, which is the same for every image.
    return np.sort(top_guesses(probabilities, _MOST_LABELS if multi_label else 1), axis=1)


def pick(
    split: data.Split, class_names: tuple[str, ...]
) -> tuple[np.ndarray, list[str | None], list[str]]:
    """Images, true classes and names of those that --images names, or of some drawn at random.

    Raises:
        UsageError: if the split has no such image.
    """
    if FLAGS.images:
        words = [word.strip() for word in FLAGS.images]
        wrong = [w for w in words if not (w.isdecimal() and int(w) < len(split))]
        if wrong or not 1 <= len(words) <= _MOST:
            raise UsageError(
                f"--images must be 1 to {_MOST} numbers from 0 to {len(split) - 1}, got "
                + (repr(wrong[0]) if wrong else f"{len(words)} of them")
            )
        numbers = np.array(list(map(int, words)))
    else:
        rng = np.random.default_rng(FLAGS.seed)
        numbers = np.sort(rng.permutation(len(split))[: FLAGS.count])
    names = [f"{FLAGS.split} image {number}" for number in numbers]
    truths: list[str | None] = [true_names(label, class_names) for label in split.labels[numbers]]
    return split.images[numbers], truths, names


def read_files(paths: list[str], saved: SavedRun) -> tuple[np.ndarray, list[str | None], list[str]]:
    """Images, true classes (the folder's name, where it is one) and names of picture files.

    Raises:
        UsageError: if none of them can be read.
    """
    skipped = Skipped()
    images, truths, names = [], [], []
    for path in find_pictures(paths, skipped):
        fitted = read_fitted(path, saved.record)
        if isinstance(fitted, str):
            skipped.add(path, fitted)
            continue
        images.append(fitted.image)
        truths.append(true_class(path, saved))
        names.append(path.name)
        if len(images) > _MOST:
            raise UsageError(f"more than {_MOST} pictures do not fit a page; give fewer")
    if not images:
        skipped.fail()
    skipped.tell()
    return np.stack(images), truths, names


def _explain(console: Console, saved: SavedRun, subject: Subject) -> str:
    parts = []
    with console.status("explaining"):
        start = time.perf_counter()
        for part in make_sections(subject):
            console.print(f"{time.perf_counter() - start:5.1f} s  {part.title}", markup=False)
            parts.append(part)
            start = time.perf_counter()
    if subject.gone:
        console.print(Text(f"no training images: {subject.gone}", style="yellow"))
    right = (
        subject.probabilities.argmax(1) == subject.split.labels
        if subject.thresholds is None
        else (subject.probabilities >= EVEN) == subject.split.labels
    )
    facts: dict[str, Any] = {
        "Run": saved.name,
        "Accuracy" if subject.thresholds is None else "Labels right": (
            f"{np.mean(right):.2%} of {FLAGS.split}" if right.size else "unknown: no examples"
        ),
        "Explained": f"{len(subject.chosen.names)} images",
        "Epochs trained": str(saved.state.epoch),
    }
    if not saved.calibrated:
        facts["Outputs"] = "rank, but are no probabilities"
    title = saved.config.architecture.model, saved.record.name
    alive = saved.live(page_weights.most_bytes())
    return render_explanations(parts, title=title, facts=facts, live=alive)


def _class_number(name: str, class_names: tuple[str, ...]) -> int:
    if name not in class_names:
        some = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
        raise UsageError(f"--target={name} is not one of the run's; there are {some}")
    return class_names.index(name)


if __name__ == "__main__":
    launch(main, takes_paths=True)
