"""The live progress of a sweep: cells done, trials alive, the best so far, the time left."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cnn_jax.training.grid import Grid

from .ablation_plan import CellPlan, duration, row_name


class Board:
    """A bar whose length is the work done, in floating-point operations."""

    def __init__(self, console: Console, grid: Grid, plans: Sequence[CellPlan]):
        self._grid, self._plans = grid, plans
        self._total = sum(plan.cost for plan in plans)
        self._done = self._worked = self._seconds = 0.0
        self._best: tuple[float, int] | None = None
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self._bar = self.progress.add_task("", total=self._total, left="")

    def show(self, cell: int, text: str) -> None:
        """Says what is going on in a cell."""
        description = f"cell {cell + 1} of {len(self._plans)}, {text}"
        if self._best is not None:
            description += f", best {self._best[0]:.2%} ({row_name(self._grid, self._best[1])})"
        left = ""
        if self._worked:
            remaining = (self._total - self._done) * self._seconds / self._worked
            left = f"about {duration(remaining)} left"
        self.progress.update(self._bar, description=description, completed=self._done, left=left)

    def worked(self, cost: float, seconds: float) -> None:
        """Counts work that was done now."""
        self._done += cost
        self._worked += cost
        self._seconds += seconds

    def skipped(self, cost: float) -> None:
        """Counts work that was done before, or need not be done."""
        self._done += cost

    def finished(self, trials: Sequence[dict[str, Any]]) -> None:
        """Keeps the best last accuracy: on validation, or where nothing is held out on train."""
        for trial in trials:
            if trial["status"] == "finished":
                last = trial["history"][-1]
                score = last.get("validation_accuracy", last["train_accuracy"])
                if self._best is None or score > self._best[0]:
                    self._best = score, trial["variant"]
