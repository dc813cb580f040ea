"""A sweep as a whole: what must stay the same of it, and what its report is made from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_jax import data
from cnn_jax.analysis.ablation.records import DATASET, SweepRecord
from cnn_jax.extend import ExtensionFile
from cnn_jax.studies.axes import SOURCES, Study
from cnn_jax.studies.choices import every_choice
from cnn_jax.studies.kept_trials import Keeper
from cnn_jax.studies.planning import Prepared
from cnn_jax.studies.sweep_directory import CellResult
from cnn_jax.training.grid import Trial

# What rows are compared with: the baseline by Dunnett's test, or every other by Tukey's too.
COMPARISONS = ("baseline", "all")


def sweep_choices(
    prepared: Prepared,
    prune: bool,
    vectorization: str | None,
    files: Sequence[ExtensionFile] | None = None,
) -> dict[str, Any]:
    """What must be the same to go on with a sweep: its rows, and its trials cell by cell.

    Args:
        prepared: the study with its data.
        prune: whether tuned values that fall behind are stopped.
        vectorization: how trials of a program run, where that was chosen.
        files: of functions from outside; those that were read if None.
    """
    study, grid = prepared.study, prepared.study.grid
    described: dict[str, Any] = {
        "rows": grid.variants,
        "baseline": study.baseline,
        "prune": prune,
        "vectorization": vectorization,
    }
    if study.sources != SOURCES[:2] or study.budget:
        described["sources"] = study.sources
    if study.rules.apart or study.rules.looks:
        described["rounds"] = study.rules._asdict()
    for index, cell in enumerate(grid.cells, start=1):
        described[f"cell {index}"] = {
            "choices": every_choice(dict(cell.data), cell.config, {}, files),
            "trials": [[trial.variant, trial.seed, trial.hparams] for trial in cell.trials],
        }
    return described


def sweep_record(
    prepared: Prepared,
    results: Sequence[CellResult],
    flags: str,
    environment: dict[str, str],
    *,
    equivalent_within: float,
    all_pairs: bool,
    keeper: Keeper,
    detect: float | None = None,
) -> SweepRecord:
    """What the tables and the report of a sweep are made from.

    Args:
        prepared: the study with its data.
        results: of all its cells.
        flags: the flagfile that repeats it, as shown.
        environment: what it ran on, likewise.
        equivalent_within: a difference of accuracy that does not matter, as a fraction.
        all_pairs: whether every pair of rows is compared too.
        keeper: of its trials, which knows how each is trained alone.
        detect: the difference that it is a pilot for, as a fraction; or None.
    """
    study, grid, loaded = prepared.study, prepared.study.grid, prepared.loaded
    every = [trial for result in results for trial in result.trials]
    trials = _latest([trial for trial in every if trial.source is None])
    tests = {item.record.splits["test"].hashes.tobytes() for item in loaded}
    rows = range(len(grid.variants))
    spent = [sum(trial.seconds for trial in trials if trial.variant == row) for row in rows]
    of_row = {trial.variant: result.parameters for result in results for trial in result.trials}
    return SweepRecord(
        dataset=" / ".join(dict.fromkeys(item.dataset.name for item in loaded)),
        model=" / ".join(dict.fromkeys(c.config.architecture.model for c in grid.cells)),
        axes={
            axis.name: list(dict.fromkeys(variant[axis.name] for variant in grid.variants))
            for axis in study.compared
        },
        variants=grid.variants,
        tuned={
            name: sorted({trial.tuned[name] for trial in trials if name in trial.tuned})
            for name in study.tuned
        },
        seeds=tuple(sorted({trial.seed for trial in trials if trial.chosen})) or study.seeds,
        baseline=study.baseline if _comparable(study) else None,
        trials=trials,
        seconds=spent,
        test_examples=len(loaded[0].dataset.test),
        validation_examples=len(loaded[0].validation),
        programs=sum(result.programs for result in results),
        total_seconds=sum(trial.seconds for trial in every)
        + sum(result.compile_seconds for result in results),
        parameters=[of_row[row] for row in rows],
        flags=flags,
        environment=environment,
        initialization=" / ".join(dict.fromkeys(c.config.architecture.init for c in grid.cells)),
        chance=_chance(loaded[0].dataset.test.labels),
        equivalent_within=equivalent_within,
        all_pairs=all_pairs,
        sources=study.sources,
        budget=_budget(study, every),
        **(_test_pictures(loaded[0].dataset) if len(tests) == 1 else {}),
        commands=[_command(keeper, trials, row) for row in rows],
        detect=detect,
        looks=study.rules.looks,
        replicated=study.rules.replicated,
        searched=study.rules.searched,
        tune_seeds=study.rules.tune_seeds,
    )


def _budget(study: Study, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """By source the test accuracies of the trials that differ from the first seed in it alone."""
    if not study.budget:
        return {}
    return {
        source: [
            t.test_accuracy for t in trials if t.source == source and t.test_accuracy is not None
        ]
        for source in study.sources
    }


def _comparable(study: Study) -> bool:
    """Whether any row can be compared with another: not on different data sets."""
    return len({tuple(row[a.name] for a in study.compared if a.name != DATASET)
                for row in study.grid.variants}) > 1  # fmt: skip


def _test_pictures(dataset: data.Dataset) -> dict[str, Any]:
    """The test images with what they show, for the fields of a record."""
    names, labels = dataset.class_names, dataset.test.labels
    if labels.ndim == 1:
        truth = [names[label] for label in labels]
    else:
        truth = [
            ", ".join(n for n, there in zip(names, row, strict=True) if there) for row in labels
        ]
    return {"test_images": dataset.test.images, "test_truth": truth}


def _command(keeper: Keeper, trials: Sequence[Trial], row: int) -> str:
    """How the first trial of a row is trained alone, one of the chosen values if there is any."""
    of_row = [trial for trial in trials if trial.variant == row]
    return keeper.command(min(of_row, key=lambda trial: (not trial.chosen, trial.seed)))


def _latest(trials: Sequence[Trial]) -> list[Trial]:
    """Each trial once: one that chose and was then trained anew to be reported, as reported."""
    found = {(t.variant, *t.tuned.items(), t.seed): t for t in trials}
    return list(found.values())


def _chance(labels: np.ndarray) -> float:
    """Accuracy of always giving the most frequent class, or for each label the more frequent."""
    if labels.ndim == 1:
        return float(np.bincount(labels).max() / len(labels))
    share = labels.mean(0)
    return float(np.maximum(share, 1 - share).mean())
