"""Learning-rate schedules: pure functions of the training's progress.

Each maps progress t in [0, 1] (the fraction of all steps that are done) to a factor of the peak
learning rate. The keyword arguments that shape a schedule are hyperparameters, so that a sweep can
vary them without compiling anew.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import jax.numpy as jnp

from cnn_jax.ops import Interval, Number

FinalFraction = Annotated[
    Number, Interval("[0, 1]"), "the learning rate at the end, as a fraction of its peak"
]
WarmupFraction = Annotated[
    Number, Interval("[0, 1]"), "fraction of training until the learning rate's peak"
]


def constant(t: Number) -> Number:
    """1 throughout."""
    return jnp.ones_like(t)


def cosine(t: Number, *, final_fraction: FinalFraction = 0.0) -> Number:
    """Half a cosine from 1 to `final_fraction` (Loshchilov and Hutter 2017, without restarts)."""
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + jnp.cos(jnp.pi * t))


def warmup_cosine(
    t: Number, *, warmup_fraction: WarmupFraction = 0.2, final_fraction: FinalFraction = 0.0
) -> Number:
    """Linear from 0 to 1 in the first `warmup_fraction` of training, then `cosine`."""
    return _warmed_up(t, warmup_fraction, partial(cosine, final_fraction=final_fraction))


def one_cycle(
    t: Number, *, warmup_fraction: WarmupFraction = 0.2, final_fraction: FinalFraction = 0.0
) -> Number:
    """A triangle: linear from 0 to 1 at `warmup_fraction`, then linear to `final_fraction`.

    The shape of Smith 2018 (super-convergence) that the fastest CIFAR-10 recipes use.
    """
    return _warmed_up(t, warmup_fraction, lambda rest: 1 - (1 - final_fraction) * rest)


def _warmed_up(t: Number, warmup: Number, fall: Callable[[Number], Number]) -> Number:
    """Linear from 0 to 1 in the first `warmup` of training, then `fall` of the rest's progress."""
    rest = jnp.clip((t - warmup) / jnp.maximum(1 - warmup, 1e-8), 0, 1)
    return jnp.where(t < warmup, t / jnp.maximum(warmup, 1e-8), fall(rest))


def step(
    t: Number,
    *,
    decay_factor: Annotated[
        Number, Interval("[0, 1]"), "factor at each of the two decays of the schedule step"
    ] = 0.1,
) -> Number:
    """1, then multiplied by `decay_factor` at one half and again at three quarters of training."""
    return jnp.where(t < 0.5, 1.0, jnp.where(t < 0.75, decay_factor, decay_factor**2))


def exponential(t: Number, *, final_fraction: FinalFraction = 0.01) -> Number:
    """Geometric decay from 1 to `final_fraction`, which must be positive."""
    return jnp.exp(t * jnp.log(final_fraction))


SCHEDULES: dict[str, Callable[..., Number]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "one_cycle": one_cycle,
    "step": step,
    "warmup_cosine": warmup_cosine,
}
