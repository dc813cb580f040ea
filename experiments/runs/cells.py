"""Trains the cells of a sweep one after another, writing down all that a kill must not lose."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from cnn_jax import data, training
from cnn_jax.training import selection
from cnn_jax.training.grid import Trial
from cnn_jax.training.loop import Standing, Trainer, fitting
from cnn_jax.training.sweep import SweepState, Vectorization

from .ablation_plan import CellPlan, Data
from .progress import Board
from .sweep_directory import CellDirectory


class CellRun:
    """One cell, from its first epoch or from where it was interrupted, to its result."""

    def __init__(
        self,
        index: int,
        plan: CellPlan,
        trainer: Trainer,
        directory: CellDirectory,
        board: Board,
        prune: bool,
        must_stop: Callable[[], bool],
    ):
        self._index, self._plan, self._trainer = index, plan, trainer
        self._directory, self._board, self._prune = directory, board, prune
        self._must_stop = must_stop
        self._trials = plan.cell.trials
        self._seconds = [0.0] * len(self._trials)

    def run(self, most: int | None, test: training.Examples) -> dict[str, Any]:
        """Trains all trials, chooses on validation, and only then reads the test split.

        Args:
            most: trials per program, or None for what the memory holds.
            test: the test split.
        """
        groups = self._groups(most)
        ends = [self._train(number, members) for number, members in enumerate(groups)]
        status = [""] * len(self._trials)
        histories: list[tuple] = [()] * len(self._trials)
        for members, (_, standing) in zip(groups, ends, strict=True):
            for place, index in enumerate(members):
                ended = standing.status[place]
                status[index] = "finished" if ended == "training" else ended
                histories[index] = standing.histories[place]
        chosen = selection.choose(self._trials, status, histories)
        tested: dict[int, dict[str, float]] = {}
        for members, (state, standing) in zip(groups, ends, strict=True):
            scores = self._trainer.evaluate(
                [self._trials[index] for index in members],
                state,
                standing,
                [place for place, index in enumerate(members) if index in chosen],
                test,
            )
            tested |= {members[place]: score for place, score in scores.items()}
        return {
            "trials": [
                {
                    "variant": trial.variant,
                    "tuned": trial.tuned,
                    "seed": trial.seed,
                    "status": status[index],
                    "chosen": index in chosen,
                    "history": list(histories[index]),
                    "test": tested.get(index),
                    "seconds": self._seconds[index],
                }
                for index, trial in enumerate(self._trials)
            ],
            "parameters": self._plan.parameters,
            "programs": self._trainer.programs,
            "compile_seconds": self._trainer.compile_seconds,
        }

    def _groups(self, most: int | None) -> list[list[int]]:
        """The trials that share a program call, as the cell was started with or now decided."""
        count = len(self._trials)
        size = self._directory.group_size()
        if size is None:
            self._board.show(self._index, f"compiling for {min(most or count, count)} trials")
            size = fitting(self._trainer, self._trials, most)
            self._directory.begin(size)
        return selection.partition(self._trials, size, whole_variants=self._prune)

    def _train(self, number: int, members: list[int]) -> tuple[SweepState, Standing]:
        trials = [self._trials[index] for index in members]
        epochs = self._plan.cell.config.epochs
        cost = self._plan.operations / epochs
        self._board.show(self._index, f"compiling for {len(trials)} trials")
        restored = self._directory.restore(number, self._trainer, trials)
        if restored is None:
            state, standing = self._trainer.start(trials)
            seconds = [0.0] * len(trials)
        else:
            state, standing, seconds = restored
            self._board.skipped(cost * sum(map(len, standing.histories)))
        for end in self._trainer.fit(trials, state, standing, epochs, self._prune):
            trained = [
                place
                for place, history in enumerate(end.standing.histories)
                if len(history) > len(standing.histories[place])
            ]
            state, standing = end.state, end.standing
            for place in trained:
                seconds[place] += end.seconds / len(trained)
            if standing.epoch < epochs or len(members) < len(self._trials):
                self._directory.save(number, state, standing, seconds)
                if self._must_stop():
                    raise KeyboardInterrupt
            self._board.worked(cost * len(trained), end.seconds)
            self._show(standing, epochs, trials)
        self._board.skipped(cost * sum(epochs - len(h) for h in standing.histories))
        for index, spent in zip(members, seconds, strict=True):
            self._seconds[index] = spent
        return state, standing

    def _show(self, standing: Standing, epochs: int, trials: list[Trial]) -> None:
        self._board.show(
            self._index,
            f"epoch {standing.epoch} of {epochs}, {sum(standing.alive)} of {len(trials)} trials "
            "alive",
        )


def run_cells(
    board: Board,
    directories: list[CellDirectory],
    plans: list[CellPlan],
    loaded: dict[Any, Data],
    *,
    vectorization: Vectorization,
    shard_data: bool,
    most: int | None,
    prune: bool,
    must_stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Trains every cell that is not finished; the results of all, in order.

    Args:
        board: shows what goes on.
        directories: where each cell is written down.
        plans: of each cell.
        loaded: data sets by what identifies them.
        vectorization: how the trials of a program run.
        shard_data: whether devices that share batches have their part of the data set only.
        most: trials per program, or None for what the memory holds.
        prune: whether tuned values that fall behind are stopped.
        must_stop: asked when all that was trained is written down.

    Raises:
        KeyboardInterrupt: if it says so.
    """
    results = []
    placed: tuple[Any, training.Examples, training.Examples | None, training.Examples] | None = None
    with board.progress:
        for index, (plan, directory) in enumerate(zip(plans, directories, strict=True)):
            result = directory.result()
            if result is not None:
                board.skipped(plan.cost)
            else:
                where = plan.cell.data, plan.mesh
                if placed is None or placed[0] != where:
                    placed = (where, *place(loaded[plan.cell.data], plan.mesh, shard_data))
                _, train, validation, test = placed
                trainer = Trainer(plan.run, train, validation, vectorization, plan.mesh)
                cell = CellRun(index, plan, trainer, directory, board, prune, must_stop)
                result = cell.run(most, test)
                directory.finish(result)
                if must_stop():
                    raise KeyboardInterrupt
            board.finished(result["trials"])
            results.append(result)
    return results


def place(
    loaded: Data, mesh: Mesh | None, shard: bool
) -> tuple[training.Examples, training.Examples | None, training.Examples]:
    """The training, validation and test split on the devices, None where nothing is held out."""

    def put(split: data.Split) -> training.Examples:
        return training.to_device(split, mesh, shard)

    validation = put(loaded.validation) if len(loaded.validation) else None
    return put(loaded.dataset.train), validation, put(loaded.dataset.test)
