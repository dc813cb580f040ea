"""Trackers are told of a run through their own clients: those that are installed, locally."""

import importlib
import json
from pathlib import Path

import pytest

from cnn_jax.errors import UsageError
from cnn_jax.studies import tracking
from cnn_jax.studies.tracking import Told

METRICS = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2)]
RESULT = {"test_accuracy": 0.9, "test_low": 0.85, "test_high": 0.95}


def tell(name: str, folder: Path) -> None:
    """Two epochs and an end."""
    (folder / "report.html").write_text("<p>a page</p>")
    told = Told("run1", folder, {"model": "lenet5", "learning_rate": 0.1})
    with tracking.tracking([name], told) as trackers:
        for tracker in trackers:
            for metrics in METRICS:
                tracker.epoch(metrics)
            tracker.end(0.9, (0.85, 0.95), folder / "report.html")


def test_tensorboard(tmp_path: Path):
    tell("tensorboard", tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert all(name.encode() in content for name in ("train_loss", "lenet5", *RESULT))


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell("wandb", tmp_path)
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    assert all(name.encode() in content for name in ("train_loss", "lenet5", *RESULT, "report"))


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    tell("mlflow", tmp_path)
    (run,) = mlflow.search_runs(experiment_names=[tracking.PROJECT], output_format="list")
    assert run.info.run_name == "run1" and run.info.status == "FINISHED"
    assert run.data.params == {"model": "lenet5", "learning_rate": "0.1"}
    assert run.data.metrics == {**METRICS[-1], **RESULT}
    assert [item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == [
        "report.html"
    ]


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    tell("trackio", tmp_path)
    content = b"".join(
        path.read_bytes() for path in (tmp_path / "trackio").rglob("*") if path.is_file()
    )
    assert all(name.encode() in content for name in ("train_loss", "lenet5", *RESULT))


def test_what_cannot_track_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="track=tensorbord is not one of .*tensorboard"):
        tracking.check(["tensorbord"])

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="track=mlflow needs .*pip install mlflow-skinny"):
        tracking.check(["tensorboard", "mlflow"])


def test_a_run_that_fails_is_closed_as_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    ends = []

    class Recorder:
        def __init__(self, told: Told):
            ends.append(json.dumps(told.choices))

        def close(self, failed: bool) -> None:
            ends.append(failed)

    monkeypatch.setattr(tracking, "TRACKERS", {"recorder": Recorder})
    with pytest.raises(KeyError), tracking.tracking(["recorder"], Told("a", tmp_path, {})):
        raise KeyError
    assert ends == ["{}", True]
