"""The console command `cnn_jax`, which `python -m experiments` is in a checkout."""

import runpy
import sys

from cnn_jax.errors import did_you_mean

from . import COMMANDS
from . import __name__ as _package


def main() -> None:
    """Runs the program that the first argument names, with the other arguments."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(_help())
    elif name == "--version":
        from cnn_jax import __version__

        print(__version__)
    elif name in COMMANDS:
        sys.argv[1:] = arguments
        runpy.run_module(f"{_package}.{COMMANDS[name][0]}", run_name="__main__", alter_sys=True)
    else:
        hint = did_you_mean(name, COMMANDS)
        print(f"error: {name} is not one of {', '.join(COMMANDS)}{hint}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{meaning}" for name, (_, meaning) in COMMANDS.items()]
    start = "cnn_jax" if _package != "experiments" else f"python -m {_package}"
    return "\n".join(
        [f"usage: {start} COMMAND [--flag=value ...]", "", *lines, "",
         f"The flags of each: {start} COMMAND --help"]
    )  # fmt: skip


if __name__ == "__main__":
    main()
