import math
import subprocess
import sys

import numpy as np
import pytest
from records import texts

from cnn_jax.analysis import report

RNG = np.random.default_rng(0)


def epoch_row(epoch, **changes):
    row = {
        "epoch": epoch,
        "learning_rate": 0.1 / epoch,
        "train_loss": 1.0 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_loss": 1.1 / epoch,
        "validation_accuracy": 1 - 0.6 / epoch,
    }
    return row | changes


def without_validation(row):
    return {key: value for key, value in row.items() if not key.startswith("validation")}


HISTORIES = {
    "one epoch": [epoch_row(1)],
    "several": [epoch_row(epoch) for epoch in range(1, 6)],
    "many": [epoch_row(epoch) for epoch in range(1, 101)],
    "no validation": [without_validation(epoch_row(epoch)) for epoch in range(1, 4)],
    "diverged": [epoch_row(1), epoch_row(2, train_loss=math.nan, validation_loss=math.inf)],
    "never finite": [epoch_row(1, train_loss=math.nan, validation_loss=math.nan)],
    "loss of zero": [epoch_row(1), epoch_row(2, train_loss=0.0)],
    "decades": [epoch_row(1, train_loss=1e6), epoch_row(2)],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_learning_curves_of_odd_histories(history):
    assert "epoch" in texts(report.learning_curves(history))


def test_learning_curves_hold_the_history():
    history = HISTORIES["several"]
    axes = report.learning_curves(history).axes
    assert [panel.get_title(loc="left") for panel in axes] == ["Loss", "Accuracy", "Learning rate"]
    for line, key in zip(axes[0].lines, ["train_loss", "validation_loss"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [row[key] for row in history])
    assert axes[0].lines[0].get_linestyle() != axes[0].lines[1].get_linestyle()


def test_learning_curves_tell_where_a_run_diverged():
    figure = report.learning_curves(HISTORIES["diverged"], ["loss"])
    assert "not finite at epoch 2" in texts(figure)


def test_learning_curves_without_learning_rate():
    assert report.history_panels([{"epoch": 1, "train_loss": 1.0}]) == ("loss",)


@pytest.mark.parametrize(("history", "panels"), [([], None), ([epoch_row(1)], ["speed"])])
def test_learning_curves_reject(history, panels):
    with pytest.raises(ValueError, match="panels"):
        report.learning_curves(history, panels)


def test_import_leaves_matplotlib_alone():
    code = (
        "import sys, cnn_jax.analysis.report; print(*{'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
