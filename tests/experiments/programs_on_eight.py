"""Runs programs one after another in a process where the CPU plays eight devices.

Reads a JSON list from the command line: of each, the program, its arguments and, perhaps, the
checkpoint after which it is interrupted. Prints a JSON list of what the shell would have seen.
"""

import json
import sys
from collections.abc import Callable

import pytest
from conftest import run_program

from cnn_jax.studies.run_directory import RunDirectory
from cnn_jax.studies.sweep_directory import CellDirectory
from experiments import ablation, train

MAINS = {"train": train.main, "ablation": ablation.main}


def interrupting(save: Callable[..., None], after: int) -> Callable[..., None]:
    """A `save` that is interrupted when it has saved so many times."""
    saved = iter(range(1, after + 1))

    def wrapped(*arguments: object) -> None:
        save(*arguments)
        if next(saved) == after:
            raise KeyboardInterrupt

    return wrapped


def main() -> None:
    outcomes = []
    for program, arguments, stop in json.loads(sys.argv[1]):
        with pytest.MonkeyPatch.context() as patch:
            # Drawing takes longest, and is not what is looked at.
            patch.setattr("cnn_jax.analysis.report.render_report", lambda *what: "")
            patch.setattr("cnn_jax.analysis.ablation.render_ablation_report", lambda record: "")
            if stop is not None:
                for directory in (RunDirectory, CellDirectory):
                    patch.setattr(directory, "save", interrupting(directory.save, stop))
            outcomes.append(run_program(MAINS[program], *arguments))
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
