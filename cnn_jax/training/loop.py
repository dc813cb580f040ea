"""The loop around the compiled epoch of many trials: divergence, pruning, memory."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, PRNGKeyArray, PyTree

from cnn_jax.training.batches import Size
from cnn_jax.training.devices import TRIAL_AXIS, mesh_shape, put, split, whole
from cnn_jax.training.grid import Trial
from cnn_jax.training.processes import fetch, least
from cnn_jax.training.programs import compile_epoch, program_cost
from cnn_jax.training.run import Run
from cnn_jax.training.selection import losers
from cnn_jax.training.sweep import SweepState, Trials, Vectorization, make_sweep
from cnn_jax.training.task import Examples

Status = Literal["training", "diverged", "pruned"]
FILLER = -1
Arrays = TypeVar("Arrays", bound=PyTree)
# The share of a device's memory that a program may fill; the rest is for the runtime.
_MEMORY_SHARE = 0.8
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Standing:
    """How the trials of a group stand after an epoch; builtins only, so it can be written down.

    Attributes:
        epoch: epochs done.
        places: the trial at each place of the program, an index; `FILLER` where a place only makes
            the number of places a multiple of the devices.
        status: per trial.
        histories: per trial, one record an epoch, up to the epoch at which it was stopped.
    """

    epoch: int
    places: tuple[int, ...]
    status: tuple[Status, ...]
    histories: tuple[tuple[dict[str, float], ...], ...]

    @property
    def alive(self) -> list[bool]:
        """Which trials still train."""
        return [status == "training" for status in self.status]


class CellEpoch(NamedTuple):
    """What one epoch of a group of trials left behind, and the seconds that it took.

    The state's memory is reused by the next epoch, so save it before going on.
    """

    state: SweepState
    standing: Standing
    seconds: float


class Trainer:
    """Trains groups of trials that share their static choices and their data.

    Attributes:
        programs: compiled so far; one per number of places and size of images.
        compile_seconds: spent on that.
    """

    def __init__(
        self,
        run: Run,
        train: Examples,
        validation: Examples | None,
        vectorization: Vectorization,
        mesh: Mesh | None = None,
    ):
        self.compile_seconds = 0.0
        self._run, self._sweep = run, make_sweep(run, vectorization, mesh)
        self._train, self._validation = train, validation
        self._vectorization, self._mesh = vectorization, mesh
        self._sizes = run.sizes
        self._compiled: dict[tuple[int, Size], jax.stages.Compiled] = {}

    @property
    def programs(self) -> int:
        """How many were compiled."""
        return len(self._compiled)

    def start(self, trials: Sequence[Trial]) -> tuple[SweepState, Standing]:
        """The state and the standing of some trials before the first epoch."""
        count = len(trials)
        status: list[Status] = ["training"] * count
        standing = Standing(0, self._fill(range(count)), tuple(status), ((),) * count)
        init = jax.jit(self._sweep.init, out_shardings=split(self._mesh, TRIAL_AXIS))
        state = init(self._stack(trials, standing.places), self._train)
        return self._mask(state, standing, range(count)), standing

    def like(self, trials: Sequence[Trial], standing: Standing) -> SweepState:
        """Shapes, types and places of the state at a standing, for reading a checkpoint.

        Where other devices wrote it, and its places cannot be split over these, it is read whole.
        """
        even = len(standing.places) % mesh_shape(self._mesh).trial == 0
        where = split(self._mesh, TRIAL_AXIS) if even else whole(self._mesh)
        return self._abstract(trials[0], len(standing.places), where)

    def adopt(self, state: SweepState, standing: Standing) -> tuple[SweepState, Standing]:
        """What `like` read, with as many places as these devices ask for."""
        members = [index for index in standing.places if index != FILLER]
        if standing.places == self._fill(members):
            return state, standing
        state, standing = self._arrange(state, standing, members)
        return self._mask(state, standing, np.flatnonzero(standing.alive)), standing

    def memory(self, trials: Sequence[Trial]) -> int:
        """Bytes that their program needs on each device, 0 if unknown; compiles it."""
        return program_cost(self.program(trials)).device_bytes

    def program(self, trials: Sequence[Trial]) -> jax.stages.Compiled:
        """The compiled program of these trials' last epoch, whose images are the largest."""
        stacked = self._stack(trials, self._fill(range(len(trials))))
        return self._program(stacked, trials[0], self._sizes[-1])

    def fit(
        self,
        trials: Sequence[Trial],
        state: SweepState,
        standing: Standing,
        epochs: int,
        prune: bool = False,
    ) -> Iterator[CellEpoch]:
        """Trains from a standing until `epochs` epochs are done or no trial is alive.

        With `prune`, tuned values that fall behind are stopped as `selection.losers` says.
        """
        stacked = self._stack(trials, standing.places)
        while standing.epoch < epochs and any(standing.alive):
            program = self._program(stacked, trials[0], self._sizes[standing.epoch])
            start = time.perf_counter()
            state, metrics = jax.block_until_ready(
                program(state, stacked, self._train, self._validation)
            )
            seconds = time.perf_counter() - start
            standing = _advance(standing, *fetch((state.alive, metrics)))
            if prune:
                places = standing.places
                state, standing = self._prune(trials, state, standing, epochs)
                if standing.places != places:
                    stacked = self._stack(trials, standing.places)
            yield CellEpoch(state, standing, seconds)

    def evaluate(
        self,
        trials: Sequence[Trial],
        state: SweepState,
        standing: Standing,
        chosen: Iterable[int],
        examples: Examples,
    ) -> dict[int, dict[str, float]]:
        """Loss and accuracy over a whole split, of the chosen trials that are alive."""
        wanted = {index for index in chosen if standing.alive[index]}
        if not wanted:
            return {}
        state = self._mask(state, standing, wanted)
        stacked = self._stack(trials, standing.places)
        metrics = fetch(jax.jit(self._sweep.evaluate)(state, stacked, examples))
        return {
            index: {name: float(values[spot]) for name, values in metrics.items()}
            for spot, index in enumerate(standing.places)
            if index in wanted
        }

    def _prune(
        self, trials: Sequence[Trial], state: SweepState, standing: Standing, epochs: int
    ) -> tuple[SweepState, Standing]:
        stopped = losers(trials, standing.alive, standing.histories, standing.epoch, epochs)
        if not stopped:
            return state, standing
        status: list[Status] = list(standing.status)
        for index in stopped:
            status[index] = "pruned"
        standing = replace(standing, status=tuple(status))
        survivors = [index for index, alive in enumerate(standing.alive) if alive]
        # A map skips trials that are not alive; from vmapped operations they have to be taken out.
        if self._vectorization == "vmap" and survivors:
            state, standing = self._arrange(state, standing, survivors)
        return self._mask(state, standing, survivors), standing

    def _arrange(
        self, state: SweepState, standing: Standing, members: Sequence[int]
    ) -> tuple[SweepState, Standing]:
        """The state with places for these trials only; what fills them up is a copy."""
        places = self._fill(members)
        spots = np.array([standing.places.index(max(i, members[0])) for i in places])

        def taken(state: SweepState) -> SweepState:
            return jax.tree.map(lambda leaf: leaf[spots], state)

        state = jax.jit(taken, out_shardings=split(self._mesh, TRIAL_AXIS))(state)
        return state, replace(standing, places=places)

    def _fill(self, members: Sequence[int]) -> tuple[int, ...]:
        devices = mesh_shape(self._mesh).trial
        return (*members, *[FILLER] * (-len(members) % devices))

    def _mask(self, state: SweepState, standing: Standing, living: Iterable[int]) -> SweepState:
        wanted = set(living)
        alive = jnp.asarray([index in wanted for index in standing.places])
        return state._replace(alive=self._place(alive))

    def _place(self, arrays: Arrays) -> Arrays:
        return put(arrays, split(self._mesh, TRIAL_AXIS))

    def _stack(self, trials: Sequence[Trial], places: Sequence[int]) -> Trials:
        members = [trials[max(index, 0)] for index in places]
        hparams = {
            name: jnp.asarray([trial.hparams[name] for trial in members], jnp.float32)
            for name in members[0].hparams
        }
        keys = jax.vmap(jax.random.key)(jnp.asarray([trial.seed for trial in members]))
        return self._place(Trials(hparams, keys))

    def _abstract(self, trial: Trial, places: int, where: Sharding) -> SweepState:
        def one(hparams: dict[str, Array], key: PRNGKeyArray) -> SweepState:
            return SweepState(self._run.init(hparams, key), jnp.asarray(True))

        def stacked(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((places, *leaf.shape), leaf.dtype, sharding=where)

        hparams = {name: jnp.float32(value) for name, value in trial.hparams.items()}
        return jax.tree.map(stacked, jax.eval_shape(one, hparams, jax.random.key(0)))

    def _program(self, stacked: Trials, like: Trial, size: Size) -> jax.stages.Compiled:
        which = len(stacked.keys), size
        if which not in self._compiled:
            start = time.perf_counter()
            state = self._abstract(like, len(stacked.keys), split(self._mesh, TRIAL_AXIS))
            self._compiled[which] = compile_epoch(
                self._sweep.epoch[size], state, stacked, self._train, self._validation
            )
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[which]


def fitting(trainer: Trainer, trials: Sequence[Trial], most: int | None) -> int:
    """How many trials share a program: at most `most`, or as many as a device's memory holds."""
    size = min(most or len(trials), len(trials))
    while most is None and size > 1:
        need, limit = trainer.memory(trials[:size]), memory_limit()
        if need <= limit:
            break
        size = max(1, min(size - 1, size * limit // need))
    return size


def memory_limit() -> int:
    """Bytes that a program may use on each device: of the device, or of the machine's memory.

    Of several processes, what the one with the least has.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = int(_MEMORY_SHARE * stats.get("bytes_limit", machine))
    return least(limit // _MEBIBYTE) * _MEBIBYTE


def _advance(standing: Standing, alive: np.ndarray, metrics: dict[str, np.ndarray]) -> Standing:
    epoch = standing.epoch + 1
    status, histories = list(standing.status), list(standing.histories)
    for spot, index in enumerate(standing.places):
        if index == FILLER or status[index] != "training":
            continue
        row = {name: float(values[spot]) for name, values in metrics.items()}
        histories[index] += ({"epoch": epoch, **row},)
        if not alive[spot]:
            status[index] = "diverged"
    return Standing(epoch, standing.places, tuple(status), tuple(histories))
