"""Trains one network from Python, or reads one back."""

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_jax import storage
from cnn_jax.api._arguments import (
    check_compiler,
    data_by_name,
    named,
    new_directory,
    read_choices,
    share_devices,
    start_of,
    used_files,
    used_functions,
)
from cnn_jax.api._progress import progress_bar
from cnn_jax.api._run import TrainedRun, begin, finish
from cnn_jax.api._values import ArgumentError, path_of
from cnn_jax.data.arrays import kind_of
from cnn_jax.studies.axes import lone_study
from cnn_jax.studies.lone_run import Keep, LoneRun, read_test_split
from cnn_jax.studies.planning import prepare
from cnn_jax.studies.run_directory import RESULT_FILE
from cnn_jax.studies.saved_run import SavedRun
from cnn_jax.studies.saved_run import load_run as load_saved_run

if TYPE_CHECKING:
    from cnn_jax.data import Dataset


def train(
    data: "str | Path | tuple[Any, Any] | Dataset" = "mnist",
    *,
    test: tuple[Any, Any] | None = None,
    class_names: Sequence[str] | None = None,
    workdir: str | Path | None = None,
    progress: bool = True,
    **choices: Any,
) -> TrainedRun:
    """Trains one network: `cnn_jax.train("mnist", model="lenet5", activation=my_wave, epochs=3)`.

    The same engine, defaults and seeds as the program `train`, and so the same numbers.

    Args:
        data: a name or a folder, as --dataset takes it; `(images, labels)`, uint8 `n h w c` or
            `n h w`, and whole numbers from 0 or rows of zeros and ones (several labels an image);
            or a `cnn_jax.data.Dataset`.
        test: `(images, labels)`; of arrays without, a fifth is kept for testing.
        class_names: of arrays; their numbers if not given.
        workdir: a new folder to write the run to; nothing is written if not given.
        progress: whether a bar is shown, in a terminal or a notebook.
        **choices: every flag of the program that says what is computed: model, activation, loss,
            optimizer, learning_rate, epochs, batch_size, augment, seed, ... Where a name is asked
            for, a function will do.

    Returns:
        The run: accuracy, interval, history, predict, report, save. Where the loss is not finite
        any more, training stops; its `result["status"]` then is "diverged".

    Raises:
        ArgumentError: naming the argument that cannot be.
    """
    with data_by_name(data, test, class_names) as name, named():
        check_compiler()
        given = {**read_choices(choices, signature(train).parameters), "dataset": name}
        directory = None if workdir is None else new_directory(workdir)
        prepared = prepare(lone_study(given), share_devices, init_from=start_of(given))
        functions = used_functions([given])
        (lone,) = prepared.plans
        (trial,) = lone.cell.trials
        place = Path("not saved") if directory is None else directory.path
        parts = place, given, lone.cell.config, trial.hparams, lone.loaded.record, lone.run
        files = [] if directory is None else used_files([given])
        with nullcontext() if directory is None else directory.locked(new=True):
            if directory is not None:
                begin(directory, given, lone, files)
            placed = lone.place()
            run = LoneRun(lone, placed, directory, keep=Keep.of(given))
            with progress_bar(progress) as show:
                show(0, "compiling")
                for end in run.fit():
                    show(run.done / run.epochs, _line(end.metrics, run.epochs))
                    if end.problem:
                        warnings.warn(end.problem, stacklevel=2)
            tested = read_test_split(run, placed)
            history = run.trial.history
            saved = SavedRun(*parts, tested.state, history[: int(tested.state.epoch)], {})
            trained = TrainedRun(saved, history, tested.to_json(), tested, functions)
            if directory is not None:
                finish(directory, trained)
        return trained


def _line(metrics: Mapping[str, float], epochs: int) -> str:
    name = "validation_accuracy" if "validation_accuracy" in metrics else "train_accuracy"
    done = f"epoch {metrics['epoch']:.0f} of {epochs}"
    return f"{done}, {name.replace('_', ' ')} {metrics[name]:.2%}"


def load_run(path: str | Path, *, data: Any = None) -> TrainedRun:
    """A run from its folder, whoever trained it.

    Args:
        path: of the folder.
        data: where its data are now, by name or folder, if not where they were; predicting needs
            none.

    Raises:
        ArgumentError: if the folder holds no run, or one that cannot be restored.
    """
    folder = path_of("path", path)
    if data is not None and not isinstance(data, str | Path):
        raise ArgumentError(f"data must be the name of a data set or a folder, got {kind_of(data)}")
    if not folder.is_dir():
        raise ArgumentError(f"path={folder} is not a folder; give the folder of a run")
    with named():
        saved = load_saved_run(folder, {} if data is None else {"dataset": str(data)})
        file = folder / RESULT_FILE
        result = json.loads(storage.read(file)) if storage.is_recorded(file) else {}
    functions = used_functions([saved.choices])
    return TrainedRun(saved, saved.history, result, _functions=functions)
