"""What trackers of experiments are told of a run, each through its own client.

A client is imported only when it is asked for. Where and whether it sends anything is its own
affair: `WANDB_MODE=offline`, `MLFLOW_TRACKING_URI`, `TRACKIO_DIR`.
"""

import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from cnn_jax import storage
from cnn_jax.errors import FIELD, FieldError, check_choice

PROJECT = "cnn_jax"
_PACKAGES = {"wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow-skinny"}


class Told(NamedTuple):
    """What is known of a run before it trains.

    Attributes:
        name: of the run.
        folder: of the run.
        choices: every choice by name, and the hyperparameters.
    """

    name: str
    folder: Path
    choices: Mapping[str, Any]


class Tracker(Protocol):
    """Is told of every epoch, and of the end."""

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """The metrics of an epoch, its number among them."""

    def points(self, points: Sequence[Mapping[str, float]]) -> None:
        """What an epoch looked like inside, each with the number of its step."""

    def end(self, accuracy: float, interval: tuple[float, float], report: Path) -> None:
        """The accuracy on the test split with its 95% interval, and the page of the report."""

    def close(self, failed: bool) -> None:
        """Nothing more comes: the run has ended, or has failed."""


# What is seen within epochs has names of its own: other trackers' axes are the epochs.
_WITHIN = ("train_loss", "learning_rate")


def _within(point: Mapping[str, float]) -> dict[str, float]:
    return {f"step/{name}": point[name] for name in _WITHIN}


def _result(accuracy: float, interval: tuple[float, float]) -> dict[str, float]:
    return dict(zip(("test_accuracy", "test_low", "test_high"), (accuracy, *interval), strict=True))


class _TensorBoard:
    """Its client writes in a thread; once that cannot, as on a full disk, it is told no more.

    What is told after that would fill a queue that nobody empties, and training would wait for it.
    """

    def __init__(self, told: Told):
        from tensorboardX import SummaryWriter

        self._full, self._before = False, threading.excepthook
        threading.excepthook = self._note
        folder = told.folder / "tensorboard"
        try:
            self._board = SummaryWriter(str(folder))
        except OSError as error:
            raise storage.WriteError(folder, error.strerror or str(error)) from error
        self._board.add_text("choices", storage.strict_json(told.choices, indent=2))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._add(metrics, int(metrics["epoch"]))

    def points(self, points: Sequence[Mapping[str, float]]) -> None:
        for point in points:
            self._add(_within(point), int(point["step"]))

    def end(self, accuracy: float, interval: tuple[float, float], report: Path) -> None:
        self._add(_result(accuracy, interval))

    def close(self, failed: bool) -> None:
        with suppress(OSError):
            if not self._full:
                self._board.close()
        threading.excepthook = self._before

    def _add(self, values: Mapping[str, float], step: int | None = None) -> None:
        for name, value in values.items():
            if not self._full:
                self._board.add_scalar(name, value, step)

    def _note(self, failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            self._before(failure)
            return
        self._full = True
        print(f"note: TensorBoard is told no more: {failure.exc_value}", file=sys.stderr)


class _Wandb:
    def __init__(self, told: Told):
        self._client = _client("wandb")
        self._run = self._client.init(
            project=PROJECT, name=told.name, config=dict(told.choices), dir=str(told.folder)
        )
        # The client's own steps only rise: every curve names its axis.
        for axis, names in {
            "epoch": ("train_*", "validation_*", "learning_rate"),
            "step": ("step/*",),
        }.items():
            self._run.define_metric(axis, hidden=True)
            for name in names:
                self._run.define_metric(name, step_metric=axis)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics))

    def points(self, points: Sequence[Mapping[str, float]]) -> None:
        for point in points:
            self._run.log({"step": int(point["step"]), **_within(point)})

    def end(self, accuracy: float, interval: tuple[float, float], report: Path) -> None:
        self._run.summary.update(_result(accuracy, interval))
        artifact = self._client.Artifact("report", type="report")
        artifact.add_file(str(report))
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _Trackio:
    def __init__(self, told: Told):
        self._client = _client("trackio")
        self._client.init(project=PROJECT, name=told.name, config=dict(told.choices), embed=False)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._client.log(dict(metrics), step=int(metrics["epoch"]))

    def points(self, points: Sequence[Mapping[str, float]]) -> None:
        for point in points:
            self._client.log(_within(point), step=int(point["step"]))

    def end(self, accuracy: float, interval: tuple[float, float], report: Path) -> None:
        self._client.log(_result(accuracy, interval))
        self._client.save(str(report), project=PROJECT)

    def close(self, failed: bool) -> None:
        self._client.finish()


class _Mlflow:
    def __init__(self, told: Told):
        self._client = _client("mlflow")
        self._client.set_experiment(PROJECT)
        self._run = self._client.start_run(run_name=told.name)
        self._client.log_params(dict(told.choices))

    def epoch(self, metrics: Mapping[str, float]) -> None:
        self._client.log_metrics(dict(metrics), step=int(metrics["epoch"]))

    def points(self, points: Sequence[Mapping[str, float]]) -> None:
        now = int(1000 * time.time())
        found = [
            self._client.entities.Metric(name, value, now, int(point["step"]))
            for point in points
            for name, value in _within(point).items()
        ]
        self._client.MlflowClient().log_batch(self._run.info.run_id, metrics=found)

    def end(self, accuracy: float, interval: tuple[float, float], report: Path) -> None:
        self._client.log_metrics(_result(accuracy, interval))
        self._client.log_artifact(str(report))

    def close(self, failed: bool) -> None:
        self._client.end_run("FAILED" if failed else "FINISHED")


TRACKERS: Mapping[str, Callable[[Told], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
    "mlflow": _Mlflow,
}


def check(names: Sequence[str]) -> None:
    """Refuses what cannot track.

    Raises:
        FieldError: naming what can, or how the package is installed.
    """
    for name in names:
        check_choice("track", name, TRACKERS)
        if name in _PACKAGES:
            _client(name)


@contextmanager
def tracking(names: Sequence[str], told: Told) -> Iterator[Sequence[Tracker]]:
    """The trackers of these names, told of a run; closed at the end, whatever ends it."""
    with ExitStack() as opened:
        trackers: list[Tracker] = []
        for name in names:
            tracker = TRACKERS[name](told)
            opened.push(lambda kind, *_, tracker=tracker: tracker.close(kind is not None))
            trackers.append(tracker)
        yield trackers


def _client(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise FieldError(
            f"{FIELD.track}={name} needs a package that is not installed: "
            f"pip install {_PACKAGES[name]}"
        ) from None
