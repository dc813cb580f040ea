"""Sets runs side by side as one page: `python -m experiments.compare runs/one runs/two`.

What differs in their choices, their learning curves over each other, and of each pair the images
that one alone has right, with the McNemar test and the interval of the difference.
"""

from pathlib import Path

from absl import flags

from cnn_jax.analysis.compare import render_comparison
from cnn_jax.display import p_value
from cnn_jax.errors import UsageError
from cnn_jax.studies.overview import compare_runs

from . import command
from .launch import launch, terminal
from .output import file_for
from .runs import saved_run

FLAGS = flags.FLAGS
flags.declare_key_flag("out")

_PAGE = "compare.html"
# More curves than this are not told apart.
_MOST = 8


def main(paths: list[str]) -> None:
    """Compares as the flags say."""
    saved_run.check_flags(main)
    if not 2 <= len(paths) <= _MOST:
        raise UsageError(f"give 2 to {_MOST} runs: {command('compare')} runs/one runs/two")
    page = file_for("out", FLAGS.out or _PAGE)
    runs, pairs = compare_runs(list(map(Path, paths)))
    console = terminal()
    for run in runs:
        accuracy = "not ended" if run.accuracy is None else f"{run.accuracy:.2%}"
        differs = " ".join(f"{name}={value}" for name, value in run.differing.items())
        console.print(f"{run.name}: {accuracy}  {differs}", markup=False)
    for pair in pairs:
        if pair.paired is not None:
            found = pair.paired
            console.print(
                f"{pair.second} less {pair.first}: {100 * found.difference:+.2f} points (95% "
                f"interval {100 * found.low:+.2f} to {100 * found.high:+.2f}, McNemar p "
                f"{p_value(found.p)}, {found.examples:,} images)",
                markup=False,
            )
    saved_run.write_page(page, render_comparison(runs, pairs))
    console.print(f"page: {page}", markup=False)


if __name__ == "__main__":
    launch(main, takes_paths=True)
