"""Trains the cells of a sweep one after another, writing down all that a kill must not lose."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnn_jax import storage, training
from cnn_jax.analysis import answers
from cnn_jax.analysis.pages import duration
from cnn_jax.display import count
from cnn_jax.studies.kept_trials import Keeper
from cnn_jax.studies.planning import CellPlan, Prepared
from cnn_jax.studies.rounds import budget_plans, next_round
from cnn_jax.studies.sweep_directory import CellDirectory, CellResult, row_name
from cnn_jax.training import Trainer
from cnn_jax.training.grid import Trial, choose, partition
from cnn_jax.training.loop import Standing, fitting
from cnn_jax.training.sweep import SweepState, Vectorization

# `(share of the work that is done, what goes on, the time left)`.
Show = Callable[[float, str, str], None]
# Is given a line that stays.
Say = Callable[[str], None]
# A cell of more rows than this is not told row by row.
_NAMED_ROWS = 4


class Board:
    """The live progress of a sweep.

    It says cells done, trials alive, the best so far and the time left. Work is counted in
    floating-point operations.

    Args:
        show: called with the share of the work that is done, what goes on, and the time left.
        prepared: the cells.
        say: called with a line for every cell that is finished.
    """

    def __init__(self, show: Show, prepared: Prepared, say: Say = lambda line: None):
        self._show, self._say = show, say
        self._variants, self._cells = prepared.study.grid.variants, 0
        self._total = self._done = self._worked = self._seconds = 0.0
        self._best: tuple[float, int] | None = None

    def add(self, plans: Sequence[CellPlan]) -> None:
        """Counts cells that are to come."""
        self._cells += len(plans)
        self._total += sum(plan.cost for plan in plans)

    def show(self, cell: int, text: str) -> None:
        """Says what is going on in a cell."""
        description = f"cell {cell + 1} of {self._cells}, {text}{self._best_text()}"
        self._show(self._done / self._total, description, self._left())

    def _best_text(self) -> str:
        if self._best is None:
            return ""
        return f", best {self._best[0]:.2%} ({row_name(self._variants[self._best[1]])})"

    def _left(self) -> str:
        if not self._worked:
            return ""
        remaining = (self._total - self._done) * self._seconds / self._worked
        return f"about {duration(remaining)} left"

    def worked(self, cost: float, seconds: float) -> None:
        """Counts work that was done now."""
        self._done += cost
        self._worked += cost
        self._seconds += seconds

    def skipped(self, cost: float) -> None:
        """Counts work that was done before, or need not be done."""
        self._done += cost

    def finished(self, cell: int, trials: Sequence[Trial]) -> None:
        """Says what has come of a cell.

        The best so far is by the last accuracy: on validation, or where nothing is held out on
        train.
        """
        for trial in trials:
            if trial.status == "finished":
                last = trial.history[-1]
                score = last.get("validation_accuracy", last["train_accuracy"])
                if self._best is None or score > self._best[0]:
                    self._best = score, trial.variant
        rows = [row_name(self._variants[row]) for row in dict.fromkeys(t.variant for t in trials)]
        if len(rows) > _NAMED_ROWS:
            rows = [*rows[:_NAMED_ROWS], f"{len(rows) - _NAMED_ROWS} rows more"]
        lost = sum(trial.status == "diverged" for trial in trials)
        networks = count(len(trials), "network")
        line = f"cell {cell + 1} of {self._cells} done: {'; '.join(rows)}, {networks}"
        line += f" ({lost} diverged)" if lost else ""
        left = self._left() if cell + 1 < self._cells else ""
        self._say(line + self._best_text() + (f", {left}" if left else ""))


@dataclass(frozen=True)
class CellRun:
    """One cell, from its first epoch or from where it was interrupted, to its result."""

    place: int
    plan: CellPlan
    trainer: Trainer
    directory: CellDirectory
    board: Board
    keeper: Keeper
    prune: bool
    must_stop: Callable[[], bool]
    warn: Say
    tests: bool = True

    def run(self, most: int | None, test: training.Examples) -> CellResult:
        """Trains all trials, chooses on validation, and only then reads the test split.

        Trials that are not reported are not chosen here, and never see it.

        Args:
            most: trials per program, or None for what the memory holds.
            test: the test split.
        """
        trials, groups = list(self.plan.cell.trials), self._groups(most)
        ends = [self._train(number, members) for number, members in enumerate(groups)]
        for members, (_, standing) in zip(groups, ends, strict=True):
            for index, trial in zip(members, standing.trials, strict=True):
                trials[index] = trial
        chosen = choose(trials) if self.tests else set()
        for index in chosen:
            trials[index] = replace(trials[index], chosen=True)
        for members, (state, standing) in zip(groups, ends, strict=True):
            tested = [place for place, index in enumerate(members) if index in chosen]
            found = self.trainer.test(state, standing, tested, test)
            for place, (score, right) in found.items():
                trials[members[place]] = replace(
                    trials[members[place]],
                    test_accuracy=score["accuracy"],
                    test_loss=score["loss"],
                    calibration_error=score["calibration_error"],
                    right=answers.pack(right),
                )
        ended = [replace(t, status="finished") if t.alive else t for t in trials]
        for members, end in zip(groups, ends, strict=True):
            self._keep(members, ended, *end)
        return CellResult(
            tuple(ended),
            self.plan.parameters,
            self.trainer.programs,
            self.trainer.compile_seconds,
            len(groups[0]),
        )

    def _keep(
        self, members: list[int], ended: list[Trial], state: SweepState, standing: Standing
    ) -> None:
        """Writes those trials of a group down that are wanted."""
        wanted = set(self.keeper.wanted(ended))
        places = [place for place, index in enumerate(members) if index in wanted]
        for place, alone in self.trainer.states(state, standing, places).items():
            self.keeper.keep(self.plan, ended[members[place]], alone)

    def _groups(self, most: int | None) -> list[list[int]]:
        """The trials that share a program call, as the cell was started with or now decided."""
        trials = self.plan.cell.trials
        count = len(trials)
        size = self.directory.group_size()
        if size is None:
            self.board.show(self.place, f"compiling for {min(most or count, count)} trials")
            size = fitting(self.trainer, trials, most)
            self.directory.begin(size)
        return partition(trials, size, whole_variants=self.prune)

    def _train(self, number: int, members: list[int]) -> tuple[SweepState, Standing]:
        trials, epochs = self.plan.cell.trials, self.plan.cell.config.epochs
        cost = self.plan.operations / epochs
        self.board.show(self.place, f"compiling for {len(members)} trials")
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
                    self.warn(f"{error}; it is tried again after the next epoch")
                if stop:
                    raise KeyboardInterrupt
            self.board.show(
                self.place,
                f"epoch {standing.epoch} of {epochs}, {len(standing.alive)} of {len(members)} "
                "trials alive",
            )
        self.board.skipped(cost * (epochs * len(members) - _trained(standing)))
        return state, standing


def _trained(standing: Standing) -> int:
    """The epochs of all trials."""
    return sum(len(trial.history) for trial in standing.trials)


class _Workshop:
    """Where cells are trained, round after round; a cell's programs serve all of its rounds."""

    def __init__(
        self,
        sweep: Path,
        board: Board,
        vectorization: Vectorization | None,
        most: int | None,
        prune: bool,
        keeper: Keeper,
        shard: bool,
        must_stop: Callable[[], bool],
        warn: Say,
    ):
        self._sweep, self._board, self._vectorization = sweep, board, vectorization
        self._keeper, self._count = keeper, 0
        self._most, self._prune, self._shard = most, prune, shard
        self._must_stop, self._warn = must_stop, warn
        self._where: object = None
        self._trainers: dict[int, Trainer] = {}

    def train(
        self, index: int, number: int, plan: CellPlan, tests: bool = True, places: int = 0
    ) -> CellResult:
        """One cell's trials of a round, to their end, or as they ended before, and says so.

        Args:
            index: of the cell.
            number: of the round.
            plan: of the cell, with the trials of this round.
            tests: whether they are reported.
            places: of the cell's program in the first round; 0 in that round.
        """
        directory = CellDirectory(self._sweep, index, number)
        result = directory.result()
        if result is None:
            if directory.lost:
                self._warn(f"the result of cell {self._count + 1} is lost: it is trained again")
            result = self._train(index, directory, plan, tests, places)
        else:
            self._board.skipped(plan.cost)
        self._board.finished(self._count, result.trials)
        self._count += 1
        return result

    def _train(
        self, index: int, directory: CellDirectory, plan: CellPlan, tests: bool, places: int
    ) -> CellResult:
        if self._where != (plan.cell.data, plan.mesh):
            self._where, self._placed = (plan.cell.data, plan.mesh), plan.place(self._shard)
            self._trainers = {}
        if index not in self._trainers:
            placed = self._placed
            self._trainers[index] = Trainer(
                plan.run,
                placed.train,
                placed.validation,
                self._vectorization or plan.vectorization,
                plan.mesh,
            )
        trainer = self._trainers[index]
        trainer.places = max(places, 1)
        before = trainer.programs, trainer.compile_seconds
        cell = CellRun(
            self._count, plan, trainer, directory, self._board, self._keeper, self._prune,
            self._must_stop, self._warn, tests,
        )  # fmt: skip
        result = cell.run(places or self._most, self._placed.test)
        result = result._replace(
            programs=result.programs - before[0], compile_seconds=result.compile_seconds - before[1]
        )
        directory.finish(result)
        if self._must_stop():
            raise KeyboardInterrupt
        return result


