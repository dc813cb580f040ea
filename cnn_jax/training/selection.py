"""Choosing among tuned values on the validation split, and stopping those that cannot win."""

import math
from collections.abc import Mapping, Sequence

from cnn_jax.training.grid import Trial


def tuned_groups(trials: Sequence[Trial], variant: int) -> dict[tuple, list[int]]:
    """The trials of a variant by their tuned values: indices into `trials`, one per seed."""
    found: dict[tuple, list[int]] = {}
    for index, trial in enumerate(trials):
        if trial.variant == variant:
            found.setdefault(tuple(trial.tuned.items()), []).append(index)
    return found


def ranking(found: Mapping[tuple, Sequence[int]], trials: Sequence[Trial]) -> list[tuple]:
    """Tuned values from the best to the worst, judged by their last epoch on validation.

    First come those of which fewer seeds diverged, then the higher mean accuracy over seeds, then
    the lower mean loss, then the value named first. A single candidate needs no validation.

    Args:
        found: what `tuned_groups` found among the trials.
        trials: with their histories.
    """
    if len(found) == 1:
        return list(found)

    def badness(values: tuple) -> tuple[int, float, float]:
        last = [trials[index].history[-1] for index in found[values]]
        fine = [row for row in last if math.isfinite(row["validation_loss"])]
        if not fine:
            return len(last), 0.0, 0.0
        accuracy = sum(row["validation_accuracy"] for row in fine) / len(fine)
        loss = sum(row["validation_loss"] for row in fine) / len(fine)
        return len(last) - len(fine), -accuracy, loss

    return sorted(found, key=badness)


def choose(trials: Sequence[Trial]) -> set[int]:
    """The trials of the best tuned values of every variant, of those not pruned: indices."""
    chosen: set[int] = set()
    for variant in dict.fromkeys(trial.variant for trial in trials):
        found = {
            values: members
            for values, members in tuned_groups(trials, variant).items()
            if not any(trials[index].status == "pruned" for index in members)
        }
        chosen.update(found[ranking(found, trials)[0]])
    return chosen


def partition(trials: Sequence[Trial], most: int, whole_variants: bool) -> list[list[int]]:
    """Splits trials into groups of at most `most`, about equally large: indices, in order.

    Args:
        trials: of a cell, those of a variant next to each other.
        most: trials in a group.
        whole_variants: keep a variant's trials together, even if they alone are more than `most`.
    """
    if whole_variants:
        variants = dict.fromkeys(trial.variant for trial in trials)
        blocks = [[i for i, t in enumerate(trials) if t.variant == v] for v in variants]
    else:
        blocks = [[index] for index in range(len(trials))]
    most = math.ceil(len(trials) / math.ceil(len(trials) / most))
    groups: list[list[int]] = [[]]
    for block in blocks:
        if groups[-1] and len(groups[-1]) + len(block) > most:
            groups.append([])
        groups[-1] += block
    return groups


def rungs(epochs: int, values: int) -> dict[int, int]:
    """Successive halving (Jamieson and Talwalkar 2016): after which epochs how many values go on.

    The halvings are spread so that each stage has about twice the epochs of the one before, and
    the last epoch is left to at least one value.

    Args:
        epochs: of a whole run.
        values: tuned values of a variant.

    Returns:
        epoch -> how many values train beyond it; empty where there is nothing to halve.
    """
    halvings = min(math.ceil(math.log2(values)), math.floor(math.log2(epochs))) if values > 1 else 0
    return {
        epochs // 2 ** (halvings - index): math.ceil(values / 2 ** (index + 1))
        for index in range(halvings)
    }


def losers(trials: Sequence[Trial], epoch: int, epochs: int) -> list[int]:
    """The trials to stop after `epoch`: all seeds of the tuned values that halving drops.

    A value counts as in the running while any of its seeds is alive.
    """
    stopped = []
    for variant in dict.fromkeys(trial.variant for trial in trials):
        found = tuned_groups(trials, variant)
        keep = rungs(epochs, len(found)).get(epoch)
        if keep is None:
            continue
        running = {v: group for v, group in found.items() if any(trials[i].alive for i in group)}
        for values in ranking(running, trials)[keep:] if running else ():
            stopped += [index for index in found[values] if trials[index].alive]
    return stopped
