"""A run that has been trained: read back from its folder, which is all that using it needs."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnn_jax import compilation, data, storage, training
from cnn_jax.analysis import live
from cnn_jax.analysis.evaluate import choose_thresholds
from cnn_jax.analysis.explain import TrainedNetwork
from cnn_jax.analysis.likeness import Likeness
from cnn_jax.errors import FIELD, FieldError, UsageError
from cnn_jax.extend import kept_files, load_file
from cnn_jax.ops import CALIBRATED, OUTPUT_ACTIVATIONS
from cnn_jax.studies import choices as of_run
from cnn_jax.studies import data_record
from cnn_jax.studies.data_record import DataRecord
from cnn_jax.studies.run_directory import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    FLAGS_FILE,
    HELD_OUT_FILE,
    LIKENESS_FILE,
    RESULT_FILE,
    first_difference,
    history_of,
    read_flags,
)
from cnn_jax.studies.sweep_directory import check_no_sweep
from cnn_jax.training import checkpoints


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A trained network and all that is needed to use it.

    Attributes:
        path: folder of the run.
        choices: the options it was trained with, by name.
        config: its static choices.
        hparams: its numbers.
        record: what it remembers of its data.
        run: its functions.
        state: after the last checkpoint.
        history: one record for each epoch up to it.
        place: where its data are now, if not where they were: "dataset" and the like.
    """

    path: Path
    choices: dict[str, Any]
    config: training.Config
    hparams: dict[str, float]
    record: DataRecord
    run: training.Run
    state: training.TrainState
    history: tuple[Mapping[str, float], ...]
    place: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.resolve().name

    @property
    def task(self) -> training.Task:
        """The shape of the problem, and how images are normalized."""
        return self.record.task

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each output."""
        return self.record.class_names

    @property
    def output(self) -> str:
        """The name of the output activation that its loss goes with."""
        return self.record.output(self.config.loss)

    @property
    def calibrated(self) -> bool:
        """Whether its outputs are meant as probabilities."""
        return self.config.loss in CALIBRATED

    def probabilities(self, logits: Float[Array, "n classes"]) -> Float[Array, "n classes"]:
        """What the output activation makes of logits."""
        return OUTPUT_ACTIVATIONS[self.output](logits)

    @cached_property
    def found(self) -> data_record.Found:
        """Its data, as they are now.

        Raises:
            UsageError: if they cannot be read.
        """
        given = self.choices | dict(self.place)
        rule = self.record.rule if self.record.splits else None
        try:
            pool = of_run.read_pool(given, rule=rule)
        except UsageError as error:
            raise UsageError(
                f"the data of the run in {self.path} cannot be read: {error}; where they are now "
                "can be said with --dataset"
            ) from error
        if not self.record.splits:
            dataset, validation = of_run.divide(pool, given)
            parts = {"train": dataset.train, "validation": validation, "test": dataset.test}
            return data_record.Found(parts, [])
        return data_record.find(self.record, pool)

    def split(self, name: str) -> data.Split:
        """The examples of "train", "validation" or "test", as they were, labels too.

        Raises:
            UsageError: if there are none, or not all of them are there any more.
        """
        splits, differences = self.found
        if name not in splits:
            raise UsageError(
                f"the data of the run in {self.path} are not what they were: "
                f"{'; '.join(differences)}; the {name} split cannot be put together again"
            )
        if not len(splits[name]):
            raise FieldError(
                f"{FIELD.split}={name} has no examples: the run held none out; give another split"
            )
        return splits[name]

    @property
    def dataset(self) -> data.Dataset:
        """What it was trained and tested on."""
        train, test = self.split("train"), self.split("test")
        known = self.record
        validation = self.found.splits.get("validation") if known.own_validation else None
        return data.Dataset(
            known.name, train, test, self.class_names, validation, known.notes, known.rule
        )

    @property
    def validation(self) -> data.Split:
        """The examples held out, perhaps none."""
        known = self.found.splits.get("validation")
        return self.split("validation") if known is None else known

    @property
    def network(self) -> TrainedNetwork:
        """What pictures of the trained network are drawn from, with the weights that predict."""
        return self.record.network(self.config.architecture, self.state.weights)

    @cached_property
    def temperature(self) -> float:
        """By which logits are divided to calibrate them: as fitted on validation, or 1."""
        file = self.path / RESULT_FILE
        result = json.loads(storage.read(file)) if storage.is_recorded(file) else {}
        same = result.get("tested_epoch", self.config.epochs) == int(self.state.epoch)
        return float(result.get("temperature", 1.0)) if same else 1.0

    @cached_property
    def likeness(self) -> Likeness | None:
        """What its training images look like to it, as the run wrote it down, or None."""
        file = self.path / LIKENESS_FILE
        if not storage.is_recorded(file):
            return None
        with np.load(io.BytesIO(storage.read(file)), allow_pickle=False) as arrays:
            same = int(arrays["epoch"]) == int(self.state.epoch)
            return Likeness(arrays["rows"], float(arrays["limit"])) if same else None

    def live(self, most: int) -> live.Live:
        """The network for a page to run, if its weights take no more than so many bytes there."""
        return live.in_page(
            self.network,
            self.record.style,
            self.record.rule,
            self.class_names,
            self.output,
            thresholds=self.thresholds.tolist() if self.task.multi_label else None,
            temperature=self.temperature,
            tta=self.config.tta,
            most=most,
        )

    @cached_property
    def held_out(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits and labels of the validation split, if it has one: as the run wrote them down."""
        file = self.path / HELD_OUT_FILE
        if storage.is_recorded(file):
            try:
                with np.load(io.BytesIO(storage.read(file)), allow_pickle=False) as arrays:
                    if int(arrays["epoch"]) == int(self.state.epoch):
                        return arrays["logits"], arrays["labels"]
            except UsageError:
                raise
            except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise UsageError(f"{file} is damaged: {error}; put it back") from error
        validation = self.validation
        if not len(validation):
            return None
        images = training.to_device(validation).images
        logits = np.asarray(compilation.jit(self.run.predict)(self.state, images))
        return logits, validation.labels

    @property
    def thresholds(self) -> Float[np.ndarray, "l"]:
        """The probability from which on each label is said to be there.

        As in the report of the run: that of the highest F1 on validation, or else a half.
        """
        found = self.held_out
        if found is not None:
            found = np.asarray(self.probabilities(jnp.asarray(found[0]))), found[1]
        return choose_thresholds(self.task.num_classes, found)