def run_cells(
    show: Show,
    sweep: Path,
    prepared: Prepared,
    vectorization: Vectorization | None,
    most: int | None,
    prune: bool,
    keeper: Keeper,
    *,
    say: Say = lambda line: None,
    shard: bool = False,
    must_stop: Callable[[], bool] = lambda: False,
    warn: Say = warnings.warn,
) -> list[CellResult]:
    """Trains every cell that is not finished, round after round; the results of all, in order.

    Args:
        show: what goes on, see `Board`.
        sweep: the folder in which each cell is written down.
        prepared: the cells.
        vectorization: how the trials of a program run; as each cell's plan says if None.
        most: trials per program, or None for what the memory holds.
        prune: whether tuned values that fall behind are stopped.
        keeper: which trials are kept as runs.
        say: what has come of each cell, likewise.
        shard: whether each device has its part of the data only.
        must_stop: asked after every epoch.
        warn: told what could not be written down, and what was lost and is made again.

    Raises:
        KeyboardInterrupt: when a process was told to stop, and all that was trained is written
            down.
    """
    board = Board(show, prepared, say)
    workshop = _Workshop(sweep, board, vectorization, most, prune, keeper, shard, must_stop, warn)
    results: list[CellResult] = []
    places: dict[int, int] = {}
    number = 0
    while following := next_round(prepared.study, [t for r in results for t in r.trials]):
        plans = _plans(prepared, following.trials)
        board.add(list(plans.values()))
        for index, plan in plans.items():
            result = workshop.train(index, number, plan, following.tests, places.get(index, 0))
            places.setdefault(index, result.places)
            results.append(result)
        number += 1
    trained = [trial for result in results for trial in result.trials]
    keeper.settle(trained)
    beside = budget_plans(prepared, trained)
    board.add(beside)
    for index, plan in enumerate(beside, start=len(prepared.plans)):
        results.append(workshop.train(index, 0, plan))
    return results


def _plans(prepared: Prepared, trials: Sequence[Trial]) -> Mapping[int, CellPlan]:
    """The cells that these trials are of, with no others, by index."""
    # Where seeds differ in the split, a row has a cell for each.
    by_seed = "split" in prepared.study.sources

    def place(trial: Trial) -> tuple[int, int | None]:
        return trial.variant, trial.seed if by_seed else None

    found = {}
    for index, plan in enumerate(prepared.plans):
        places = set(map(place, plan.cell.trials))
        ours = tuple(trial for trial in trials if place(trial) in places)
        if ours:
            found[index] = plan._replace(cell=replace(plan.cell, trials=ours))
    return found
