"""The programs: each is a module to run in a checkout, and a command of `cnn_jax` installed."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    """Ends a program that still imports: a traceback of its imports says nothing to anybody."""
    os.write(2, b"error: interrupted\n")
    os._exit(130)


# Python imports this package before a program in it, which handles signals once it starts.
_started = sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "cnn_jax"
if _started and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)

COMMANDS = {
    "train": ("train", "train one network and write a report"),
    "ablate": ("ablation", "train a grid of networks and compare them"),
    "lr_find": ("lr_find", "draw loss against learning rate"),
    "evaluate": ("evaluate", "measure a trained run on a split or another data set"),
    "predict": ("predict", "guess what pictures show"),
    "explain": ("explain", "look into a trained run"),
    "export": ("export", "write a trained network for other programs"),
    "walkthrough": ("walkthrough", "build the lecture as one page"),
    "runs": ("overview", "list runs and sweeps"),
    "compare": ("compare", "set runs side by side"),
    "gallery": ("augment_gallery", "draw what augmentations do to images"),
}


def command(module: str) -> str:
    """How a shell starts a program from where this package is: installed, or in a checkout.

    Args:
        module: its name in this package, as in "train".
    """
    names = {name for name, (program, _) in COMMANDS.items() if program == module}
    if __name__ != "experiments" and names:
        return f"cnn_jax {names.pop()}"
    return f"python -m {__name__}.{module}"


def module_of(main: Callable[..., None]) -> str:
    """The module of a program, as absl calls it."""
    return sys.argv[0] if main.__module__ == "__main__" else main.__module__


def as_started() -> str:
    """The command line of this process, as a shell takes it."""
    return f"{command(Path(sys.argv[0]).stem)} {shlex.join(sys.argv[1:])}".rstrip()
