"""Learning-rate schedules: pure functions of the training's progress.

Each maps progress t in [0, 1] (the fraction of all steps that are done) to a factor of the peak
learning rate. The keyword arguments that shape a schedule are hyperparameters, so that a sweep can
vary them without compiling anew. A schedule that rises from zero takes the progress that one step
makes too: its first step is one of n, so that none is lost at rate zero.
"""

import inspect
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
    t: Number,
    one_step: Number = 0.0,
    *,
    warmup_fraction: WarmupFraction = 0.2,
    final_fraction: FinalFraction = 0.0,
) -> Number:
    """Linear to 1 in the first `warmup_fraction` of training, then `cosine`."""
    fall = partial(cosine, final_fraction=final_fraction)
    return _warmed_up(t, one_step, warmup_fraction, fall)


def one_cycle(
    t: Number,
    one_step: Number = 0.0,
    *,
    warmup_fraction: WarmupFraction = 0.2,
    final_fraction: FinalFraction = 0.0,
) -> Number:
    """A triangle: linear to 1 at `warmup_fraction`, then linear to `final_fraction`.

    The shape of Smith 2018 (super-convergence) that the fastest CIFAR-10 recipes use.
    """
    fall = partial(_line, final_fraction=final_fraction)
    return _warmed_up(t, one_step, warmup_fraction, fall)


def _line(t: Number, *, final_fraction: Number) -> Number:
    return 1 - (1 - final_fraction) * t


def _warmed_up(
    t: Number, one_step: Number, warmup: Number, fall: Callable[[Number], Number]
) -> Number:
    """(k + 1) / n at step k of n in the first `warmup` of training, then `fall` of the rest."""
    rest = jnp.clip((t - warmup) / jnp.maximum(1 - warmup, 1e-8), 0, 1)
    rise = jnp.minimum((t + one_step) / jnp.maximum(warmup, 1e-8), 1.0)
    return jnp.where(t < warmup, rise, fall(rest))


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


def factor(
    schedule: Callable[..., Number], t: Number, one_step: Number, **numbers: Number
) -> Number:
    """The factor of the step that begins at progress t.

    Args:
        schedule: of `SCHEDULES`, or like one; whether it asks for `one_step` is read from it.
        t: progress before the step, in [0, 1].
        one_step: progress that the step makes.
        numbers: the schedule's hyperparameters.
    """
    asked = "one_step" in inspect.signature(schedule).parameters
    return schedule(t, *[one_step] * asked, **numbers)


SCHEDULES: dict[str, Callable[..., Number]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "one_cycle": one_cycle,
    "step": step,
    "warmup_cosine": warmup_cosine,
}
