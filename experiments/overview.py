"""Lists runs and sweeps: `python -m experiments.overview [DIR]`.

Name, data, model, accuracy with its interval, when it was started, and which choices tell the runs
apart; the last one first. --json prints all that is known.
"""

import os
from pathlib import Path

from absl import flags
from rich import box
from rich.table import Column, Table
from rich.text import Text

from cnn_jax.analysis.index import INDEX_FILE
from cnn_jax.display import shown
from cnn_jax.errors import UsageError
from cnn_jax.storage import strict_json
from cnn_jax.studies.overview import Entry, differing, find_entries, write_index_of_runs

from .launch import launch, terminal
from .runs import saved_run

FLAGS = flags.FLAGS
flags.declare_key_flag("json")
flags.DEFINE_integer("most", 50, "How many to list.", lower_bound=1)

flags.DEFINE_bool("index", False, "Write index.html into the folder, which leads to all pages.")

# Choices that have a column of their own.
_SHOWN = ("dataset", "model")


def main(paths: list[str]) -> None:
    """Lists as the flags say."""
    saved_run.check_flags(main)
    if len(paths) > 1:
        raise UsageError(f"give one folder, got {len(paths)}")
    folder = Path(paths[0] if paths else "runs")
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UsageError(f"cannot open {folder}: Permission denied")
    if FLAGS.index and FLAGS.json:
        raise UsageError("--index writes a page and --json prints; give one of them")
    entries = find_entries(folder)
    left = 0
    if FLAGS["most"].present or not (FLAGS.index or FLAGS.json):
        entries, left = entries[: FLAGS.most], max(0, len(entries) - FLAGS.most)
    if FLAGS.index:
        write_index_of_runs(folder, entries)
        terminal().print(Text(f"index: {folder / INDEX_FILE}"))
        return
    if FLAGS.json:
        records = [entry._asdict() | {"path": str(entry.path)} for entry in entries]
        print(strict_json(records, indent=2))
        return
    if not entries:
        print(f"{shown(str(folder))} holds no run and no sweep")
        return
    table = Table(
        "name", "data", "model", Column("test accuracy", justify="right"), "95% interval",
        "started", "what differs", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    runs = [entry for entry in entries if not entry.sweep]
    differs = {entry.path: each for entry, each in zip(runs, differing(runs), strict=True)}
    for entry in entries:
        table.add_row(*map(Text, _row(entry, folder, differs.get(entry.path, {}))))
    terminal().print(table, soft_wrap=False)
    if left:
        print(f"and {left:,} more; --most={FLAGS.most + left} shows all")


def _row(entry: Entry, folder: Path, differs: dict[str, str]) -> list[str]:
    name = str(entry.path.relative_to(folder))
    data, model = map(entry.named, _SHOWN)
    if entry.sweep:
        best = entry.accuracy()
        come = "" if best is None else f", best {best:.2%}"
        return [name, data, model, f"sweep of {entry.rows} rows{come}", "", entry.started, ""]
    accuracy, interval = "not ended", ""
    if entry.result:
        low, high = entry.result["test_accuracy_interval_95"]
        accuracy = f"{entry.result['test_accuracy']:.2%}"
        interval = f"{low:.2%} to {high:.2%}"
    rest = {key: value for key, value in differs.items() if key not in _SHOWN and value != "–"}
    text = " ".join(f"{key}={value}" for key, value in rest.items())
    return [name, data, model, accuracy, interval, entry.started, text]


if __name__ == "__main__":
    launch(main, takes_paths=True)
