"""Many runs as one program: the trials of a cell, mapped over hyperparameters and seeds.

A trial is the run of `make_run`, unchanged. On an accelerator the trials of a program are vmapped,
with convolutions as products; on CPU, where vmapped matrix products cost more per model than a lone
run's, they are mapped one after another inside the same compiled program. Over several devices they
are split along the mesh axis `trial`, between whose devices nothing is communicated; what is split
along `batch` is the run's own affair.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from cnn_jax.ops import Lowering, lowering_on_accelerators, lowering_on_cpu
from cnn_jax.training.devices import TRIAL_AXIS
from cnn_jax.training.run import Points, Run
from cnn_jax.training.step import TrainState
from cnn_jax.training.task import Examples, Size

Vectorization = Literal["map", "vmap", "products"]
VECTORIZATIONS: tuple[Vectorization, ...] = ("map", "vmap", "products")


class Trials(NamedTuple):
    """What the trials of a program differ in; the leading axis is the trial.

    Attributes:
        hparams: each hyperparameter's value per trial.
        keys: the key of each trial's seed.
    """

    hparams: dict[str, Float[Array, " trials"]]
    keys: PRNGKeyArray


class SweepState(NamedTuple):
    """The training states of all trials, and which of them still train."""

    states: TrainState
    alive: Bool[Array, " trials"]


Metrics = dict[str, Float[Array, " trials"]]


Trained = tuple[SweepState, Metrics, Points]


class Sweep(NamedTuple):
    """The pure functions of many runs at once.

    A trial that is not alive keeps its state, and its metrics are NaN. A trial whose loss or
    parameters are no longer finite after an epoch is not alive from then on.

    Attributes:
        init: `(trials, train) -> state` before the first step.
        epoch: `(state, trials, train) -> (state, metrics, points)`: one pass of every trial over
            the training set, and what each looked like inside. A function for each size that the
            images have in some epoch.
        evaluate: `(state, trials, examples) -> metrics` over a whole split.
        test: the same and calibration errors, and of each trial which examples it has right.
    """

    init: Callable[[Trials, Examples], SweepState]
    epoch: Mapping[Size, Callable[[SweepState, Trials, Examples], Trained]]
    evaluate: Callable[[SweepState, Trials, Examples], Metrics]
    test: Callable[[SweepState, Trials, Examples], tuple[Metrics, Bool[Array, "trials n"]]]


# Asked for its shapes and then called, it is traced once; inlined, it makes the same program.
_traced_once = partial(jax.jit, inline=True)


def choose_vectorization(trials: int) -> Vectorization:
    """How trials run together where they run fastest (measured: docs/accelerators.md).

    Args:
        trials: that share a program on a device.
    """
    return "map" if jax.default_backend() == "cpu" or trials == 1 else "products"


def make_sweep(run: Run, vectorization: Vectorization, mesh: Mesh | None = None) -> Sweep:
    """The functions of many trials of `run`.

    Args:
        run: of one trial, made for the same mesh.
        vectorization: "map" for one trial after another, "vmap" for all in the same operations,
            "products" for these with convolutions as products on accelerators too.
        mesh: devices, along whose axis `trial` the trials are split; their number must be a
            multiple of these. The functions then have to be compiled.
    """
    over_trials = _OVER_TRIALS[vectorization]

    def init(trials: Trials, train: Examples) -> SweepState:
        def one(hparams: dict[str, Array], key: PRNGKeyArray) -> TrainState:
            return run.init(hparams, key, train)

        states = over_trials(one)(trials.hparams, trials.keys)
        return SweepState(states, jnp.ones(trials.keys.shape, bool))

    def epoch(size: Size, state: SweepState, trials: Trials, train: Examples) -> Trained:
        @_traced_once
        def advance(state: TrainState, hparams: dict[str, Array], key: PRNGKeyArray) -> tuple:
            state, metrics, points = run.watched_epoch(state, hparams, key, train, size)
            return state, _finite(metrics["train_loss"], state.params), (metrics, points)

        def one(alive: Array, state: TrainState, hparams: dict, key: PRNGKeyArray) -> tuple:
            _, _, seen = jax.eval_shape(advance, state, hparams, key)

            def rest(state: TrainState, *_: object) -> tuple:
                return state, jnp.asarray(False), _undefined(seen)

            return lax.cond(alive, advance, rest, state, hparams, key)

        states, alive, (metrics, points) = over_trials(one)(
            state.alive, state.states, trials.hparams, trials.keys
        )
        return SweepState(states, alive), metrics, points

    def over_split(measure: Callable) -> Callable:
        def of_all(state: SweepState, trials: Trials, examples: Examples) -> Any:
            def one(alive: Array, state: TrainState, hparams: dict) -> Any:
                @_traced_once
                def alone(state: TrainState, hparams: dict) -> Any:
                    return measure(state, hparams, examples)

                found = jax.eval_shape(alone, state, hparams)
                return lax.cond(alive, alone, lambda *_: _undefined(found), state, hparams)

            return over_trials(one)(state.alive, state.states, trials.hparams)

        return of_all

    evaluate, test = over_split(run.evaluate), over_split(run.test)
    epochs = {size: partial(epoch, size) for size in run.sizes}
    if mesh is None:
        return Sweep(init, epochs, evaluate, test)
    split, whole = PartitionSpec(TRIAL_AXIS), PartitionSpec()
    sharded = partial(jax.shard_map, mesh=mesh, axis_names={TRIAL_AXIS}, check_vma=False)
    given = (split, split, whole)
    return Sweep(
        sharded(init, in_specs=(split, whole), out_specs=split),
        {s: sharded(one, in_specs=given, out_specs=split) for s, one in epochs.items()},
        sharded(evaluate, in_specs=given, out_specs=split),
        sharded(test, in_specs=given, out_specs=split),
    )


def _map(function: Callable) -> Callable:
    return lambda *arguments: lax.map(lambda items: function(*items), arguments)


def _vmap(function: Callable, lowering: Lowering) -> Callable:
    """Of all trials at once, with this lowering of convolutions on accelerators.

    Kernels of many trials are the groups of one convolution, which is slow on CPU.
    """

    def trials(*arguments: Any) -> Any:
        with lowering_on_cpu("products"), lowering_on_accelerators(lowering):
            return jax.vmap(function)(*arguments)

    return trials


_OVER_TRIALS: dict[Vectorization, Callable[[Callable], Callable]] = {
    "map": _map,
    "vmap": partial(_vmap, lowering="lax"),
    "products": partial(_vmap, lowering="blocks"),
}


def _finite(loss: Array, params: PyTree) -> Bool[Array, ""]:
    sums = [jnp.isfinite(jnp.sum(jnp.abs(leaf))) for leaf in jax.tree.leaves(params)]
    return jnp.isfinite(loss) & jnp.all(jnp.stack(sums))


def _undefined(metrics: PyTree) -> PyTree:
    """What is said of a trial that is not alive: NaN, and nothing is right."""

    def fill(leaf: jax.ShapeDtypeStruct) -> Array:
        return jnp.full(leaf.shape, False if leaf.dtype == bool else jnp.nan, leaf.dtype)

    return jax.tree.map(fill, metrics)
