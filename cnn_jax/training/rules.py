"""How the parameters of a run move: its optimizer, with groups of parameters and lookahead."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.training.config import Config, read_by
from cnn_jax.training.optimizers import OPTIMIZERS, Rule, by_group, lookahead
from cnn_jax.training.schedules import SCHEDULES

Hparams = dict[str, Float[Array, ""]]
Progress = Float[Array, ""] | float


def learning_rate(config: Config, t: Progress, hparams: Hparams) -> Float[Array, ""]:
    """That of the kernels at progress t, in [0, 1]."""
    schedule = SCHEDULES[config.schedule]
    return hparams["learning_rate"] * schedule(t, **read_by(schedule, hparams))


def make_rule(config: Config, t: Progress, hparams: Hparams) -> Rule:
    """How parameters move in the step at progress t.

    Groups, where the config asks for them: kernels (two or more dimensions), vectors (biases and
    normalization), and the whitening's bias, which has the whole schedule in the first
    `whitening_fraction` of training and is frozen after it.
    """
    build = OPTIMIZERS[config.optimizer].build
    numbers = read_by(build, hparams)
    rate = learning_rate(config, t, hparams)
    rules = {"kernels": build(rate, **numbers)}
    if config.bias_group or config.whitening_group:
        factor = hparams["bias_rate"] if config.bias_group else 1.0
        if config.bias_group and "weight_decay" in numbers:
            numbers |= {"weight_decay": numbers["weight_decay"] * hparams["bias_decay"]}
        rules["vectors"] = build(factor * rate, **numbers)
        if config.whitening_group:
            end = hparams["whitening_fraction"]
            early = jnp.where(t < end, learning_rate(config, t / end, hparams), 0.0)
            rules["whitening"] = build(factor * early, **numbers)
    rule = (
        by_group(rules, partial(_group, frozenset(rules))) if len(rules) > 1 else rules["kernels"]
    )
    return lookahead(rule, **read_by(lookahead, hparams)) if config.lookahead else rule


def _group(groups: frozenset[str], path: str, parameter: Array) -> str:
    if "whitening" in groups and "whitening" in path:
        return "whitening"
    return "vectors" if parameter.ndim < 2 else "kernels"
