"""Records of made-up sweeps, for the tests of the ablation report."""

import math

import numpy as np

from cnn_jax.analysis.ablation import NOT_READ, SweepRecord
from cnn_jax.training.grid import Trial

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh", "sigmoid"),
    *("hard_tanh", "hard_swish", "softsign", "squareplus", "identity"),
)
RATES = (0.003, 0.01, 0.03, 0.1)
EPOCHS = 6


def always_finished(variant, value, seed):
    return "finished"


def curve(end, status, rate, validated):
    """A history that rises to `end`, and stops early with a status that is not "finished"."""
    rows = []
    epochs = {"finished": EPOCHS, "diverged": 3, "pruned": 2}[status]
    for epoch in range(1, epochs + 1):
        reached = end - (end - 0.6) * math.exp(-1.2 * (epoch - 1))
        lost = status == "diverged" and epoch == epochs
        loss = math.nan if lost else -math.log(reached)
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {"train_loss": loss, "train_accuracy": reached + 0.002}
        if validated:
            row |= {"validation_loss": loss, "validation_accuracy": reached}
        rows.append(row)
    return rows


def sweep(
    axes,
    variants,
    best,
    seeds=(0, 1, 2),
    rates=(),
    status=always_finished,
    validated=True,
    **changes,
):
    """A record whose variants reach about the test accuracies `best`.

    Args:
        axes: as in the record.
        variants: as in the record.
        best: per variant.
        seeds: as in the record.
        rates: candidates of a tuned learning rate; of n, the first n - 1 are chosen in turn.
        status: of a variant, a rate (None if none is tuned) and a seed.
        validated: whether there is a validation split.
        changes: other fields of the record.
    """
    rng = np.random.default_rng(0)
    trials = []
    for variant, seed in ((v, s) for v in range(len(variants)) for s in seeds):
        luck = rng.normal(scale=0.0012)
        chosen = chosen_place(variant, rates)
        for place, rate in enumerate(rates or (None,)):
            what = status(variant, rate, seed)
            end = best[variant] + luck - 0.004 * (place - chosen) ** 2
            tested = place == chosen and what == "finished"
            trials.append(
                Trial(
                    variant,
                    {"learning_rate": rate} if rates else {},
                    seed,
                    {},
                    what,
                    tuple(curve(end, what, rate or 0.1, validated)),
                    chosen=place == chosen,
                    test_accuracy=round(end - 0.001, 4) if tested else None,
                    test_loss=-math.log(end) if tested else None,
                    calibration_error=(1 - end) / 4 if tested else None,
                )
            )
    fields = {
        "dataset": "mnist",
        "model": "cnn",
        "axes": axes,
        "variants": variants,
        "tuned": {"learning_rate": rates} if rates else {},
        "seeds": seeds,
        "baseline": 0,
        "trials": trials,
        "seconds": [61.5 + variant for variant in range(len(variants))],
        "test_examples": 10_000,
        "validation_examples": 5_000 if validated else 0,
        "programs": len(variants),
        "total_seconds": 4000.0,
        "parameters": [824_458] * len(variants),
        "flags": "python -m experiments.ablate --flagfile=flags.txt",
        "environment": {"jax": "0.10.2", "device": "cpu"},
    }
    return SweepRecord(**(fields | changes))


def chosen_place(variant, rates):
    return (variant * 7) % max(1, len(rates) - 1)


def activations(count=15, seeds=(0, 1, 2), rates=RATES, **changes):
    """One axis, a tuned rate; the tenth activation learns nothing."""
    best = np.linspace(0.9905, 0.9835, count).tolist()
    names = [ACTIVATIONS[i % 15] + (f"_{i // 15}" if i >= 15 else "") for i in range(count)]
    if count > 9:
        best[9] = 0.1145
    variants = [{"activation": name} for name in names]
    return sweep({"activation": tuple(names)}, variants, best, seeds, rates, **changes)


def pruned():
    """As `activations`: rates far from the chosen one are pruned, and one diverges."""

    def status(variant, rate, seed):
        if variant == 13 and rate == 0.1:
            return "diverged"
        far = abs(math.log(rate / RATES[chosen_place(variant, RATES)])) > 2
        return "pruned" if far else "finished"

    return activations(status=status)


def two_axes(**changes):
    """Five activations and four losses; the last variant diverges, and one seed of another."""
    axes = {
        "activation": ("relu", "gelu", "tanh", "sigmoid", "identity"),
        "loss": ("cross_entropy", "focal", "mse", "hinge"),
    }
    variants = [{"activation": a, "loss": b} for a in axes["activation"] for b in axes["loss"]]
    best = [0.9905 - 0.0015 * (place // 4) - 0.0022 * (place % 4) for place in range(20)]

    def status(variant, rate, seed):
        lost = variant == 19 or (variant == 14 and seed == 1)
        return "diverged" if lost else "finished"

    return sweep(axes, variants, best, status=status, **changes)


def numbers():
    """Two axes, one of numbers that one optimizer does not read."""
    axes = {"optimizer": ("sgd", "momentum", "adam"), "momentum": ("0.5", "0.9", "0.99")}
    pairs = [("sgd", NOT_READ)]
    pairs += [(name, value) for name in axes["optimizer"][1:] for value in axes["momentum"]]
    variants = [{"optimizer": name, "momentum": value} for name, value in pairs]
    best = [0.972, 0.98, 0.988, 0.976, 0.987, 0.9885, 0.985]
    return sweep(axes, variants, best, seeds=range(5))


def few(seeds=range(5), **changes):
    """Four activations, nothing tuned."""
    names = ("relu", "gelu", "tanh", "identity")
    variants = [{"activation": name} for name in names]
    best = [0.985, 0.9895, 0.981, 0.9851]
    return sweep({"activation": names}, variants, best, seeds, **changes)


def diverged():
    """As `few`; one variant diverges with every seed, another with one."""

    def status(variant, rate, seed):
        lost = variant == 3 or (variant == 2 and seed == 1)
        return "diverged" if lost else "finished"

    return few(status=status)


def all_diverged():
    return few(status=lambda variant, rate, seed: "diverged")


def one_seed():
    return few(seeds=(0,))


SWEEPS = {
    "fifteen activations": activations,
    "pruned": pruned,
    "two axes": two_axes,
    "numbers": numbers,
    "few": few,
    "diverged": diverged,
    "all diverged": all_diverged,
    "one seed": one_seed,
    "no baseline": lambda: few(baseline=None),
    "no validation split": lambda: few(validated=False),
}
