"""Tests a trained run once, and says what came of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from cnn_jax import compilation, training
from cnn_jax.analysis import live, report
from cnn_jax.analysis.evaluate import EVEN, Evaluation, calibrate, evaluate, labels_json
from cnn_jax.analysis.explain import TrainedNetwork
from cnn_jax.analysis.likeness import Likeness, learn_likeness
from cnn_jax.ops import CALIBRATED, OUTPUT_ACTIVATIONS, correct, label_correct
from cnn_jax.studies.lone_run._training import LoneRun
from cnn_jax.studies.planning import CellPlan, Placed
from cnn_jax.studies.run_directory import HELD_OUT_FILE, LIKENESS_FILE, RESULT_FILE, RunDirectory
from cnn_jax.training.grid import Trial
from cnn_jax.training.processes import fetch

# Which test images are answered right, in the order of the record of the data.
ANSWERS_FILE = "answers.npz"
# More logits of the validation split than this are not written down.
_HELD_OUT_NUMBERS = 4_000_000


@dataclass(frozen=True, eq=False)
class Tested:
    """A run that was trained to its end and read the test split, once.

    Attributes:
        lone: the plan of its only cell.
        state: after the epoch that is tested and used.
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
        return self.lone.loaded.record.output(self.lone.cell.config.loss)

    @property
    def train_seconds(self) -> float:
        """Of all epochs."""
        return sum(line["seconds"] for line in self.timings)

    @property
    def network(self) -> TrainedNetwork:
        """What pictures of the trained network are drawn from."""
        architecture = self.lone.cell.config.architecture
        return self.lone.loaded.record.network(architecture, self.state.weights)

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
            kept.rule,
            self.lone.loaded.dataset.class_names,
            self.output,
            thresholds=None if thresholds is None else thresholds.tolist(),
            temperature=self._temperature().get("temperature", 1.0),
            tta=self.lone.cell.config.tta,
            most=most,
        )

    @cached_property
    def likeness(self) -> Likeness | None:
        """What its training images look like to it, if that can be said."""
        loaded = self.lone.loaded
        return learn_likeness(self.network, loaded.dataset.train.images, loaded.validation.images)

    @property
    def right(self) -> Bool[np.ndarray, "n"]:
        """Whether each test image is answered right; of several labels, all of them.

        Each label at a probability of a half, as in a sweep.
        """
        logits = jnp.asarray(self.logits)
        labels = jnp.asarray(self.lone.loaded.dataset.test.labels)
        if not self.evaluation.several:
            return np.asarray(correct(logits, labels))
        chances = OUTPUT_ACTIVATIONS[self.output](logits)
        return np.asarray(jnp.all(label_correct(chances, labels, EVEN), axis=1))

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
    dataset = lone.loaded.dataset
    state = run.kept
    predict = compilation.jit(lone.run.predict)

    def logits_of(examples: training.Examples) -> np.ndarray:
        return np.asarray(fetch(predict(state, examples.images))[: len(examples)])

    output = lone.loaded.record.output(lone.cell.config.loss)
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
