"""The loop around the compiled epoch of many trials, or one: divergence, pruning, memory."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding
from jaxtyping import Bool, PRNGKeyArray

from cnn_jax import compilation
from cnn_jax.training.config import Config, hyperparameters
from cnn_jax.training.devices import TRIAL_AXIS, mesh_shape, put, split, whole
from cnn_jax.training.grid import Status, Trial, losers
from cnn_jax.training.processes import fetch
from cnn_jax.training.programs import compile_epoch, memory_limit, program_cost
from cnn_jax.training.run import Points, Run, TrainState, make_run
from cnn_jax.training.sweep import SweepState, Trials, Vectorization, make_sweep
from cnn_jax.training.task import Examples, Size, Task

FILLER = -1


@dataclass(frozen=True)
class Standing:
    """How the trials of a group stand after an epoch.

    Attributes:
        epoch: epochs done.
        places: the trial at each place of the program, an index; `FILLER` where a place only makes
            the number of places a multiple of the devices.
        trials: with all that has come of them.
    """

    epoch: int
    places: tuple[int, ...]
    trials: tuple[Trial, ...]

    @property
    def alive(self) -> list[int]:
        """The trials that still train, as indices."""
        return [index for index, trial in enumerate(self.trials) if trial.alive]


class CellEpoch(NamedTuple):
    """What one epoch of a group of trials left behind.

    Attributes:
        state: its memory is reused by the next epoch, so save it before going on.
        standing: of the trials.
        train_seconds: wall time of the training pass.
        seconds: of all of it, the evaluation on validation included.
        points: of each trial at a place of the program, what the epoch looked like inside.
    """

    state: SweepState
    standing: Standing
    train_seconds: float
    seconds: float
    points: Points


class Trainer:
    """Trains groups of trials that share their static choices and their data.

    Attributes:
        programs: of epochs compiled so far; one per number of places and size of images.
        sizes: of the images in each epoch of the run.
        compile_seconds: spent on compilation.
        places: that a program has at least, so that fewer trials need no other; 1 if not set.
    """

    def __init__(
        self,
        run: Run,
        train: Examples,
        validation: Examples | None,
        vectorization: Vectorization = "map",
        mesh: Mesh | None = None,
    ):
        self.compile_seconds, self.places = 0.0, 1
        self._run, self._sweep = run, make_sweep(run, vectorization, mesh)
        self._train, self._validation = train, validation
        self._vectorization, self._mesh = vectorization, mesh
        self._by_trial = split(mesh, TRIAL_AXIS)
        self.sizes = run.sizes
        self._programs: dict[tuple[int, Size | None], jax.stages.Compiled] = {}
        self._test = compilation.jit(self._sweep.test)
        self._alone = compilation.jit(_first, out_shardings=whole(self._mesh))

    @property
    def programs(self) -> int:
        """How many were compiled."""
        return sum(size is not None for _, size in self._programs)

    def start(self, trials: Sequence[Trial]) -> tuple[SweepState, Standing]:
        """The state and the standing of some trials before the first epoch."""
        standing = Standing(0, self._fill(range(len(trials))), tuple(trials))
        keys = self._keys(standing, "init_seed")
        stacked = self._stack(standing)._replace(keys=put(keys, self._by_trial))
        init, constants = compilation.closure_converted(self._sweep.init, stacked, self._train)
        init = compilation.jit(init, out_shardings=self._by_trial)
        state = init(put(constants, whole(self._mesh)), stacked, self._train)
        return self._mask(state, standing), standing

    def like(self, standing: Standing) -> SweepState:
        """Shapes, types and places of the state at a standing, for reading a checkpoint.

        Where other devices wrote it, and its places cannot be split over these, it is read whole.
        """
        even = len(standing.places) % mesh_shape(self._mesh).trial == 0
        where = self._by_trial if even else whole(self._mesh)
        return self._abstract(standing.trials[0], where, len(standing.places))

    def adopt(self, state: SweepState, standing: Standing) -> tuple[SweepState, Standing]:
        """What `like` read, with as many places as these devices ask for."""
        members = [index for index in standing.places if index != FILLER]
        if standing.places == self._fill(members):
            return state, standing
        state, standing = self._arrange(state, standing, members)
        return self._mask(state, standing), standing

    def alone(self, state: SweepState) -> TrainState:
        """The state of the only trial of a program as that of a lone run, whole on every device."""
        return self._alone(state.states)

    def like_alone(self, trial: Trial) -> TrainState:
        """Shapes, types and places of what `alone` gives, for reading a checkpoint."""
        return self._abstract(trial, whole(self._mesh)).states

    def resume(self, state: TrainState, trial: Trial) -> tuple[SweepState, Standing]:
        """What `alone` gave as the state of a program again, with its trial's standing."""
        stack = compilation.jit(
            partial(jax.tree.map, lambda leaf: leaf[None]), out_shardings=self._by_trial
        )
        standing = Standing(int(state.epoch), (0,), (trial,))
        return self._mask(SweepState(stack(state), jnp.ones(1, bool)), standing), standing

    def memory(self, trials: Sequence[Trial]) -> int:
        """Bytes that their program needs on each device, 0 if unknown; compiles it."""
        return program_cost(self.program(trials)).device_bytes

    def program(self, trials: Sequence[Trial]) -> jax.stages.Compiled:
        """The compiled program of these trials' last epoch, whose images are the largest."""
        standing = Standing(0, self._fill(range(len(trials))), tuple(trials))
        return self._program(standing, self._stack(standing), self.sizes[-1])

    def compile(self, standing: Standing) -> None:
        """Compiles all that `fit` needs from a standing on, which otherwise does it as it goes."""
        sizes: list[Size | None] = list(dict.fromkeys(self.sizes[standing.epoch :]))
        if sizes and self._validation is not None:
            sizes.append(None)
        stacked = self._stack(standing)
        for size in sizes:
            self._program(standing, stacked, size)

    def fit(
        self,
        state: SweepState,
        standing: Standing,
        epochs: int,
        prune: bool = False,
        stop_diverged: bool = True,
    ) -> Iterator[CellEpoch]:
        """Trains from a standing until `epochs` epochs are done or no trial is alive.

        Args:
            state: before the first epoch or from a checkpoint; its memory is given up.
            standing: of the trials.
            epochs: in all, those that are done included.
            prune: whether tuned values that fall behind are stopped as `grid.losers` says.
            stop_diverged: whether trials that diverged are; if not they go on to the end.
        """
        stacked = self._stack(standing)
        while standing.epoch < epochs and standing.alive:
            train = self._program(standing, stacked, self.sizes[standing.epoch])
            if self._validation is not None:
                validate = self._program(standing, stacked, None)
            start = time.perf_counter()
            state, metrics, points = jax.block_until_ready(train(state, stacked, self._train))
            train_seconds = time.perf_counter() - start
            finite, metrics, points = fetch((state.alive, metrics, points))
            rows = _rows(metrics, standing, standing.alive)
            if self._validation is not None:
                held_out = fetch(validate(self._mask(state, standing), stacked, self._validation))
                for index, row in _rows(held_out, standing, standing.alive).items():
                    rows[index] |= {f"validation_{name}": value for name, value in row.items()}
            seconds = time.perf_counter() - start
            lost = [i for i in standing.alive if not finite[standing.places.index(i)]]
            standing = _advance(standing, rows, seconds)
            if stop_diverged:
                standing = _stopped(standing, lost, "diverged")
            elif lost:
                state = self._mask(state, standing)
            if prune:
                places = standing.places
                state, standing = self._prune(state, standing, epochs)
                if standing.places != places:
                    stacked = self._stack(standing)
            yield CellEpoch(state, standing, train_seconds, seconds, points)

    def test(
        self, state: SweepState, standing: Standing, chosen: Iterable[int], examples: Examples
    ) -> dict[int, tuple[dict[str, float], Bool[np.ndarray, " n"]]]:
        """Of the chosen trials that are alive, by index: how they do on a whole split.

        Loss, accuracy and calibration error; beside them, which examples each has right.
        """
        wanted = {index for index in chosen if standing.trials[index].alive}
        if not wanted:
            return {}
        state = self._mask(state, standing, wanted)
        found = self._test(state, self._stack(standing), examples)
        metrics, right = fetch(found)
        rows = _rows(metrics, standing, wanted)
        return {index: (row, right[standing.places.index(index)]) for index, row in rows.items()}

    def states(
        self, state: SweepState, standing: Standing, wanted: Collection[int]
    ) -> dict[int, TrainState]:
        """Of these trials the states as those of lone runs, on the host."""
        if not wanted:
            return {}
        held = fetch(state.states)
        places = {index: standing.places.index(index) for index in wanted}
        return {
            index: jax.tree.map(lambda leaf, place=place: leaf[place], held)
            for index, place in places.items()
        }

    def _prune(
        self, state: SweepState, standing: Standing, epochs: int
    ) -> tuple[SweepState, Standing]:
        stopped = losers(standing.trials, standing.epoch, epochs)
        if not stopped:
            return state, standing
        standing = _stopped(standing, stopped, "pruned")
        # A map skips trials that are not alive; from vmapped operations they have to be taken out.
        if self._vectorization != "map" and standing.alive:
            state, standing = self._arrange(state, standing, standing.alive)
        return self._mask(state, standing), standing

    def _arrange(
        self, state: SweepState, standing: Standing, members: Sequence[int]
    ) -> tuple[SweepState, Standing]:
        """The state with places for these trials only; what fills them up is a copy."""
        places = self._fill(members)
        spots = np.array([standing.places.index(max(i, members[0])) for i in places])
        take = compilation.jit(
            partial(jax.tree.map, lambda leaf: leaf[spots]), out_shardings=self._by_trial
        )
        return take(state), replace(standing, places=places)

    def _fill(self, members: Sequence[int]) -> tuple[int, ...]:
        devices = mesh_shape(self._mesh).trial
        missing = max(self.places - len(members), 0)
        return (*members, *[FILLER] * (missing + -(len(members) + missing) % devices))

    def _mask(
        self, state: SweepState, standing: Standing, living: Iterable[int] | None = None
    ) -> SweepState:
        wanted = set(standing.alive if living is None else living)
        alive = jnp.asarray([index in wanted for index in standing.places])
        return state._replace(alive=put(alive, self._by_trial))

    def _stack(self, standing: Standing) -> Trials:
        members = [standing.trials[max(index, 0)] for index in standing.places]
        hparams = {
            name: jnp.asarray([trial.hparams[name] for trial in members], jnp.float32)
            for name in members[0].hparams
        }
        return put(Trials(hparams, self._keys(standing, "order_seed")), self._by_trial)

    def _keys(self, standing: Standing, stream: str) -> PRNGKeyArray:
        """Of each place the key of its trial's seed, or of that of a stream."""
        members = [standing.trials[max(index, 0)] for index in standing.places]
        own = [getattr(trial, stream) for trial in members]
        seeds = [t.seed if seed is None else seed for t, seed in zip(members, own, strict=True)]
        return jax.vmap(jax.random.key)(jnp.asarray(seeds))

    def _abstract(self, trial: Trial, where: Sharding, *places: int) -> SweepState:
        """Shapes, types and places of the state of one trial, or of so many."""
        hparams = jax.tree.map(jnp.float32, trial.hparams)
        states = jax.eval_shape(self._run.init, hparams, jax.random.key(0))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*places, *leaf.shape), leaf.dtype, sharding=where),
            SweepState(states, jnp.asarray(True)),
        )

    def _program(
        self, standing: Standing, stacked: Trials, size: Size | None
    ) -> jax.stages.Compiled:
        """An epoch with images of a size; without one, the evaluation on the examples held out."""
        which = len(standing.places), size
        if which not in self._programs:
            start = time.perf_counter()
            function: Callable = self._sweep.epoch[size] if size else self._sweep.evaluate
            examples = self._train if size else self._validation
            state = self._abstract(standing.trials[0], self._by_trial, which[0])
            self._programs[which] = compile_epoch(
                function, state, stacked, examples, donate=bool(size)
            )
            self.compile_seconds += time.perf_counter() - start
        return self._programs[which]


