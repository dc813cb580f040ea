"""How every experiment starts and ends: flags parsed, and one clear line for what went wrong."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from absl import app, flags, logging

from cnn_jax.errors import UsageError


def launch(main: Callable[[], None]) -> None:
    """Runs `main` with the flags of the command line.

    Bad input prints one line and exits with 2, an interruption with 130. SIGTERM interrupts as
    Ctrl-C does. Libraries log warnings only, unless --verbosity asks for more.
    """
    signal.signal(signal.SIGTERM, _interrupt)

    def run(arguments: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if len(arguments) > 1:
                raise UsageError(f"unexpected argument {arguments[1]!r}; options start with --")
            main()
        except UsageError as error:
            _fail(str(error), 2)
        except KeyboardInterrupt as interruption:
            _fail(str(interruption) or "interrupted", 130)

    app.run(run, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return (
            app.parse_flags_with_usage(arguments)
            if _asks_for_help(arguments)
            else flags.FLAGS(arguments)
        )
    except flags.Error as error:
        _fail(str(error), 2)
        raise


def _asks_for_help(arguments: list[str]) -> bool:
    return any(argument.lstrip("-").startswith("help") for argument in arguments[1:])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, status: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
