"""How the programs that train begin, refuse, are interrupted and resume."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import jax
from absl import flags
from rich.console import Console
from rich.text import Text

from cnn_jax import data, storage
from cnn_jax.display import shown
from cnn_jax.errors import UsageError
from cnn_jax.extend import kept_file, loaded_files
from cnn_jax.studies.axes import Study
from cnn_jax.studies.choices import PLACE, read_pool
from cnn_jax.studies.data_record import DataRecord, Pool, check_records, write_records
from cnn_jax.studies.planning import CellPlan, Prepared, Share, prepare
from cnn_jax.studies.run_directory import CONFIG_FILE, FLAGS_FILE, RunDirectory, other_environment
from cnn_jax.studies.saved_run import SavedRun, load_run
from cnn_jax.training import processes

from .. import as_started, command, command_line
from ..command_line import GROUPS
from ..flags import machine, options
from . import hosts, serving, workdir
from .workdir import LENGTH, open_directory

FLAGS = flags.FLAGS
for _module in (command_line, options, machine, hosts, workdir, serving):
    flags.adopt_module_key_flags(_module)
flags.DEFINE_bool(
    "list_files",
    False,
    "Print what the data set is, and every file of its folder with what it is used as or why it is "
    "left out, and stop.",
)


def begin(
    what: str,
    name: str,
    read: Callable[[], Study],
    choices: Callable[[Prepared], dict[str, Any]],
    share: Share,
    most: int | None = None,
) -> tuple[RunDirectory, Prepared]:
    """The folder to write to and the study, before anything is written; all processes together.

    Args:
        what: is in the folder, for messages: a run or a sweep.
        name: of a new folder in runs/, before the time.
        read: the study, from the flags.
        choices: what must be the same to go on with it.
        share: `(trials that train together, examples of a step) -> devices`.
        most: trials that share a program, or None for what the memory holds.

    Raises:
        UsageError: for whatever cannot work.
    """

    def begun() -> tuple[RunDirectory, Prepared]:
        machine.check_compiler()
        directory = open_directory(what, name)
        if FLAGS.resume:
            _check_files(directory.path)
        where = directory.path if FLAGS.resume else None
        study = read()
        if FLAGS.list_files:
            _list_files(read_pool(dict(study.grid.cells[0].data)))
        prepared = prepare(study, share, most, init_from=start(), resumed=where)
        if FLAGS.resume:
            same = check_records(directory.path, *_data(prepared))
            # The same data may lie somewhere else now.
            apart = {"dataset"} if same else set()
            if what == "run" and FLAGS[LENGTH].present:
                apart |= {LENGTH}
            directory.check_same(choices(prepared), apart)
        return directory, prepared

    directory, prepared = processes.together(begun)
    hosts.check_data(loaded.record for loaded in prepared.loaded)
    return directory, prepared


def print_notes(console: Console, dataset: data.Dataset) -> None:
    """Prints what a reader should know of how data were read; names in it are no markup."""
    for note in dataset.notes:
        console.print(Text(f"  {note}"), soft_wrap=True)


def print_going_on(console: Console, path: Path) -> None:
    """Says what a folder lacks, and what is not as it was where the study was started."""
    if storage.recorded(path) is None:
        console.print(Text(f"{path} has no {storage.SUMS_FILE}: its files are not verified"))
    differing = other_environment(path)
    for name, (before, now) in differing.items():
        console.print(Text(f"started with {name} {before or 'none'}, goes on with {now or 'none'}"))
    if differing:
        console.print("numbers may be the same up to rounding only, and not to the last bit")


def print_batches(console: Console, plan: CellPlan) -> None:
    """Says where batches are smaller than asked for, and what else is not as one might think."""
    for note in plan.notes("--"):
        console.print(Text(f"  {note}"), soft_wrap=True)


# Beside the devices, what a folder does not keep of how it was started.
_NOT_KEPT = ("track", "checkpoint_every", "page_weights")


def _given_text() -> str:
    """Flags to give again with --resume, as a command line has them, a space before each."""
    names = (name for name in (*GROUPS["devices"], *_NOT_KEPT) if name in FLAGS)
    return "".join(f" {quote(FLAGS[name].serialize())}" for name in names if FLAGS[name].present)


@contextlib.contextmanager
def underway(
    program: str,
    directory: RunDirectory,
    flags_content: str,
    choices: dict[str, Any],
    prepared: Prepared,
) -> Iterator[None]:
    """Writes down how it began, and says, where it is interrupted inside, how to go on.

    Args:
        program: that runs, as in train.
        directory: of the study.
        flags_content: a flagfile that repeats it.
        choices: what must be the same to go on with it.
        prepared: the study with its data.
    """

    def create() -> None:
        if not FLAGS.resume:
            try:
                write_records(directory, _data(prepared)[0])
                directory.create(flags_content, choices, as_started())
            except storage.WriteError:
                directory.undo()
                raise
        elif any(FLAGS[name].present for name in (*PLACE, LENGTH)):
            directory.write_json(CONFIG_FILE, choices)
            directory.write(FLAGS_FILE, flags_content)

    where = quote(f"--workdir={directory.path}")
    again = f"go on with: {command(program)} {where} --resume{_given_text()}"
    with contextlib.ExitStack() as stack:
        lock = directory.locked(new=not FLAGS.resume)
        processes.together(lambda: stack.enter_context(lock))
        processes.together(create)
        processes.together(directory.check_there)
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {again}") from None
        except storage.WriteError as error:
            raise UsageError(f"{error}; when there is room, {again}") from error
        except jax.errors.JaxRuntimeError as error:
            lost = processes.loss(error)
            if lost is None:
                raise
            raise processes.ProcessLostError(f"{lost}; {again}") from error


def _list_files(dataset: data.Dataset) -> None:
    """Prints what a data set is and what became of every file of its folder; ends the program."""
    if dataset.account is None:
        raise UsageError(f"--list_files: {dataset.name} is not read from a folder")
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    shape = "x".join(map(str, dataset.image_shape))
    kind = "labels" if dataset.multi_label else "classes"
    heading = f"{dataset.name}: {sizes}, {shape}, {kind} {', '.join(dataset.class_names)}"
    lines = [heading, *dataset.notes, *dataset.account.lines()]
    print("\n".join(map(shown, lines)), flush=True)
    sys.exit()


def start() -> SavedRun | None:
    """The run that --init_from names; what goes on has begun already."""
    if FLAGS.init_from is None or FLAGS.resume:
        return None
    if not Path(FLAGS.init_from).is_dir():
        raise UsageError(f"--init_from={FLAGS.init_from} is not a folder; give that of a run")
    return load_run(Path(FLAGS.init_from))


def _data(prepared: Prepared) -> tuple[list[DataRecord], list[Pool]]:
    """What is remembered of each data set, and how it is read anew."""
    records: list[DataRecord] = []
    pools: list[Pool] = []
    for loaded in prepared.loaded:
        records.append(loaded.record)
        (key, *_) = (plan.cell.data for plan in prepared.plans if plan.loaded is loaded)
        pools.append(partial(_read_by, dict(key)))
    return records, pools


def _read_by(choices: dict[str, Any], rule: data.PixelRule) -> data.Dataset:
    return read_pool(choices, rule=rule)


def _check_files(path: Path) -> None:
    """Refuses to go on where a file of functions from outside was changed after the start.

    Raises:
        UsageError: naming the file.
    """
    kept = {file.name: file for file in loaded_files()}
    for place in map(Path, FLAGS.extend):
        if place.is_file() and place.name in kept and place.read_text() != kept[place.name].text:
            raise UsageError(
                f"{place} was changed since the run in {path} was started; put it back, or go on "
                f"with what is kept: {quote(f'--extend={kept_file(path, place.name)}')}"
            )