class Epoch(NamedTuple):
    """What one epoch of a lone run left behind.

    Attributes:
        state: after the epoch.
        metrics: the last record of the history of a `Trial`.
        seconds: wall time of the training pass.
    """

    state: TrainState
    metrics: dict[str, float]
    seconds: float


def fit(
    config: Config,
    task: Task,
    train: Examples,
    validation: Examples | None = None,
    chosen: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Iterator[Epoch]:
    """Trains one network, a sweep of one trial, and pauses after every epoch.

    Args:
        config: the static choices.
        task: the shape of the problem.
        train: the training set.
        validation: examples held out, or None.
        chosen: hyperparameters by name; the others have their defaults.
        seed: of initialization, data order and every other draw.

    Raises:
        UsageError: if a number is chosen that the config does not read, or what `make_run` raises.
    """
    trainer = Trainer(make_run(config, task), train, validation)
    state, standing = trainer.start([Trial(0, {}, seed, hyperparameters(config, chosen or {}))])
    for end in trainer.fit(state, standing, config.epochs, stop_diverged=False):
        (trial,) = end.standing.trials
        yield Epoch(trainer.alone(end.state), trial.history[-1], end.train_seconds)


def fitting(trainer: Trainer, trials: Sequence[Trial], most: int | None) -> int:
    """How many trials share a program: at most `most`, or as many as a device's memory holds."""
    size = min(most or len(trials), len(trials))
    while most is None and size > 1:
        need, limit = trainer.memory(trials[:size]), memory_limit()
        if need <= limit:
            break
        size = max(1, min(size - 1, size * limit // need))
    return size


def _rows(
    metrics: Mapping[str, np.ndarray], standing: Standing, wanted: Collection[int]
) -> dict[int, dict[str, float]]:
    """The metrics of these trials, by their index; what is infinite is NaN, JSON has neither."""
    return {
        index: {name: _finite(float(values[spot])) for name, values in metrics.items()}
        for spot, index in enumerate(standing.places)
        if index in wanted
    }


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _advance(standing: Standing, rows: Mapping[int, dict[str, float]], seconds: float) -> Standing:
    """After one more epoch that these trials took part in."""
    epoch, trials = standing.epoch + 1, list(standing.trials)
    for index, row in rows.items():
        history = (*trials[index].history, {"epoch": epoch, **row})
        spent = trials[index].seconds + seconds / len(rows)
        trials[index] = replace(trials[index], history=history, seconds=spent)
    return Standing(epoch, standing.places, tuple(trials))


def _stopped(standing: Standing, members: Collection[int], status: Status) -> Standing:
    trials = [
        replace(trial, status=status) if index in members else trial
        for index, trial in enumerate(standing.trials)
    ]
    return replace(standing, trials=tuple(trials))


def _first(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[0], state)
