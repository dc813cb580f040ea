"""Trains the cells of a sweep one after another, writing down all that a kill must not lose."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnn_jax import storage, training
from cnn_jax.analysis.pages import duration
from cnn_jax.studies.planning import CellPlan, Prepared
from cnn_jax.studies.sweep_directory import CellDirectory, CellResult
from cnn_jax.training import Trainer
from cnn_jax.training.grid import UNREAD, Trial, choose, partition
from cnn_jax.training.loop import Standing, fitting
from cnn_jax.training.sweep import SweepState, Vectorization

# `(share of the work that is done, what goes on, the time left)`.
Show = Callable[[float, str, str], None]


class Board:
    """The live progress of a sweep.

    It says cells done, trials alive, the best so far and the time left. Work is counted in
    floating-point operations.

    Args:
        show: called with the share of the work that is done, what goes on, and the time left.
        prepared: the cells.
    """

    def __init__(self, show: Show, prepared: Prepared):
        self._show = show
        self._variants, self._cells = prepared.study.grid.variants, len(prepared.plans)
        self._total = sum(plan.cost for plan in prepared.plans)
        self._done = self._worked = self._seconds = 0.0
        self._best: tuple[float, int] | None = None

    def show(self, cell: int, text: str) -> None:
        """Says what is going on in a cell."""
        description = f"cell {cell + 1} of {self._cells}, {text}"
        if self._best is not None:
            row = self._variants[self._best[1]].items()
            named = " ".join(f"{name}={value}" for name, value in row if value != UNREAD)
            description += f", best {self._best[0]:.2%} ({named})"
        left = ""
        if self._worked:
            remaining = (self._total - self._done) * self._seconds / self._worked
            left = f"about {duration(remaining)} left"
        self._show(self._done / self._total, description, left)

    def worked(self, cost: float, seconds: float) -> None:
        """Counts work that was done now."""
        self._done += cost
        self._worked += cost
        self._seconds += seconds

    def skipped(self, cost: float) -> None:
        """Counts work that was done before, or need not be done."""
        self._done += cost

    def finished(self, trials: Sequence[Trial]) -> None:
        """Keeps the best last accuracy: on validation, or where nothing is held out on train."""
        for trial in trials:
            if trial.status == "finished":
                last = trial.history[-1]
                score = last.get("validation_accuracy", last["train_accuracy"])
                if self._best is None or score > self._best[0]:
                    self._best = score, trial.variant


@dataclass(frozen=True)
class CellRun:
    """One cell, from its first epoch or from where it was interrupted, to its result."""

    index: int
    plan: CellPlan
    trainer: Trainer
    directory: CellDirectory
    board: Board
    prune: bool
    must_stop: Callable[[], bool]
    say: Callable[[str], None]

    def run(self, most: int | None, test: training.Examples) -> CellResult:
        """Trains all trials, chooses on validation, and only then reads the test split.

        Args:
            most: trials per program, or None for what the memory holds.
            test: the test split.
        """
        trials, groups = list(self.plan.cell.trials), self._groups(most)
        ends = [self._train(number, members) for number, members in enumerate(groups)]
        for members, (_, standing) in zip(groups, ends, strict=True):
            for index, trial in zip(members, standing.trials, strict=True):
                trials[index] = trial
        chosen = choose(trials)
        for index in chosen:
            trials[index] = replace(trials[index], chosen=True)
        for members, (state, standing) in zip(groups, ends, strict=True):
            tested = [place for place, index in enumerate(members) if index in chosen]
            for place, score in self.trainer.evaluate(state, standing, tested, test).items():
                trials[members[place]] = replace(
                    trials[members[place]], test_accuracy=score["accuracy"], test_loss=score["loss"]
                )
        ended = [replace(t, status="finished") if t.alive else t for t in trials]
        return CellResult(
            tuple(ended), self.plan.parameters, self.trainer.programs, self.trainer.compile_seconds
        )

    def _groups(self, most: int | None) -> list[list[int]]:
        """The trials that share a program call, as the cell was started with or now decided."""
        trials = self.plan.cell.trials
        count = len(trials)
        size = self.directory.group_size()
        if size is None:
            self.board.show(self.index, f"compiling for {min(most or count, count)} trials")
            size = fitting(self.trainer, trials, most)
            self.directory.begin(size)
        return partition(trials, size, whole_variants=self.prune)

    def _train(self, number: int, members: list[int]) -> tuple[SweepState, Standing]:
        trials, epochs = self.plan.cell.trials, self.plan.cell.config.epochs
        cost = self.plan.operations / epochs
        self.board.show(self.index, f"compiling for {len(members)} trials")
        restored = self.directory.restore(number, self.trainer)
        state, standing = restored or self.trainer.start([trials[i] for i in members])
        self.board.skipped(cost * _trained(standing))
        for end in self.trainer.fit(state, standing, epochs, self.prune):
            self.board.worked(cost * (_trained(end.standing) - _trained(standing)), end.seconds)
            state, standing = end.state, end.standing
            if standing.epoch < epochs or len(members) < len(trials):
                stop = self.must_stop()
                try:
                    self.directory.save(number, state, standing)
                except storage.WriteError as error:
                    if stop:
                        raise
                    self.say(f"{error}; it is tried again after the next epoch")
                if stop:
                    raise KeyboardInterrupt
            self.board.show(
                self.index,
                f"epoch {standing.epoch} of {epochs}, {len(standing.alive)} of {len(members)} "
                "trials alive",
            )
        self.board.skipped(cost * (epochs * len(members) - _trained(standing)))
        return state, standing


def _trained(standing: Standing) -> int:
    """The epochs of all trials."""
    return sum(len(trial.history) for trial in standing.trials)


def run_cells(
    show: Show,
    sweep: Path,
    prepared: Prepared,
    vectorization: Vectorization,
    most: int | None,
    prune: bool,
    *,
    shard: bool = False,
    must_stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = warnings.warn,
) -> list[CellResult]:
    """Trains every cell that is not finished; the results of all, in order.

    Args:
        show: what goes on, see `Board`.
        sweep: the folder in which each cell is written down.
        prepared: the cells.
        vectorization: how the trials of a program run.
        most: trials per program, or None for what the memory holds.
        prune: whether tuned values that fall behind are stopped.
        shard: whether each device has its part of the data only.
        must_stop: asked after every epoch.
        say: told what could not be written down, and what was lost and is made again.

    Raises:
        KeyboardInterrupt: when a process was told to stop, and all that was trained is written
            down.
    """
    results = []
    where: object = None
    board = Board(show, prepared)
    for index, plan in enumerate(prepared.plans):
        directory = CellDirectory(sweep, index)
        result = directory.result()
        if result is not None:
            board.skipped(plan.cost)
        else:
            if directory.lost:
                say(f"the result of cell {index + 1} is lost: it is trained again")
            if where != (plan.cell.data, plan.mesh):
                where, placed = (plan.cell.data, plan.mesh), plan.place(shard)
            trainer = Trainer(plan.run, placed.train, placed.validation, vectorization, plan.mesh)
            cell = CellRun(index, plan, trainer, directory, board, prune, must_stop, say)
            result = cell.run(most, placed.test)
            directory.finish(result)
            if must_stop():
                raise KeyboardInterrupt
        board.finished(result.trials)
        results.append(result)
    return results
