"""Trains the one network of a run, epoch by epoch, tests it once, and says what came of it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from cnn_jax import compilation, storage, training
from cnn_jax.analysis import live, report
from cnn_jax.analysis.evaluate import Evaluation, calibrate, evaluate, labels_json
from cnn_jax.analysis.explain import TrainedNetwork, trained_network
from cnn_jax.analysis.likeness import Likeness, learn_likeness
from cnn_jax.errors import FIELD, FieldError
from cnn_jax.models import build_abstract
from cnn_jax.ops import CALIBRATED, LOSS_OUTPUT, OUTPUT_ACTIVATIONS
from cnn_jax.studies.choices import value_of
from cnn_jax.studies.planning import CellPlan, Placed
from cnn_jax.studies.run_directory import (
    BEST,
    HELD_OUT_FILE,
    LIKENESS_FILE,
    RESULT_FILE,
    RunDirectory,
    history_of,
)
from cnn_jax.training import checkpoints
from cnn_jax.training.grid import Trial, with_nan
from cnn_jax.training.loop import Standing
from cnn_jax.training.processes import fetch
from cnn_jax.training.run import Points, parts_of_epoch
from cnn_jax.training.sweep import SweepState
from cnn_jax.training.task import normalize, steps_per_epoch

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
# What epochs looked like inside: about 100 lines each.
STEPS_FILE = "steps.jsonl"
# All files of lines.
LINES = (METRICS_FILE, TIMINGS_FILE, STEPS_FILE)
# Which test images are answered right, in the order of the record of the data.
ANSWERS_FILE = "answers.npz"
# More logits of the validation split than this are not written down.
_HELD_OUT_NUMBERS = 4_000_000

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


@dataclass(frozen=True, eq=False)
class Tested:
    """A run that was trained to its end and read the test split, once.

    Attributes:
        lone: the plan of its only cell.
        state: after the last epoch.
        trial: with its history.
        timings: one record for each epoch.
        points: about 100 for each epoch.
        compile_seconds: spent on compilation.
        logits: of the test split.
        held_out: logits and labels of the validation split, or None without one.
        evaluation: of the logits.
        loss: the mean over the test split.
    """

    lone: CellPlan
    state: training.TrainState
    trial: Trial
    timings: list[dict[str, float]]
    points: list[dict[str, float]]
    compile_seconds: float
    logits: Float[np.ndarray, "n classes"]
    held_out: tuple[np.ndarray, np.ndarray] | None
    evaluation: Evaluation
    loss: float

    @property
    def output(self) -> str:
        """The output activation that its loss goes with."""
        dataset, config = self.lone.loaded.dataset, self.lone.cell.config
        return "sigmoid" if dataset.multi_label else LOSS_OUTPUT[config.loss]

    @property
    def train_seconds(self) -> float:
        """Of all epochs."""
        return sum(line["seconds"] for line in self.timings)

    @property
    def network(self) -> TrainedNetwork:
        """What pictures of the trained network are drawn from."""
        loaded, config = self.lone.loaded, self.lone.cell.config
        task = loaded.task
        model = build_abstract(config.architecture, task.image_shape, task.num_classes)
        return trained_network(
            model, self.state.weights, partial(normalize, task), loaded.record.style
        )

    def to_json(self) -> dict[str, Any]:
        """What has come of it, as result.json has it."""
        found = self.evaluation
        low, high = found.interval
        epochs = {"tested_epoch": int(self.state.epoch), "trained_epochs": len(self.timings)}
        planned = self.lone.cell.config.epochs
        return {
            "status": "diverged" if self.trial.status == "diverged" else "finished",
            **(epochs if set(epochs.values()) != {planned} else {}),
            "test_accuracy": found.accuracy,
            "test_accuracy_interval_95": [low, high],
            "test_balanced_accuracy": found.balanced_accuracy,
            "test_loss": self.loss,
            "test_examples": len(self.lone.loaded.dataset.test),
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            **labels_json(found),
            **self._temperature(),
        }

    def report(
        self, flags: str, environment: dict[str, str], page_weights: int = live.MOST_BYTES
    ) -> str:
        """The page of the run.

        Args:
            flags: the flagfile that repeats it, as shown.
            environment: what it ran on, likewise.
            page_weights: how many bytes the weights of the network may take in it.
        """
        dataset, config = self.lone.loaded.dataset, self.lone.cell.config
        flags = self.about_epochs(before="# ", after="\n") + flags
        probabilities = np.asarray(OUTPUT_ACTIVATIONS[self.output](jnp.asarray(self.logits)))
        test, found = dataset.test, self.evaluation
        seen = report.look(self.network, test.images, probabilities, test.labels, found.thresholds)
        record = report.RunRecord(
            dataset=dataset.name,
            model=config.architecture.model,
            class_names=dataset.class_names,
            history=[m | t for m, t in zip(self.trial.history, self.timings, strict=True)],
            test_loss=self.loss,
            test_probabilities=probabilities,
            test_labels=test.labels,
            test_images=test.images,
            parameters=self.lone.rows,
            flags=flags,
            environment=environment,
            train_seconds=self.train_seconds,
            compile_seconds=self.compile_seconds,
            calibrated=config.loss in CALIBRATED,
            insight=seen,
            live=self._live(page_weights),
            points=self.points,
        )
        return report.render_report(record, found)

    def _live(self, most: int) -> live.Live:
        """The network for its page."""
        kept, thresholds = self.lone.loaded.record, self.evaluation.thresholds
        return live.in_page(
            self.network,
            kept.style,
            kept.rule.resize,
            self.lone.loaded.dataset.class_names,
            self.output,
            thresholds=None if thresholds is None else thresholds.tolist(),
            temperature=self._temperature().get("temperature", 1.0),
            most=most,
        )

    @cached_property
    def likeness(self) -> Likeness | None:
        """What its training images look like to it, if that can be said."""
        loaded = self.lone.loaded
        return learn_likeness(self.network, loaded.dataset.train.images, loaded.validation.images)

    @property
    def right(self) -> Bool[np.ndarray, "n"]:
        """Whether each test image is answered right; of several labels, all of them."""
        labels, found = self.lone.loaded.dataset.test.labels, self.evaluation
        if not found.several:
            return self.logits.argmax(1) == labels
        chances = np.asarray(OUTPUT_ACTIVATIONS[self.output](jnp.asarray(self.logits)))
        return ((chances >= found.thresholds) == labels.astype(bool)).all(1)

    def about_epochs(self, before: str = "", after: str = "") -> str:
        """Says that it stopped early, or was not tested after its last epoch; else nothing."""
        tested, done = int(self.state.epoch), len(self.timings)
        planned = self.lone.cell.config.epochs
        parts = []
        if self.trial.status == "diverged":
            parts.append(f"stopped after {done} of {planned} epochs: the loss is not finite")
        elif done < planned:
            parts.append(f"stopped after {done} of {planned} epochs: no rise on validation")
        if tested < done:
            parts.append(f"tested after epoch {tested}, the best on validation, and not the last")
        return f"{before}{'; '.join(parts)}{after}" if parts else ""

    def _temperature(self) -> dict[str, float]:
        """By which logits are divided to calibrate them, where it could be fitted."""
        found = self.evaluation
        if self.held_out is None or found.several:
            return {}
        if not (np.isfinite(self.logits).all() and np.isfinite(self.held_out[0]).all()):
            return {}
        (each,) = calibrate(found, self.logits, self.output, self.held_out).calibrations
        return {} if each.temperature is None else {"temperature": each.temperature}


def read_test_split(run: LoneRun, placed: Placed) -> Tested:
    """Reads the test split, once; all processes together."""
    lone = run.lone
    config, dataset = lone.cell.config, lone.loaded.dataset
    state = run.kept
    predict = compilation.jit(lone.run.predict)

    def logits_of(examples: training.Examples) -> np.ndarray:
        return np.asarray(fetch(predict(state, examples.images))[: len(examples)])

    output = "sigmoid" if dataset.multi_label else LOSS_OUTPUT[config.loss]
    logits = logits_of(placed.test)
    hparams = {name: jnp.float32(value) for name, value in run.trial.hparams.items()}
    scores = lone.run.score(jnp.asarray(logits), jnp.asarray(dataset.test.labels), hparams)
    held_out = None
    if placed.validation is not None:
        held_out = logits_of(placed.validation), lone.loaded.validation.labels
    fitted = held_out if dataset.multi_label else None
    found = evaluate(logits, dataset.test.labels, dataset.class_names, output, fitted)
    return Tested(
        lone,
        state,
        run.trial,
        run.timings,
        run.points,
        run.compile_seconds,
        logits,
        held_out,
        found,
        float(jax.device_get(scores["loss"])),
    )


def write_result(directory: RunDirectory, tested: Tested) -> None:
    """Writes what has come of a run, and what it says of its validation split."""
    directory.write_json(RESULT_FILE, tested.to_json())
    directory.write_arrays(ANSWERS_FILE, {"right": tested.right}, compressed=True)
    if tested.likeness is not None:
        likeness = {"epoch": int(tested.state.epoch), **tested.likeness._asdict()}
        directory.write_arrays(LIKENESS_FILE, likeness, compressed=True)
    if tested.held_out is not None and tested.held_out[0].size <= _HELD_OUT_NUMBERS:
        logits, labels = tested.held_out
        held_out = {"epoch": int(tested.state.epoch), "logits": logits, "labels": labels}
        directory.write_arrays(HELD_OUT_FILE, held_out)
