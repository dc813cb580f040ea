"""Compares networks from Python: a grid of them, and its table, figure and report."""

import atexit
import csv
import io
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn_jax.analysis.ablation import (
    SweepRecord,
    markdown_table,
    render_ablation_report,
    summary_csv,
)
from cnn_jax.api._arguments import (
    COMMAND,
    check_compiler,
    data_by_name,
    named,
    new_directory,
    read_choices,
    read_value,
    share_devices,
    start_of,
    used_files,
    write_page,
)
from cnn_jax.api._progress import progress_bar, say_in_notebook
from cnn_jax.api._table import Table
from cnn_jax.api._values import ArgumentError, number, switch, whole
from cnn_jax.extend import kept_paths, loaded_files
from cnn_jax.studies.axes import Multiple, Study, make_study
from cnn_jax.studies.cells import run_cells
from cnn_jax.studies.choices import FIELDS
from cnn_jax.studies.data_record import write_records
from cnn_jax.studies.kept_trials import WHICH, Keeper, flag_text
from cnn_jax.studies.planning import prepare
from cnn_jax.studies.rounds import REFINE, UNTIL
from cnn_jax.studies.run_directory import RunDirectory, environment
from cnn_jax.studies.sweep import COMPARISONS, sweep_choices, sweep_record
from cnn_jax.training import known_hyperparameters
from cnn_jax.training.grid import Axis, Value, split_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cnn_jax.data import Dataset


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Networks that were trained and compared.

    Attributes:
        record: all that the tables and the report say.
        path: of the folder that they lie in.
    """

    record: SweepRecord
    path: Path

    def table(self) -> Table:
        """A row for each variant: accuracy with its interval, the difference to the baseline."""
        rows = [dict(row) for row in csv.DictReader(io.StringIO(summary_csv(self.record)))]
        return Table([{k: _number(v) for k, v in r.items()} for r in rows], self._markdown)

    @property
    def best(self) -> dict[str, Any]:
        """The row of the highest mean test accuracy."""
        rows = [row for row in self.table().rows if isinstance(row[_MEAN], float)]
        if not rows:
            raise ArgumentError("no network trained to its end")
        return max(rows, key=lambda row: row[_MEAN])

    def figure(self) -> "Figure":
        """The mean of every row with its interval, and a dot for each seed."""
        from cnn_jax.analysis.ablation import dot_plot

        return dot_plot(self.record)

    def report(self, path: str | Path) -> Path:
        """Writes the page.

        Raises:
            ArgumentError: if it cannot be written.
        """
        return write_page(path, lambda: render_ablation_report(self.record))

    @cached_property
    def _markdown(self) -> str:
        return markdown_table(self.record)

    def __repr__(self) -> str:
        count = len(self.record.trials)
        return f"<Comparison of {len(self.record.variants)} rows, {count} networks>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


_MEAN = "mean_test_accuracy"


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def ablate(
    data: "str | Path | tuple[Any, Any] | Dataset" = "mnist",
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    tune: Sequence[str] | Mapping[str, Sequence[Any]] = (),
    seeds: int = 3,
    baseline: Mapping[str, Any] | None = None,
    prune: bool = False,
    compare: str = "baseline",
    equivalent_within: float = 0.2,
    keep: str = "chosen",
    sources: Sequence[str] | None = None,
    search: str = REFINE,
    tune_seeds: int = 0,
    until: str | None = None,
    max_seeds: int = 50,
    test: tuple[Any, Any] | None = None,
    class_names: Sequence[str] | None = None,
    workdir: str | Path | None = None,
    progress: bool = True,
    **choices: Any,
) -> Comparison:
    """Trains a grid of networks and compares them, as the program `ablate` does.

    `cnn_jax.ablate("mnist", vary={"activation": ["relu", my_wave]}, tune=["learning_rate"])`

    Args:
        data: as in `train`.
        vary: options with the values that they take in turn: names, functions, numbers, or texts
            as the program takes them ("log:1e-3:1e-1:5", "x0.1" for a multiple of the default).
        tune: numbers that every row has at its own best value, chosen on validation; with the
            values to try, or else found by a search.
        seeds: runs of every combination.
        baseline: the row that the others are compared with; the first if not given.
        prune: whether tuned values that fall behind are stopped.
        compare: the rows with the "baseline" (Dunnett's test), or "all" pairs too (Tukey's).
        equivalent_within: differences of test accuracy smaller than this, in percentage points, do
            not matter.
        keep: which trials are kept in `workdir` as runs, for `load_run`: all seeds of the "chosen"
            values, the "best" of these on validation, of every row; "all"; or "none".
        sources: what differs from seed to seed: "init", "order" (of the data, and all that is drawn
            in training), "split" (which examples are held out); the first two if not given. Of
            several that are given the page says how much each does.
        search: how values are found: "refine" (multiples of the default, and on until the best lies
            inside), "random:64" or "tpe:64" (Optuna) with the number of tries of every row.
        tune_seeds: on how many seeds of their own values are chosen; with 0 on those reported.
        until: "decided" adds seeds to rows that are undecided, "replicated" also to rows whose
            verdict fewer than four of five random halves of their seeds share; by a test that
            allows for looking.
        max_seeds: the most seeds of a row then.
        test: as in `train`.
        class_names: as in `train`.
        workdir: a new folder to write to; one that goes with this process if not given.
        progress: whether a bar is shown, in a terminal or a notebook, and there a line for each
            cell of networks that is finished.
        **choices: what all networks share, as in `train`.

    Returns:
        The comparison: table, figure, report, best.

    Raises:
        ArgumentError: naming the argument that cannot be.
    """
    with data_by_name(data, test, class_names) as name, named():
        check_compiler()
        for argument, value in {"vary": vary, "baseline": baseline}.items():
            if value is not None and not isinstance(value, Mapping):
                raise ArgumentError(f"{argument} must be a dict by option, got {value!r}")
        if isinstance(tune, str) or not isinstance(tune, Iterable):
            raise ArgumentError(f"tune must be a list of names, got {tune!r}")
        if isinstance(sources, str):
            raise ArgumentError(f"sources must be a list, got {sources!r}")
        if not isinstance(search, str):
            raise ArgumentError(f"search must be a text, got {search!r}")
        seeds, max_seeds = whole("seeds", seeds), whole("max_seeds", max_seeds)
        tune_seeds = whole("tune_seeds", tune_seeds, 0)
        prune = switch("prune", prune)
        equivalent_within = number("equivalent_within", equivalent_within)
        axes = [_axis(axis, values) for axis, values in (vary or {}).items()]
        if isinstance(tune, Mapping):
            axes += [_axis(axis, values) for axis, values in tune.items()]
        fixed = {**read_choices(choices, signature(ablate).parameters), "dataset": name}
        if "dataset" in (vary or {}):
            del fixed["dataset"]
        wanted = {axis: _text(axis, value) for axis, value in (baseline or {}).items()}
        if until not in (None, *UNTIL):
            raise ArgumentError(f"until must be {' or '.join(UNTIL)}, got {until!r}")
        if until and compare != "baseline":
            raise ArgumentError(f'until={until!r} needs compare="baseline", got {compare!r}')
        study = make_study(
            axes,
            list(tune),
            seeds,
            fixed,
            wanted or None,
            sources,
            search=search,
            tune_seeds=tune_seeds,
            until=until,
            max_seeds=max_seeds,
            within=equivalent_within / 100,
        )
        if compare not in COMPARISONS:
            raise ArgumentError(f"compare must be {' or '.join(COMPARISONS)}, got {compare!r}")
        if not equivalent_within >= 0:
            raise ArgumentError(f"equivalent_within must be 0 or more, got {equivalent_within!r}")
        if keep not in WHICH:
            raise ArgumentError(
                f"keep must be {', '.join(WHICH[:-1])} or {WHICH[-1]}, got {keep!r}"
            )
        if prune and not study.tuned:
            raise ArgumentError("prune stops tuned values that fall behind, but nothing is tuned")
        prepared = prepare(study, share_devices, init_from=start_of(fixed))
        directory = _directory(workdir)
        # What goes with this process need not be kept.
        kept = workdir is not None
        files = used_files([fixed, *_chosen(study)]) if kept else loaded_files()
        shown = _flagfile(study, fixed, directory.path, [file.name for file in files])
        shown += f"--baseline={','.join(f'{a}={v}' for a, v in wanted.items())}\n" if wanted else ""
        shown += "--prune\n" if prune else ""
        shown += f"--sources={','.join(sources)}\n" if sources else ""
        shown += f"--compare={compare}\n--equivalent_within={equivalent_within:g}\n"
        shown += f"--until={until}\n--max_seeds={max_seeds}\n" if until else ""
        shown += f"--search={search}\n" if search != REFINE else ""
        shown += f"--tune_seeds={tune_seeds}\n" if tune_seeds else ""
        described = sweep_choices(prepared, prune, None, files)
        with directory.locked(new=True), progress_bar(progress) as show:
            write_records(directory, [loaded.record for loaded in prepared.loaded])
            directory.create(shown, described, COMMAND, files)
            keeper = Keeper(directory.path, prepared, keep if kept else "none", files=files)
            results = run_cells(
                lambda share, text, left: show(share, f"{text} {left}"),
                directory.path,
                prepared,
                None,
                None,
                prune,
                keeper,
                say=say_in_notebook(progress),
            )
        record = sweep_record(
            prepared,
            results,
            shown,
            environment(COMMAND),
            equivalent_within=equivalent_within / 100,
            all_pairs=compare == "all",
            keeper=keeper,
        )
        return Comparison(record, directory.path)


def _axis(name: str, values: Sequence[Any]) -> Axis:
    if isinstance(values, str):
        _, texts = split_axis(f"{name}={values}")
        values = texts
    try:
        items = list(values)
    except TypeError as error:
        raise ArgumentError(f"vary: {name} must have a list of values, got {values!r}") from error
    if not items:
        raise ArgumentError(f"vary: {name} has no values")
    found = tuple(Value(_text(name, item), _value(name, item)) for item in items)
    texts = [value.text for value in found]
    for text in texts:
        if texts.count(text) > 1:
            raise ArgumentError(f"vary: {name} has {text} more than once")
    return Axis(name, found)


def _value(name: str, item: Any) -> Any:
    found = _parsed(name, item) if isinstance(item, str) else item
    return found if isinstance(found, Multiple) else read_value(name, found)


def _parsed(name: str, text: str) -> Any:
    """A value as the program takes it: a list with `+`, a multiple of the default with `x`."""
    if isinstance(FIELDS.get(name), tuple):
        return [] if text == "none" else text.split("+")
    with suppress(ValueError):
        if name in known_hyperparameters() and text.startswith("x"):
            return Multiple(float(text[1:]))
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _text(name: str, item: Any) -> str:
    """How a value is written in a table."""
    if isinstance(item, tuple | list):
        return "+".join(map(str, item)) or "none"
    value = item if isinstance(item, str) else read_value(name, item)
    if not isinstance(value, float):
        return str(value)
    # What is printed is what is used, in numbers of 32 bits.
    short = f"{value:g}"
    return short if np.float32(short) == np.float32(value) else str(np.float32(value))


def _chosen(study: Study) -> list[dict[str, Any]]:
    return [{axis.name: value.value} for axis in study.axes for value in axis.values]


def _flagfile(study: Study, fixed: Mapping[str, Any], path: Path, files: list[str]) -> str:
    """A flagfile that repeats a sweep, where its data have a name."""
    lines = [f"--extend={file}" for file in kept_paths(path, files)]
    lines += [flag_text(name, value) for name, value in sorted(fixed.items())]
    lines += [
        f"--vary={axis.name}={','.join(value.text for value in axis.values)}"
        for axis in study.axes
        if axis.name not in study.rules.searched
    ]
    lines += [f"--tune={','.join(study.tuned)}"] if study.tuned else []
    lines.append(f"--seeds={len(study.seeds)}")
    return "\n".join(lines) + "\n"


def _directory(workdir: str | Path | None) -> RunDirectory:
    """The new folder, or a temporary one that goes with this process."""
    if workdir is None:
        folder = tempfile.mkdtemp(prefix="cnn_jax-ablate-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return RunDirectory(Path(folder))
    return new_directory(workdir)
