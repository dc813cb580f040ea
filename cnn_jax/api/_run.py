"""What training from Python gives: a run, trained now or loaded."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Bool, Float

from cnn_jax import compilation, storage
from cnn_jax.analysis import pictures
from cnn_jax.analysis.likeness import unit_features
from cnn_jax.api._arguments import COMMAND, named, new_directory, used_files, write_page
from cnn_jax.api._values import ArgumentError, path_of
from cnn_jax.extend import Extension, ExtensionFile, kept_paths, stands
from cnn_jax.studies.choices import every_choice
from cnn_jax.studies.data_record import write_records
from cnn_jax.studies.kept_trials import flagfile
from cnn_jax.studies.lone_run import LINES, Keep, Tested, said_of, write_result
from cnn_jax.studies.planning import CellPlan
from cnn_jax.studies.run_directory import BEST, CHECKPOINTS, REPORT_FILE, RunDirectory, environment
from cnn_jax.studies.saved_run import SavedRun
from cnn_jax.training import Config, TrainState

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun:
    """A trained network, with all that is needed to use it.

    Attributes:
        saved: the network and what it remembers of its data.
        history: one record an epoch: epoch, learning_rate, train_loss, train_accuracy and, where
            examples are held out, validation_loss and validation_accuracy; accuracies in [0, 1].
        result: what has come of it on the test split, as result.json has it; empty where a loaded
            run has not ended.
    """

    saved: SavedRun
    history: tuple[Mapping[str, float], ...]
    result: Mapping[str, Any]
    _tested: Tested | None = None
    _functions: tuple[Extension, ...] = ()

    @property
    def accuracy(self) -> float:
        """On the test split, in [0, 1]; of several labels, the mean over them."""
        return float(self._of_result("test_accuracy"))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy."""
        low, high = self._of_result("test_accuracy_interval_95")
        return low, high

    @property
    def config(self) -> Config:
        """Its static choices."""
        return self.saved.config

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Its numbers."""
        return self.saved.hparams

    @property
    def class_names(self) -> tuple[str, ...]:
        """One for each output."""
        return self.saved.class_names

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of its data and, unless it was loaded, its batches."""
        batches = [] if self._tested is None else self._tested.lone.notes()
        return (*self.saved.record.notes, *batches)

    @property
    def state(self) -> TrainState:
        """All that was trained."""
        return self.saved.state

    @property
    def temperature(self) -> float:
        """By which logits are divided to calibrate them: as fitted on validation, or 1."""
        if self._tested is None:
            return self.saved.temperature
        return float(self.result.get("temperature", 1.0))

    def predict(self, images: Any) -> Float[np.ndarray, "n classes"]:
        """The probability of each class, or of each label, at the fitted temperature.

        Args:
            images: uint8 `n h w c`, `n h w` of gray ones, or a single one; or a picture file, or a
                list of them, of any size.

        Raises:
            ArgumentError: if they do not fit the network, a file cannot be read, or a function of
                the network is another one by now.
        """
        self._check_functions()
        saved, batch, temperature = self.saved, self._images(images), self.temperature

        @compilation.jit
        def predict(state: TrainState, images: Array) -> Array:
            return saved.probabilities(saved.run.predict(state, images) / temperature)

        return np.asarray(predict(saved.state, batch))

    def unlike_training(self, images: Any) -> Bool[np.ndarray, "n"]:
        """Whether each image is farther from the training images than 99% of the held-out ones.

        In what the last layer decides on, as a cosine to the fifth-nearest one (Sun et al. 2022,
        arXiv:2204.06507).

        Args:
            images: as `predict` takes them.

        Raises:
            ArgumentError: as `predict` does; or if that is not known of the network: nothing was
                held out, or it has no named layers.
        """
        self._check_functions()
        batch = self._images(images)
        known = self.saved.likeness if self._tested is None else self._tested.likeness
        if known is None:
            raise ArgumentError(
                "this run does not know what is unlike its training images: that takes a "
                "validation_fraction above 0, and a network of named layers that has not diverged"
            )
        return known.distances(unit_features(self.saved.network)(batch)) > known.limit

    def report(self, path: str | Path) -> Path:
        """Writes the page of the run.

        Raises:
            ArgumentError: if it cannot be written, the run has none, or a function of the network
                is another one by now.
        """
        return write_page(path, self._page)

    def _page(self) -> str:
        if self._tested is not None:
            self._check_functions()
            shown = flagfile(self.saved.choices, self.config, self.hyperparameters)
            return self._tested.report(shown, environment(COMMAND))
        stored = self.saved.path / REPORT_FILE
        if not storage.is_recorded(stored):
            raise ArgumentError(f"the run in {self.saved.path} has no report: it has not ended")
        with named():
            return storage.read(stored).decode()

    def save(self, workdir: str | Path) -> Path:
        """Writes the folder of the run, as the program would, for any of the programs to use.

        Raises:
            ArgumentError: if there is something already, or a function of this session cannot be
                kept, or is another one by now.
        """
        self._check_functions()
        if self._tested is None or self.saved.path.is_dir():
            raise ArgumentError(f"the run lies in {self.saved.path} already; copy that folder")
        directory, timings = new_directory(workdir), self._tested.timings
        with named():
            files = used_files([self.saved.choices])
        with named(), directory.locked(new=True):
            begin(directory, self.saved.choices, self._tested.lone, files)
            lines = self.history, timings, self._tested.points
            for name, records in zip(LINES, lines, strict=True):
                directory.set_lines(name, records)
            said = said_of(int(self.state.epoch), *lines)
            where = BEST if Keep.of(self.saved.choices).best else CHECKPOINTS
            directory.save(self.state, said, where)
            finish(directory, self)
        return directory.path

    def __repr__(self) -> str:
        return f"<TrainedRun {'; '.join(self._facts())}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{record['epoch']:.0f}</td>"
            + "".join(f"<td>{_shown(name, record[name])}</td>" for name in self._columns())
            + "</tr>"
            for record in self.history
        )
        heads = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in self._columns())
        facts = html.escape("; ".join(self._facts()))
        notes = "".join(f"<br>{html.escape(note)}" for note in self.notes)
        return f"<p><b>{facts}</b>{notes}</p><table><tr><th>epoch</th>{heads}</tr>{rows}</table>"

    def _columns(self) -> list[str]:
        first = self.history[0] if self.history else {}
        return [name for name in first if name.startswith(("train_", "validation_"))]

    def _facts(self) -> list[str]:
        facts = [f"{self.config.architecture.model} on {self.saved.record.name}"]
        if self.result:
            low, high = self.interval
            facts.append(
                f"test accuracy {self.accuracy:.2%} (95% interval {low:.2%} to {high:.2%})"
            )
        facts.append(f"{int(self.state.epoch)} epochs")
        diverged = self.result.get("status") == "diverged"
        return [*facts, *(["the loss is not finite"] if diverged else [])]

    def _of_result(self, name: str) -> Any:
        if not self.result:
            raise ArgumentError(
                f"the run in {self.saved.path} has not ended, and read no test split"
            )
        return self.result[name]

    def _check_functions(self) -> None:
        """Refuses to go on with functions that are known by their names, which others have now."""
        for function in self._functions:
            if not stands(function):
                raise ArgumentError(
                    f"{function.kind} {function.name} is another function now than that of this "
                    "run; give the other one a name of its own, name='...'"
                )

    def _images(self, images: Any) -> np.ndarray:
        shape = self.saved.task.image_shape
        files = [images] if isinstance(images, str | Path) else images
        if isinstance(files, list | tuple) and files and isinstance(files[0], str | Path):
            return np.stack([self._picture(path_of("images", file)) for file in files])
        try:
            found = np.asarray(images)
        # What an object of another library raises is its own.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ArgumentError(f"images are no array, and no picture files: {reason}") from error
        if found.shape == shape or (shape[2] == 1 and found.shape == shape[:2]):
            found = found[None]
        if found.ndim == 3 and shape[2] == 1:
            found = found[..., None]
        if found.dtype != np.uint8 or found.shape[1:] != shape or not len(found):
            size = "x".join(map(str, shape))
            raise ArgumentError(
                f"images are {found.dtype} of shape {found.shape}, expected uint8 of {size} each, "
                "or picture files"
            )
        return found

    def _picture(self, path: Path) -> np.ndarray:
        style, rule = self.saved.record.style, self.saved.record.rule
        try:
            picture = pictures.read_picture(path, style.shape[2], rule).image
            return pictures.fit_picture(picture, style, rule=rule).image
        except ValueError as error:
            raise ArgumentError(f"images: {path}: {error}") from error


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4f}"


def begin(
    directory: RunDirectory, choices: dict[str, Any], lone: CellPlan, files: Sequence[ExtensionFile]
) -> None:
    """Writes what is known before the first step."""
    (trial,), config = lone.cell.trials, lone.cell.config
    write_records(directory, [lone.loaded.record])
    kept = kept_paths(directory.path, [file.name for file in files])
    directory.create(
        flagfile(choices, config, trial.hparams, kept),
        every_choice(choices, config, trial.hparams, files),
        COMMAND,
        files,
    )


def finish(directory: RunDirectory, run: TrainedRun) -> None:
    """Writes what has come of it."""
    assert run._tested is not None
    write_result(directory, run._tested)
    directory.write(REPORT_FILE, run._page())
