"""What can be asked of a trained run, as its index says it."""

import shlex
from pathlib import Path

from .. import command

_ASKED = {
    "evaluate": "Measure it, here or on other data",
    "explain": "Look into it",
    "walkthrough": "Build the lecture around it",
}


def what_next(run: Path) -> list[tuple[str, str]]:
    """In words, and as a shell takes it."""
    named = f"--run={shlex.quote(str(run))}"
    return [(words, f"{command(program)} {named}") for program, words in _ASKED.items()]
