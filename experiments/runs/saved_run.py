"""The flags of the programs that use a trained run, and the run that they name."""

from collections.abc import Callable
from pathlib import Path

from absl import flags

from cnn_jax import storage
from cnn_jax.analysis.index import with_way_back
from cnn_jax.errors import UsageError
from cnn_jax.memory import check_addresses
from cnn_jax.studies.overview import write_index
from cnn_jax.studies.saved_run import SavedRun, load_run

from .. import module_of
from ..flags import options
from .next_steps import what_next

FLAGS = flags.FLAGS
# The package of the programs, under whatever name it is installed.
_PROGRAMS = options.__name__.removesuffix("flags.options")

# Each program names those it reads with flags.declare_key_flag, of the options too.
flags.declare_key_flag("extend", options.FLAGS)
flags.DEFINE_string("run", None, "The folder of a trained run, as train leaves it.")
flags.DEFINE_enum(
    "split", "test", ("train", "validation", "test"), "Which part of the data set to look at."
)
flags.DEFINE_integer("top", 5, "How many guesses to rank.", lower_bound=1)
flags.DEFINE_bool("json", False, "Print JSON and nothing else, for another program to read.")
flags.DEFINE_string(
    "out", None, "The page to write; if not given, it is in the folder of the run, or else here."
)

UNCALIBRATED = (
    "the loss of this run, {}, does not make its outputs probabilities: they rank the guesses, "
    "but their size does not measure"
)


def load(*place: str) -> SavedRun:
    """The run that --run names.

    Args:
        *place: names of flags that may say where its data are now.

    Raises:
        UsageError: if the folder holds no run, or one that cannot be restored.
    """
    if not FLAGS.run:
        raise UsageError("give --run=FOLDER, the folder of a run that train made")
    check_addresses()
    path = Path(FLAGS.run)
    if not path.is_dir():
        raise UsageError(f"--run={path} is not a folder; give the folder of a run")
    return load_run(path, {name: FLAGS[name].value for name in place if FLAGS[name].present})


def write_page(path: Path, page: str | bytes) -> None:
    """Writes what --out names, or else a page in the folder of the run, and there its index too.

    Raises:
        UsageError: if it cannot be written there.
    """
    inside = bool(FLAGS.run) and path.resolve().parent == Path(FLAGS.run).resolve()
    try:
        storage.write(path, with_way_back(page) if inside and isinstance(page, str) else page)
        if inside:
            write_index(Path(FLAGS.run), what_next(Path(FLAGS.run)))
    except storage.WriteError as error:
        raise UsageError(f"{error}; give another --out") from error


def check_flags(main: Callable[..., None]) -> None:
    """Refuses flags of other programs, which would have no effect.

    Args:
        main: of the program.

    Raises:
        UsageError: naming the first one given.
    """
    read = {flag.name for flag in FLAGS.get_key_flags_for_module(module_of(main))}
    for module, defined in FLAGS.flags_by_module_dict().items():
        if not module.startswith((_PROGRAMS, "__main__")):
            continue
        for other in defined:
            if other.present and other.name not in read:
                raise UsageError(
                    f"--{other.name} has no effect here; the flags are "
                    + ", ".join(f"--{name}" for name in sorted(read))
                )
