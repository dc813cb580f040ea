"""How every experiment starts and ends: flags parsed, and one clear line for what went wrong."""

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import NoReturn

import jax
from absl import app, flags, logging
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cnn_jax.data.cache import default_folder
from cnn_jax.display import shown
from cnn_jax.errors import DivergedError, FieldError, UsageError
from cnn_jax.training import processes

from . import command_line, module_of, output

INTERRUPTED = 130
DIVERGED = 3


def launch(main: Callable[..., None], takes_paths: bool = False, goes_on: bool = False) -> None:
    """`start`, as the last thing that a process does.

    An interrupted process ends at once: at Python's own exit JAX would first wait for the compiled
    program that is running, perhaps for minutes; and one of several, for the others.
    """
    try:
        start(main, takes_paths, goes_on)
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        processes.leave(processes.LOST)
    except SystemExit as end:
        if end.code and jax.distributed.is_initialized():
            processes.leave(int(end.code))
        if end.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def start(main: Callable[..., None], takes_paths: bool = False, goes_on: bool = False) -> None:
    """Runs `main` with the flags of the command line, and exits.

    Bad input prints one line and exits with 2, a run that diverged with 3, an interruption with
    130, the loss of a process that shares the work with 1. SIGTERM and SIGHUP interrupt as Ctrl-C
    does. Libraries log warnings only, unless --verbosity asks for more.

    Args:
        main: what to run.
        takes_paths: whether arguments that are not flags are given to `main`, as a list; if not,
            they are refused.
        goes_on: whether it goes on where nobody reads what it prints.
    """
    _listen()
    # A terminal that has no letter for a name shows which one it is.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    output.guard(goes_on)

    def run(arguments: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        if takes_paths:
            main(arguments[1:])
        elif len(arguments) > 1:
            raise UsageError(f"unexpected argument {arguments[1]!r}; options start with --")
        else:
            main()
        sys.stdout.flush()

    # absl knows the flags of the program that was started by the name of its file.
    module = module_of(main)
    try:
        # Reading the flags runs what --extend names, and compiles it.
        _keep_programs()
        app.run(run, flags_parser=partial(command_line.parse, module))
    except FieldError as error:
        _fail(error.named("--"), 2)
    except UsageError as error:
        _fail(str(error), 2)
    except DivergedError as error:
        _fail(str(error), DIVERGED)
    except processes.ProcessLostError as loss:
        _fail(str(loss), processes.LOST)
    except jax.errors.JaxRuntimeError as error:
        lost = processes.loss(error)
        if lost is not None:
            _fail(str(lost), processes.LOST)
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        _fail(f"there is not enough memory: {str(error).splitlines()[0]}", 2)
    except MemoryError as error:
        _fail(f"there is not enough memory: {error or 'an allocation failed'}", 2)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        _fail(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}", 2)
    except KeyboardInterrupt as interruption:
        _fail(str(interruption) or "interrupted", INTERRUPTED)


class _Terminal(Console):
    """A console that obeys only this program: what it is given to print moves no cursor."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The pieces to print, with control characters in texts as what can be read."""
        for piece in super().render(renderable, options):
            if not piece.control and not piece.text.isprintable():
                piece = piece._replace(text="\n".join(map(shown, piece.text.split("\n"))))
            yield piece


def _listen() -> None:
    """Has signals interrupt the program; those stay ignored that are so from the start (nohup)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def terminal() -> Console:
    """Where progress is printed; into a file or a pipe, in lines that are long enough."""
    console = _Terminal(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 110
    return console


def _keep_programs() -> None:
    """Keeps compiled programs on disk, so that the same run starts at once the next time.

    Those that call oneDNN cannot be kept: XLA runs out of memory when it writes them down. Where
    there is no room, or an entry is damaged, they are compiled.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(default_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _fail(message: str, status: int) -> NoReturn:
    print(f"error: {shown(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(status)
