"""Trains the one network of a run, epoch by epoch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from cnn_jax import storage, training
from cnn_jax.errors import FIELD, FieldError
from cnn_jax.studies.choices import value_of
from cnn_jax.studies.planning import CellPlan, Placed
from cnn_jax.studies.run_directory import BEST, RunDirectory, history_of
from cnn_jax.training import checkpoints
from cnn_jax.training.grid import with_nan
from cnn_jax.training.loop import Standing
from cnn_jax.training.run import Points, parts_of_epoch
from cnn_jax.training.sweep import SweepState
from cnn_jax.training.task import steps_per_epoch

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
# What epochs looked like inside: about 100 lines each.
STEPS_FILE = "steps.jsonl"
# All files of lines.
LINES = (METRICS_FILE, TIMINGS_FILE, STEPS_FILE)

Records = Sequence[Mapping[str, float]]


class EpochEnd(NamedTuple):
    """What one epoch left behind.

    Attributes:
        metrics: the last record of the trial's history.
        timing: epoch, seconds and images_per_second of its training pass.
        seconds: of all of it, the evaluation on validation included.
        points: what it looked like inside, in about 100 parts: step (of the whole run) and epoch at
            the end of each, learning_rate there, and the mean train_loss.
        problem: why it could not be written down, which is tried again after the next one.
    """

    metrics: dict[str, float]
    timing: dict[str, float]
    seconds: float
    points: list[dict[str, float]]
    problem: str = ""


class Keep(NamedTuple):
    """Which epoch of a run is kept, and when it stops early.

    Attributes:
        best: whether the epoch of the best accuracy on validation is tested and used.
        patience: after how many epochs without a rise it stops; None for never.
    """

    best: bool = False
    patience: int | None = None

    @classmethod
    def of(cls, choices: Mapping[str, Any]) -> "Keep":
        """What the choices of a run say."""
        return cls(value_of(choices, "keep_epoch") == "best", value_of(choices, "patience"))


LAST = Keep()


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """The first of those with the best accuracy on validation; 0 without any."""
    best = max((record["validation_accuracy"] for record in history), default=None)
    places = (r["epoch"] for r in history if r["validation_accuracy"] == best)
    return int(next(places, 0))


def said_of(
    epochs: int, history: Records, timings: Records, points: Records
) -> dict[str, Sequence[Mapping[str, float]]]:
    """What a checkpoint after so many epochs says beside the state.

    Args:
        epochs: that it is after.
        history: a record for each epoch, perhaps of later ones too.
        timings: likewise.
        points: about 100 for each epoch.
    """
    within = [point for point in points if point["epoch"] <= epochs]
    return {"history": history[:epochs], "timings": timings[:epochs], "points": within}


class LoneRun:
    """The training of one network, from the start or from the last checkpoint of its folder.

    Attributes:
        trial: with the history of the epochs done.
        timings: one record for each of them.
        points: about 100 for each of them, as in `EpochEnd`.
        remade: files of lines that had lost some, and have them again from the checkpoint.

    Args:
        lone: the plan of its only cell.
        placed: its data, on the devices.
        directory: where metrics and checkpoints are written, or None for nowhere.
        resume: whether to go on with what is in the directory.
        keep: what of its epochs is kept, and when it stops early.

    Raises:
        FieldError: if it is to be chosen on validation, and nothing is held out.
    """

    def __init__(
        self,
        lone: CellPlan,
        placed: Placed,
        directory: RunDirectory | None = None,
        resume: bool = False,
        keep: Keep = LAST,
    ):
        if keep != LAST and placed.validation is None:
            raise FieldError(
                f"{FIELD.keep_epoch}=best and {FIELD.patience} look at validation, but "
                f"{FIELD.validation_fraction}=0 leaves none"
            )
        self.lone, self.directory, self._keep = lone, directory, keep
        self._best: training.TrainState | None = None
        (self.trial,) = lone.cell.trials
        self.timings: list[dict[str, float]] = []
        self.points: list[dict[str, float]] = []
        self.remade: list[str] = []
        self._unsaved, self._best_saved = False, 0
        self._trainer = training.Trainer(lone.run, placed.train, placed.validation, mesh=lone.mesh)
        self._state, self._standing = self._begin(resume)

    @property
    def epochs(self) -> int:
        """In all, those that are done included."""
        return self.lone.cell.config.epochs

    @property
    def done(self) -> int:
        """Epochs done."""
        return self._standing.epoch

    @property
    def state(self) -> training.TrainState:
        """After the last epoch."""
        return self._trainer.alone(self._state)

    @property
    def kept(self) -> training.TrainState:
        """After the epoch that is tested and used: the last, or the best on validation."""
        return self.state if self._best is None else self._best

    @property
    def diverged(self) -> bool:
        """Whether training ended where the loss was not finite any more."""
        return self.trial.status == "diverged"

    @property
    def stopped(self) -> bool:
        """Whether the accuracy on validation has not risen for long enough."""
        patience = self._keep.patience
        return patience is not None and self.done - best_epoch(self.trial.history) >= patience

    def _is_best(self) -> bool:
        """Whether the last epoch is kept for being the best one."""
        wanted = self._keep.best and not self.diverged
        return wanted and best_epoch(self.trial.history) == self.done

    @property
    def compile_seconds(self) -> float:
        """Spent on compilation."""
        return self._trainer.compile_seconds

    def compile(self) -> None:
        """Compiles all that the training needs, which otherwise does it as it goes."""
        self._trainer.compile(self._standing)

    def fit(
        self, checkpoint_every: int = 1, must_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[EpochEnd]:
        """Trains to the last epoch or until the loss is not finite, writing down each.

        Args:
            checkpoint_every: epochs between checkpoints; there is always one at the end.
            must_stop: asked after every epoch.

        Raises:
            KeyboardInterrupt: where it must stop, once that is written down.
        """
        images = len(self.lone.loaded.dataset.train)
        if self.done and self.stopped:
            return
        for end in self._trainer.fit(self._state, self._standing, self.epochs):
            self._state, self._standing = end.state, end.standing
            (self.trial,) = end.standing.trials
            metrics, rate = self.trial.history[-1], images / end.train_seconds
            timing = {"epoch": self.done, "seconds": end.train_seconds, "images_per_second": rate}
            points = self._points(end.points)
            self.timings.append(timing)
            self.points += points
            stop = must_stop()
            last = self.stopped or self.diverged or self.done == self.epochs
            if self._is_best():
                self._best = self.state
            problem = ""
            try:
                self._write_down(stop or last or self.done % checkpoint_every == 0)
            except storage.WriteError as error:
                if stop or last:
                    raise
                problem = str(error)
            yield EpochEnd(metrics, timing, end.seconds, points, problem)
            if stop:
                raise KeyboardInterrupt
            if last:
                return

    def _points(self, points: Points) -> list[dict[str, float]]:
        """Those of the last epoch, of the only trial."""
        steps = steps_per_epoch(self.lone.config, len(self.lone.loaded.dataset.train))
        ends = parts_of_epoch(steps) + (self.done - 1) * steps
        columns = (ends.tolist(), *(values[0].tolist() for values in points))
        return [
            {"epoch": end / steps, "step": end, "learning_rate": rate, "train_loss": loss}
            for end, loss, rate in zip(*columns, strict=True)
        ]

    @property
    def _lines(self) -> tuple[Records, Records, Records]:
        """What the files of `LINES` hold."""
        return self.trial.history, self.timings, self.points

    def _write_down(self, checkpoint: bool) -> None:
        """Writes down the epochs done, those too of which that failed before."""
        if self.directory is None:
            return
        due, self._unsaved = checkpoint or self._unsaved, checkpoint or self._unsaved
        for name, records in zip(LINES, self._lines, strict=True):
            self.directory.append(name, records)
        if not due:
            return
        # The best epoch before the last one, whose checkpoint then never lacks its best.
        best = 0 if self._best is None else int(self._best.epoch)
        if self._best is not None and best != self._best_saved:
            self.directory.save(self._best, said_of(best, *self._lines), BEST, keep=True)
            self._best_saved = best
        self.directory.save(self.state, said_of(self.done, *self._lines))
        checkpoints.prune(self.directory.path / BEST, best)
        self._unsaved = False

    def _begin(self, resume: bool) -> tuple[SweepState, Standing]:
        """Before the first epoch, or after the last checkpoint."""
        held = None
        if self.directory is not None:
            held = self.directory.last() if resume else None
            history = () if held is None else history_of(held)
            said = {} if held is None else held.said
            self.timings = [*map(with_nan, said.get("timings", ()))]
            # A trial that a sweep has kept knows no points.
            self.points = [*map(with_nan, said.get("points", ()))]
            self.trial = replace(self.trial, history=history)
            lines = zip(LINES, self._lines, strict=True)
            self.remade = [name for name, rows in lines if self.directory.set_lines(name, rows)]
        if held is None:
            return self._trainer.start([self.trial])
        like = self._trainer.like_alone(self.trial)
        if self._keep.best and (epoch := best_epoch(history)):
            best = checkpoints.read_epoch(held.path.parents[1] / BEST, epoch)
            self._best, self._best_saved = best.restore(like), epoch
        if any(math.isnan(value) for value in self.trial.history[-1].values()):
            self.trial = replace(self.trial, status="diverged")
        return self._trainer.resume(held.restore(like), self.trial)
