"""Trials of a sweep kept as runs of their own, and how each is trained alone.

A kept trial lies in `kept/`, below the folder of its sweep, as `train` would have left it but for
the report. What all trials of a data set share is there once, as links to the same file.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal, get_args

from cnn_jax import storage
from cnn_jax.analysis import answers
from cnn_jax.analysis.statistics import wilson_interval
from cnn_jax.extend import ExtensionFile, kept_paths, loaded_files
from cnn_jax.studies import choices as of_run
from cnn_jax.studies.axes import Study, trial_choices
from cnn_jax.studies.data_record import DATA_FILE, EXAMPLES_FILE, record_folders
from cnn_jax.studies.lone_run import ANSWERS_FILE, METRICS_FILE, TIMINGS_FILE
from cnn_jax.studies.planning import CellPlan, Prepared
from cnn_jax.studies.run_directory import RESULT_FILE, RunDirectory
from cnn_jax.studies.sweep_directory import KEPT_TRIALS
from cnn_jax.training import Config, TrainState
from cnn_jax.training.config import AUGMENT_PREFIX
from cnn_jax.training.grid import UNREAD, Trial
from cnn_jax.training.processes import is_first

Which = Literal["chosen", "best", "all", "none"]
WHICH: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True)
class Keeper:
    """Which trials of a sweep are kept, and where.

    Attributes:
        sweep: its folder.
        prepared: the study with its data.
        which: "chosen" values of every row with all seeds, of every row the "best" of these on
            validation, "all" that were trained to their end, or "none".
        train: how the program that trains one run is started.
        files: of functions from outside; those that were read if None.
    """

    sweep: Path
    prepared: Prepared
    which: Which = "none"
    train: str = "cnn_jax train"
    files: Sequence[ExtensionFile] | None = None

    def wanted(self, trials: Sequence[Trial]) -> list[int]:
        """Of the trials of a cell those to keep, as indices."""
        ended = [
            index
            for index, trial in enumerate(trials)
            if trial.status == "finished" and trial.source is None
        ]
        if self.which == "none":
            return []
        if self.which == "all":
            return ended
        chosen = [index for index in ended if trials[index].chosen]
        if self.which == "chosen":
            return chosen
        best: dict[int, int] = {}
        for index in chosen:
            row = trials[index].variant
            if row not in best or _score(trials[index]) > _score(trials[best[row]]):
                best[row] = index
        return list(best.values())

    def settle(self, trials: Sequence[Trial]) -> None:
        """Takes away again, of the best, what was the best of its cell and round only."""
        if self.which != "best" or not is_first():
            return
        folders = [folder_of(self.sweep, self.prepared.study, trial) for trial in trials]
        for folder in {*folders} - {folders[index] for index in self.wanted(trials)}:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, plan: CellPlan, trial: Trial, state: TrainState) -> None:
        """Writes a trial down as a run; what lies there already was of an interrupted sweep."""
        choices = trial_choices(self.prepared.study, trial)
        config = of_run.read_config(choices)
        hparams = of_run.read_hparams(config, choices)
        files = loaded_files() if self.files is None else self.files
        path = folder_of(self.sweep, self.prepared.study, trial)
        if is_first():
            shutil.rmtree(path, ignore_errors=True)
        directory = RunDirectory(path)
        kept = kept_paths(path, [file.name for file in files])
        loaded = self.prepared.loaded
        number = next(i for i, each in enumerate(loaded) if each is plan.loaded)
        records = record_folders(self.sweep, len(loaded))[number]
        if is_first():
            for name in (EXAMPLES_FILE, DATA_FILE):
                storage.link(records / name, path / name)
        images, seconds = len(plan.loaded.dataset.train), trial.seconds / len(trial.history)
        pace = {"seconds": seconds, "images_per_second": images / seconds}
        timings = [{"epoch": row["epoch"]} | pace for row in trial.history]
        directory.set_lines(METRICS_FILE, trial.history)
        directory.set_lines(TIMINGS_FILE, timings)
        directory.save(state, {"history": trial.history, "timings": timings})
        if trial.test_accuracy is not None:
            directory.write_json(RESULT_FILE, self._result(plan, trial))
        if trial.right is not None:
            right = answers.unpack(trial.right, len(plan.loaded.dataset.test))
            directory.write_arrays(ANSWERS_FILE, {"right": right}, compressed=True)
        # Last: without its flags.txt a folder is no run.
        directory.create(
            flagfile(choices, config, hparams, kept),
            of_run.every_choice(choices, config, hparams, files),
            self._command(choices, files),
            files,
        )

    def command(self, trial: Trial) -> str:
        """The command that trains a trial alone."""
        files = loaded_files() if self.files is None else self.files
        return self._command(trial_choices(self.prepared.study, trial), files)

    def _command(self, choices: Mapping[str, Any], files: Sequence[ExtensionFile]) -> str:
        flags = [
            f"--extend={path}" for path in kept_paths(self.sweep, [file.name for file in files])
        ]
        flags += [flag_text(name, value) for name, value in sorted(choices.items())]
        return " ".join([self.train, *map(quote, flags)])

    def _result(self, plan: CellPlan, trial: Trial) -> dict[str, Any]:
        count = len(plan.loaded.dataset.test)
        assert trial.test_accuracy is not None
        return {
            "status": trial.status,
            "test_accuracy": trial.test_accuracy,
            "test_accuracy_interval_95": list(
                wilson_interval(round(trial.test_accuracy * count), count)
            ),
            "test_loss": trial.test_loss,
            "test_examples": count,
            "train_seconds": trial.seconds,
        }


def folder_of(sweep: Path, study: Study, trial: Trial) -> Path:
    """Where a trial is kept: its row, its values and its seed."""
    values = [value for value in study.grid.variants[trial.variant].values() if value != UNREAD]
    values += [f"{name}={value:g}" for name, value in trial.tuned.items()]
    words = [re.sub(r"[^\w.+=]+", "_", word).strip("_")[:40] for word in values]
    return sweep / KEPT_TRIALS / "-".join([f"{trial.variant:02d}", *words, f"seed{trial.seed}"])


def _score(trial: Trial) -> float:
    last = trial.history[-1]
    return last.get("validation_accuracy", last["train_accuracy"])


def flagfile(
    choices: Mapping[str, Any],
    config: Config,
    hparams: Mapping[str, float],
    kept: Sequence[Path] = (),
) -> str:
    """A flagfile that repeats a run, where its data have a name.

    Args:
        choices: that were given.
        config: what they say.
        hparams: likewise.
        kept: the files of functions from outside.
    """
    unread = of_run.of_other_models(config.architecture.model)
    names = (*of_run.DATA, *of_run.FIELDS, *of_run.OF_RUN, "augment", "seed")
    values = {name: of_run.value_of(choices, name) for name in names}
    values |= dict(hparams) | dict(config.architecture.numbers)
    values |= {"loss": config.loss, "precision": config.precision}
    lines = [f"--extend={path}" for path in kept]
    lines += [
        flag_text(name, value)
        for name, value in sorted(values.items())
        if value is not None and name not in unread and not name.startswith(AUGMENT_PREFIX)
    ]
    return "\n".join(lines) + "\n"


def flag_text(name: str, value: Any) -> str:
    """A choice as a flag."""
    if isinstance(value, bool):
        return f"--{'' if value else 'no'}{name}"
    if isinstance(value, tuple | list):
        return f"--{name}={','.join(map(_item, value))}"
    return f"--{name}={value}"


def _item(value: Any) -> str:
    return ":".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