def load_run(path: Path, place: Mapping[str, Any] | None = None) -> SavedRun:
    """The run in a folder; its data are read when they are asked for.

    Args:
        path: of the folder.
        place: where its data are now, by the names of these options.

    Raises:
        UsageError: if the folder holds no run, or one that cannot be restored.
    """
    check_no_sweep(path)
    files = [load_file(file) for file in kept_files(path)]
    choices = read_choices(path)
    best = of_run.value_of(choices, "keep_epoch") == "best"
    folder = path / (BEST if best else CHECKPOINTS)
    checkpoint = checkpoints.read_latest(folder)
    if checkpoint is None:
        raise UsageError(
            f"the run in {path} has no checkpoint in {folder}: it did not finish an epoch, or the "
            "file is missing"
        )
    config = of_run.read_config(choices)
    hparams = of_run.read_hparams(config, choices)
    check_unchanged(path, of_run.every_choice(choices, config, hparams, files))
    record = data_record.read_record(path)
    if record is None:
        record = _remember(choices | dict(place or {}))
    run = training.make_run(config, record.task)
    state = _restore(checkpoint, run, hparams)
    history = history_of(checkpoint)
    return SavedRun(path, choices, config, hparams, record, run, state, history, place or {})


def read_choices(path: Path) -> dict[str, Any]:
    """The options in the flags.txt of a run, by name.

    Raises:
        UsageError: if there is no such file, or this version lacks an option or a value in it.
    """
    choices = {}
    for name, texts in read_flags(path, {*of_run.known_choices(), "extend"}).items():
        if name != "extend":
            try:
                choices[name] = of_run.parse(name, texts[-1])
            except (TypeError, ValueError) as error:
                raise UsageError(
                    f"{path / FLAGS_FILE}: --{name}={texts[-1]} is not possible here: {error}"
                ) from error
    return choices


def _remember(choices: dict[str, Any]) -> DataRecord:
    """The record of a run of an older version, from its data as they are now."""
    pool = of_run.read_pool(choices)
    dataset, validation = of_run.divide(pool, choices)
    found = data_record.describe(pool, dataset, validation, of_run.read_task(dataset))
    return replace(found, splits={})


def check_unchanged(path: Path, choices: Mapping[str, Any]) -> None:
    """Refuses a folder whose two records disagree: a shape would not tell one tanh from a relu.

    Raises:
        UsageError: naming what they disagree on.
    """
    if not storage.is_recorded(path / CONFIG_FILE):
        return
    if difference := first_difference(path, choices, only_common=True):
        name, stored, wanted = difference
        raise UsageError(
            f"the run in {path} was changed: {FLAGS_FILE} says {name}={wanted}, but "
            f"{CONFIG_FILE} {name}={stored}; put the file back as the run wrote it"
        )


def _restore(
    checkpoint: checkpoints.Checkpoint, run: training.Run, hparams: dict[str, float]
) -> training.TrainState:
    traced = {name: jnp.float32(value) for name, value in hparams.items()}
    # On whatever device there is here, and not on that which the run was trained on.
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
        jax.eval_shape(run.init, traced, jax.random.key(0)),
    )
    state = checkpoint.restore(like)
    total = sum(float(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(state.params))
    if not math.isfinite(total):
        raise FieldError(
            f"the run of {checkpoint.path} diverged: its parameters are not finite; train it anew "
            f"with a smaller {FIELD.learning_rate}"
        )
    return state
