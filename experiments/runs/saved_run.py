"""A run that has been trained: read back from its folder, for the programs that use one."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Float

from cnn_jax import compilation, data, training
from cnn_jax.analysis.evaluate import choose_thresholds
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.errors import UsageError
from cnn_jax.models import build_abstract
from cnn_jax.ops import CALIBRATED, LOSS_OUTPUT, OUTPUT_ACTIVATIONS
from cnn_jax.training import checkpoints
from cnn_jax.training.task import normalize

from ..flags import options
from .run_directory import CHECKPOINTS, CONFIG_FILE, FLAGS_FILE, first_difference, read_flags

FLAGS = flags.FLAGS
# The package of the programs, under whatever name it is installed.
_PROGRAMS = __name__.removesuffix("runs.saved_run")

# Each program names those it reads with flags.declare_key_flag.
flags.DEFINE_string("run", None, "The folder of a trained run, as train leaves it.")
flags.DEFINE_enum(
    "split", "test", ("train", "validation", "test"), "Which part of the data set to look at."
)
flags.DEFINE_integer("top", 5, "How many guesses to rank.", lower_bound=1)
flags.DEFINE_bool("json", False, "Print JSON and nothing else, for another program to read.")
flags.DEFINE_string("out", None, "The page to write; if not given, one in the folder of the run.")


class SavedRun(NamedTuple):
    """A trained network and all that is needed to use it.

    Attributes:
        path: folder of the run.
        choices: the options it was trained with, by name.
        config: its static choices.
        hparams: its numbers.
        dataset: what it was trained on, and the test split.
        validation: the examples held out, perhaps none.
        task: shape of the problem, and how images are normalized.
        run: its functions.
        state: after the last checkpoint.
    """

    path: Path
    choices: dict[str, Any]
    config: training.Config
    hparams: dict[str, float]
    dataset: data.Dataset
    validation: data.Split
    task: training.Task
    run: training.Run
    state: training.TrainState

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.resolve().name

    @property
    def output(self) -> str:
        """The name of the output activation that its loss goes with."""
        return "sigmoid" if self.task.multi_label else LOSS_OUTPUT[self.config.loss]

    @property
    def calibrated(self) -> bool:
        """Whether its outputs are meant as probabilities."""
        return self.config.loss in CALIBRATED

    def probabilities(self, logits: Float[Array, "n classes"]) -> Float[Array, "n classes"]:
        """What the output activation makes of logits."""
        return OUTPUT_ACTIVATIONS[self.output](logits)

    def split(self, name: str) -> data.Split:
        """The examples of "train", "validation" or "test".

        Raises:
            UsageError: if there are none.
        """
        dataset, validation = self.dataset, self.validation
        split = {"train": dataset.train, "validation": validation, "test": dataset.test}[name]
        if not len(split):
            raise UsageError(
                f"--split={name} has no examples: the run held none out; give another split"
            )
        return split

    @property
    def network(self) -> TrainedNetwork:
        """What pictures of the trained network are drawn from, with the weights that predict."""
        task, images = self.task, self.dataset.train.images
        model = build_abstract(self.config.architecture, task.image_shape, task.num_classes)
        return trained_network(model, self.state.weights, partial(normalize, task), images)


UNCALIBRATED = (
    "the loss of this run, {}, does not make its outputs probabilities: they rank the guesses, "
    "but their size does not measure"
)


def held_out(saved: SavedRun) -> tuple[np.ndarray, np.ndarray] | None:
    """Logits and labels of the run's validation split, if it has one."""
    if not len(saved.validation):
        return None
    images = training.to_device(saved.validation).images
    logits = np.asarray(compilation.jit(saved.run.predict)(saved.state, images))
    return logits, saved.validation.labels


def thresholds(saved: SavedRun) -> Float[np.ndarray, "l"]:
    """The probability from which on each label is said to be there.

    As in the report of the run: that of the highest F1 on the validation split, or else a half.
    """
    found = held_out(saved)
    if found is not None:
        found = np.asarray(saved.probabilities(jnp.asarray(found[0]))), found[1]
    return choose_thresholds(saved.dataset.num_classes, found)


def load() -> SavedRun:
    """The run that --run names.

    Raises:
        UsageError: if the folder holds no run, or one that cannot be restored.
    """
    if not FLAGS.run:
        raise UsageError("give --run=FOLDER, the folder of a run that train made")
    path = Path(FLAGS.run)
    if not path.is_dir():
        raise UsageError(f"--run={path} is not a folder; give the folder of a run")
    choices = read_choices(path)
    checkpoint = checkpoints.latest(path / CHECKPOINTS)
    if checkpoint is None:
        raise UsageError(f"the run in {path} has no checkpoint: it did not finish an epoch")
    config = options.read_config(choices)
    hparams = options.read_hparams(config, choices)
    _check_unchanged(path, options.every_choice(choices, config, hparams))
    dataset, validation = options.read_dataset(choices)
    task = options.read_task(dataset)
    run = training.make_run(config, task)
    state = _restore(checkpoint, run, hparams)
    return SavedRun(path, choices, config, hparams, dataset, validation, task, run, state)


def read_choices(path: Path) -> dict[str, Any]:
    """The options in the flags.txt of a run, by name, without setting any flag.

    Raises:
        UsageError: if there is no such file, or this version lacks an option or a value in it.
    """
    known = {flag.name: flag for flag in FLAGS.flags_by_module_dict()[options.__name__]}
    choices = {}
    for name, texts in read_flags(path, known).items():
        try:
            choices[name] = known[name].parser.parse(texts[-1])
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{path / FLAGS_FILE}: --{name}={texts[-1]} is not possible here: {error}"
            ) from error
    return choices


def _check_unchanged(path: Path, choices: Mapping[str, Any]) -> None:
    """Refuses a folder whose two records disagree: a shape would not tell one tanh from a relu."""
    if not (path / CONFIG_FILE).is_file():
        return
    if difference := first_difference(path, choices, only_common=True):
        name, stored, wanted = difference
        raise UsageError(
            f"the run in {path} was changed: {FLAGS_FILE} says {name}={wanted}, but "
            f"{CONFIG_FILE} {name}={stored}; put the file back as the run wrote it"
        )


def _restore(checkpoint: Path, run: training.Run, hparams: dict[str, float]) -> training.TrainState:
    traced = {name: jnp.float32(value) for name, value in hparams.items()}
    # On whatever device there is here, and not on that which the run was trained on.
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
        jax.eval_shape(run.init, traced, jax.random.key(0)),
    )
    state = checkpoints.restore(checkpoint, like)
    total = sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(state.params))
    if not math.isfinite(total):
        raise UsageError(
            f"the run of {checkpoint} diverged: its parameters are not finite; train it anew with "
            "a smaller --learning_rate"
        )
    return state


def write_page(path: Path, page: str) -> None:
    """Writes what --out names, or else a page in the folder of the run.

    Raises:
        UsageError: if it cannot be written there.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give another --out") from error


def check_flags(flag: str) -> None:
    """Refuses flags of other programs, which would have no effect.

    Args:
        flag: any flag that the program itself defines.

    Raises:
        UsageError: naming the first one given.
    """
    program = FLAGS.find_module_defining_flag(flag)
    read = {flag.name for flag in FLAGS.get_key_flags_for_module(program)}
    for module, defined in FLAGS.flags_by_module_dict().items():
        if not module.startswith((_PROGRAMS, "__main__")):
            continue
        for other in defined:
            if other.present and other.name not in read:
                raise UsageError(
                    f"--{other.name} has no effect here; the flags are "
                    + ", ".join(f"--{name}" for name in sorted(read))
                )
