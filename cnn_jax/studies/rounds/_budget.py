"""Where the spread of a row comes from: trials of the baseline that differ in one source each.

After Bouthillier et al., "Accounting for variance in machine learning benchmarks" (MLSys 2021): one
source varies, the others stay those of the first seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cnn_jax.training.grid import Trial

if TYPE_CHECKING:
    from cnn_jax.studies.planning import CellPlan, Prepared


def budget_plans(prepared: "Prepared", trials: Sequence[Trial]) -> "list[CellPlan]":
    """The cells to train beside those of the grid: of the baseline, a trial a source and seed.

    Args:
        prepared: the study with its data.
        trials: all of the grid, to their end.

    Returns:
        None at all unless several sources were asked for, and the baseline trained to its end.
    """
    study = prepared.study
    if not study.budget:
        return []
    first = study.seeds[0]
    anchor = next(
        (t for t in trials if (t.variant, t.seed, t.chosen) == (study.baseline, first, True)), None
    )
    if anchor is None or anchor.status != "finished":
        return []
    members: dict[int, list[Trial]] = {}
    for source in study.sources:
        for seed in study.seeds[1:]:
            place = _place(prepared, seed if source == "split" else first)
            members.setdefault(place, []).append(_only(source, seed, anchor))
    return [
        prepared.plans[place]._replace(
            cell=replace(prepared.plans[place].cell, trials=tuple(extra)), together=len(extra)
        )
        for place, extra in members.items()
    ]


def _place(prepared: "Prepared", seed: int) -> int:
    """The cell of the baseline; where seeds split the data, that of this seed."""
    study = prepared.study
    apart = "split" in study.sources
    return next(
        place
        for place, plan in enumerate(prepared.plans)
        for trial in plan.cell.trials
        if trial.variant == study.baseline and (trial.seed == seed or not apart)
    )


def _only(source: str, seed: int, anchor: Trial) -> Trial:
    """The anchor before its training, with another seed in one source."""
    start = anchor.seed if anchor.init_seed is None else anchor.init_seed
    order = anchor.seed if anchor.order_seed is None else anchor.order_seed
    return Trial(
        anchor.variant,
        anchor.tuned,
        seed,
        anchor.hparams,
        init_seed=seed if source == "init" else start,
        order_seed=seed if source == "order" else order,
        source=source,
    )
