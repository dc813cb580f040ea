"""A sweep as CSV text: every epoch of every trial, and one line a row of the table."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from cnn_jax.analysis.ablation.records import SweepRecord, place_of
from cnn_jax.analysis.ablation.summaries import VariantSummary, summarize
from cnn_jax.display import cell

_EPOCH_COLUMNS = (
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
)
_RESULT_COLUMNS = (
    "seed",
    "epoch",
    *_EPOCH_COLUMNS,
    "status",
    "chosen",
    "test_accuracy",
    "test_loss",
    "test_calibration_error",
)


_OF_MEAN = {"mean_test_accuracy": "mean", "low": "low", "high": "high", "std": "std"}
_OF_COMPARISON = {
    "difference": "difference",
    "difference_low": "low",
    "difference_high": "high",
    "p": "p",
    "p_corrected": "p_corrected",
    "p_sign_flip": "p_sign_flip",
    "seeds_to_decide": "seeds_to_decide",
}
_SUMMARY_COLUMNS = (
    "n",
    "diverged",
    "failed",
    "symptoms",
    *_OF_MEAN,
    *_OF_COMPARISON,
    "verdict",
    "replicates",
    "parameters",
)


def _column(name: str) -> str:
    """The column of an axis or tuned hyperparameter, told apart from the columns of results.

    The learning rate of a flag is not the one that the schedule makes of it in an epoch.
    """
    return f"{name}_flag" if name in _RESULT_COLUMNS + _SUMMARY_COLUMNS else name


def results_rows(record: SweepRecord) -> Iterator[dict[str, str]]:
    """One row per trial and epoch; the numbers in the shortest form that reads back the same.

    A trial without an epoch has one row, so that none is lost. The test columns are filled in the
    last row of a chosen, finished trial. Nothing in the rows depends on the time or the order in
    which the trials ran.
    """
    for trial in sorted(record.trials, key=lambda trial: place_of(record, trial)):
        start = _choices(record, trial.variant, trial.tuned)
        history = trial.history or [{}]
        for place, row in enumerate(history, start=1):
            last = place == len(history)
            yield start | {
                "seed": str(trial.seed),
                "epoch": f"{row['epoch']:.0f}" if "epoch" in row else "",
                **{column: _number(row.get(column)) for column in _EPOCH_COLUMNS},
                "status": trial.status,
                "chosen": str(trial.chosen).lower(),
                "test_accuracy": _number(trial.test_accuracy if last else None),
                "test_loss": _number(trial.test_loss if last else None),
                "test_calibration_error": _number(trial.calibration_error if last else None),
            }


def results_csv(record: SweepRecord) -> str:
    """The rows of `results_rows` as CSV text with a heading."""
    return _csv(record, _RESULT_COLUMNS, results_rows(record))


def summary_csv(record: SweepRecord) -> str:
    """One row per variant as CSV text, the highest mean test accuracy first.

    `n` counts the finished seeds, `diverged` the chosen trials that did not finish, `failed` those
    that did not learn; `symptoms` say what else is to be seen of how they trained. low and high are
    the ends of the 95% interval; what is not defined is empty.
    """
    rows = (_summary_row(record, summary) for summary in summarize(record))
    return _csv(record, _SUMMARY_COLUMNS, rows)


def _summary_row(record: SweepRecord, summary: VariantSummary) -> dict[str, str]:
    mean, comparison = summary.mean, summary.comparison
    row = _choices(record, summary.variant, summary.tuned) | {"verdict": summary.verdict}
    row |= {"n": str(len(summary.accuracies)), "diverged": str(summary.diverged)}
    row |= {"failed": str(summary.failed), "symptoms": "; ".join(summary.symptoms)}
    row["replicates"] = _number(summary.replicates)
    row["parameters"] = str(record.parameters[summary.variant])
    if mean is not None:
        row |= {column: _number(getattr(mean, name)) for column, name in _OF_MEAN.items()}
    if comparison is not None:
        row |= {column: _number(getattr(comparison, n)) for column, n in _OF_COMPARISON.items()}
    return row


def _choices(record: SweepRecord, variant: int, tuned: Mapping[str, float]) -> dict[str, str]:
    """The columns of the axes and of the tuned hyperparameters."""
    row = {_column(axis): record.variants[variant][axis] for axis in record.axes}
    return row | {_column(name): _number(tuned.get(name)) for name in record.tuned}


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _csv(record: SweepRecord, columns: Sequence[str], rows: Iterator[dict[str, str]]) -> str:
    text = io.StringIO()
    names = [_column(name) for name in (*record.axes, *record.tuned)]
    writer = csv.DictWriter(text, [*names, *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(text) for name, text in row.items()} for row in rows)
    return text.getvalue()
