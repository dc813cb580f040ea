"""Looks into a trained run: `python -m experiments.explain --run=DIR --images=3,17,256`.

Writes one page: the filters of the first layer, feature maps, what in an image speaks for a class,
the image each class asks for, nearest training images, confident mistakes, and images it is torn
on. The images are some of the data set (--images, or --count drawn by --seed), or picture files:
`python -m experiments.explain --run=DIR photo.png`.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from rich.console import Console

from cnn_jax import data
from cnn_jax.analysis import explain_page, pictures
from cnn_jax.analysis.explain_sections import Chosen, Labeled, Subject
from cnn_jax.errors import UsageError
from cnn_jax.training.run import normalize
from experiments import saved_run
from experiments.launch import launch, terminal
from experiments.picture_files import Skipped, find_pictures, read_picture, true_class
from experiments.saved_run import SavedRun

FLAGS = flags.FLAGS
for _name in ("run", "split", "out", "seed", "invert"):
    flags.declare_key_flag(_name)
flags.DEFINE_list("images", None, "Which images of the split to explain, by their number from 0.")
flags.DEFINE_integer(
    "count", 6, "How many images to draw where none are named.", lower_bound=1, upper_bound=50
)
flags.DEFINE_string(
    "target", None, "The class whose evidence is shown; each image's first guess if not given."
)

PAGE = "explain.html"
# Explaining takes a row of the page for each.
_MOST = 50


def main(paths: list[str]) -> None:
    """Explains as the flags say."""
    saved_run.check_flags("target")
    if paths and (FLAGS.images or FLAGS["count"].present):
        raise UsageError("--images and --count are for images of the data set; leave out the files")
    if FLAGS.images and FLAGS["count"].present:
        raise UsageError("--images names the images and --count draws some; give one of them")
    console = terminal()
    start = time.perf_counter()
    with console.status("reading the run"):
        saved = saved_run.load()
        saved_run.require_one_class(saved)
    target = _class_number(FLAGS.target, saved.dataset.class_names) if FLAGS.target else None
    split = saved.split(FLAGS.split)
    style = pictures.learn_style(saved.dataset.train.images)
    images, labels, names = (
        read_files(paths, saved.dataset.class_names, style) if paths else pick(split)
    )
    predict = jax.jit(lambda state, images: saved.probabilities(saved.run.predict(state, images)))
    with console.status("predicting"):
        ours = np.asarray(predict(saved.state, images))
        theirs = np.asarray(predict(saved.state, split.images))
    targets = ours.argmax(1) if target is None else np.full(len(images), target)
    chosen = Chosen(images, labels, names, targets.astype(np.int32))
    subject = _subject(saved, chosen, split, theirs, style)
    page = _explain(console, saved, subject)
    path = Path(FLAGS.out or saved.path / PAGE)
    try:
        path.write_text(page)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give another --out") from error
    console.print(f"page: {path} ({time.perf_counter() - start:.0f} s)")


def pick(split: data.Split) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images, labels and names of those that --images names, or of some drawn at random.

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
    return split.images[numbers], split.labels[numbers], names


def read_files(
    paths: list[str], class_names: tuple[str, ...], style: pictures.Style
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images, labels (of the folder's name, or -1) and names of picture files.

    Raises:
      UsageError: if none of them can be read.
    """
    skipped = Skipped()
    images, labels, names = [], [], []
    for path in find_pictures(paths, skipped):
        fitted = read_picture(path, style)
        if isinstance(fitted, str):
            skipped.add(path, fitted)
            continue
        images.append(fitted.image)
        known = true_class(path, class_names)
        labels.append(-1 if known is None else class_names.index(known))
        names.append(path.name)
        if len(images) > _MOST:
            raise UsageError(f"more than {_MOST} pictures do not fit a page; give fewer")
    if not images:
        skipped.fail()
    skipped.tell()
    return np.stack(images), np.array(labels), names


def _subject(
    saved: SavedRun,
    chosen: Chosen,
    split: data.Split,
    probabilities: np.ndarray,
    style: pictures.Style,
) -> Subject:
    # Nothing to see is the ground that all training images share, or else their mean color.
    level = None if style.frame is None else np.full((1, 1, 1, 1), style.frame.level)
    blank = (
        jnp.zeros(saved.task.image_shape[2])
        if level is None
        else normalize(saved.task, jnp.asarray(level, jnp.float32))[0, 0, 0]
    )
    train = saved.dataset.train
    return Subject(
        saved.network(),
        saved.state,
        lambda images: normalize(saved.task, images),
        blank,
        saved.dataset.class_names,
        chosen,
        Labeled(train.images, train.labels),
        Labeled(split.images, split.labels),
        probabilities,
    )


def _explain(console: Console, saved: SavedRun, subject: Subject) -> str:
    parts = []
    todo = explain_page.sections(subject)
    while True:
        start = time.perf_counter()
        with console.status("explaining"):
            part = next(todo, None)
        if part is None:
            break
        console.print(f"{time.perf_counter() - start:5.1f} s  {part.title}")
        parts.append(part)
    right = np.mean(subject.probabilities.argmax(1) == subject.split.labels)
    facts: dict[str, Any] = {
        "Run": saved.path.resolve().name,
        "Accuracy": f"{right:.2%} of {FLAGS.split}",
        "Explained": f"{len(subject.chosen.names)} images",
        "Epochs trained": str(saved.state.epoch),
    }
    if not saved.calibrated:
        facts["Outputs"] = "rank, but are no probabilities"
    title = saved.config.architecture.model, saved.dataset.name
    return explain_page.render_page(parts, title=title, facts=facts)


def _class_number(name: str, class_names: tuple[str, ...]) -> int:
    if name not in class_names:
        some = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
        raise UsageError(f"--target={name} is not a class; the classes are {some}")
    return class_names.index(name)


if __name__ == "__main__":
    launch(main, takes_paths=True)
