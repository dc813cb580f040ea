"""What a network is worth on images with one class each: numbers, tables and a page."""

from functools import partial

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.text import Text

from cnn_jax.analysis.evaluate import classes as class_scores
from cnn_jax.analysis.evaluate.classes import Evaluation

from .measured import Measured, Subject, table
from .saved_run import SavedRun, Scores

# The confusion matrix of more classes does not fit a terminal.
_NARROW = 12


def of_classes(
    saved: SavedRun,
    subject: Subject,
    logits: Float[np.ndarray, "n c"],
    held_out: Scores | None,
    top: int,
) -> Measured:
    """Accuracy, scores and confusions of each class, calibration before and after a temperature.

    Args:
        saved: the run.
        subject: what it was tried on.
        logits: what it says of that.
        held_out: what it says of its validation split, which a temperature is fitted to.
        top: k of the top-k accuracy.
    """
    result = class_scores.evaluate(
        logits,
        subject.examples.labels,
        saved.dataset.class_names,
        output=saved.output,
        top=top,
        held_out=held_out,
    )
    low, high = result.interval
    return Measured(
        class_scores.as_json(result),
        f"[bold]{result.accuracy:.2%}[/] accuracy on {subject.name} (95% interval {low:.2%} to "
        f"{high:.2%}, {len(result.labels):,} images)",
        partial(_print, result),
        lambda facts: class_scores.render_evaluation(
            result,
            title=(f"{saved.config.architecture.model} of {saved.name}", subject.name),
            notes=subject.notes,
            facts=facts,
        ),
    )


def _print(result: Evaluation, console: Console) -> None:
    for k, value in result.top.items():
        console.print(f"{value:.2%} have their class among the best {k} guesses")
    _print_classes(console, result)
    if len(result.classes) <= _NARROW:
        _print_confusion(console, result)
    _print_calibration(console, result)


def _print_classes(console: Console, result: Evaluation) -> None:
    rows = table("class", "precision", "recall", "F1", "support")
    for row in result.classes:
        scores = [f"{score:.4f}" for score in row[1:4]]
        rows.add_row(Text(row.name), *scores, f"{row.support:,}")
    console.print(rows)


def _print_confusion(console: Console, result: Evaluation) -> None:
    names = [row.name for row in result.classes]
    rows = table("true \\ guessed", *(_cut(name) for name in names))
    for index, (name, row) in enumerate(zip(names, result.confusion, strict=True)):
        cells = [
            Text(f"{count:,}" if count else "·", style="bold" if index == column else "")
            for column, count in enumerate(row)
        ]
        rows.add_row(Text(name), *cells)
    console.print(rows)


def _print_calibration(console: Console, result: Evaluation) -> None:
    rows = table("calibration", "ECE", "NLL")
    rows.add_row("as it is", f"{result.before.ece:.2%}", f"{result.before.nll:.4f}")
    if result.after is not None:
        heading = f"temperature {result.temperature:.3f}"
        rows.add_row(heading, f"{result.after.ece:.2%}", f"{result.after.nll:.4f}")
    console.print(rows)
    if result.after is None:
        console.print("no temperature: the run held out no validation split to fit it to")


def _cut(name: str) -> str:
    return name if len(name) <= 8 else f"{name[:7]}…"
