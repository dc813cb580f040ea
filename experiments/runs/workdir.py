"""The flags of the folder that a program writes to, and what it finds there."""

import copy
import itertools
import time
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from cnn_jax.errors import UsageError
from cnn_jax.storage import holder
from cnn_jax.studies.choices import PLACE, of_other_models
from cnn_jax.studies.run_directory import FLAGS_FILE, RunDirectory, is_begun, read_flags
from cnn_jax.studies.sweep_directory import check_no_sweep

from ..flags import options

# What is compared by what it holds, wherever it lies.
_MAY_CHANGE = PLACE | {"extend"}
# What a run may have more of when it goes on.
LENGTH = "epochs"

flags.DEFINE_string(
    "workdir", None, "The folder to write to; if not given, a new one in runs/, named by the time."
)
flags.DEFINE_bool(
    "resume",
    False,
    "Go on with what is in --workdir from its last checkpoint, to the same bits as if it had not "
    "stopped. Flags that are not given are those it was started with; --dataset may say where its "
    "data are now, and train may go on for more --epochs.",
)
flags.DEFINE_bool(
    "plan",
    False,
    "Compile, time one step, and print what would be trained and what it needs: parameters, "
    "memory, operations, exchanges between devices, time. Trains nothing and writes nothing.",
)


def flags_text(resolved: Mapping[str, float | str]) -> str:
    """A flagfile that repeats a run: every flag that has a value, those resolved as they are."""
    lines, defined = [], flags.FLAGS.flags_by_module_dict()[options.__name__]
    without_effect = of_other_models(flags.FLAGS.model)
    for flag in sorted(defined, key=lambda flag: flag.name):
        if flag.name in resolved:
            lines.append(f"--{flag.name}={resolved[flag.name]}")
        elif flag.value is not None and flag.name not in without_effect:
            lines.append(flag.serialize())
    # A flag that is given several times, or never, is of several lines, or of none.
    return "\n".join(filter(None, lines)) + "\n"


def adopt_flags(path: Path, longer: bool = False) -> None:
    """Gives every flag that the command line left out the value it has in `path`/flags.txt.

    Args:
        path: of the study.
        longer: whether it may train longer than it was started for.

    Raises:
        UsageError: if there is no such file, if it names an unknown flag or a value of the wrong
            kind, or if the command line says otherwise.
    """
    file = path / FLAGS_FILE
    may_change = _MAY_CHANGE | ({LENGTH} if longer else set())
    if not file.is_file():
        raise UsageError(f"--resume found no {FLAGS_FILE} in {path}; give the folder of a run")
    for name, texts in read_flags(path, list(flags.FLAGS)).items():
        flag = flags.FLAGS[name]
        stored = copy.deepcopy(flag)
        stored.unparse()
        try:
            stored.parse(texts if isinstance(flag, flags.MultiFlag) else texts[-1])
        except (flags.Error, ValueError) as error:
            raise UsageError(f"{file}: {error}") from error
        if not flag.present:
            flag.value, flag.using_default_value = stored.value, False
        elif name not in may_change and flag.serialize() != stored.serialize():
            raise UsageError(
                f"the run in {path} has {' '.join(f'--{name}={text}' for text in texts)}, but the "
                f"flags say {' '.join(flag.serialize().split())}; leave the flag out to go on with "
                "it"
            )


def open_directory(what: str, name: str) -> RunDirectory:
    """The folder of --workdir, or a new one; with --resume its flags hold.

    Args:
        what: is in it, for messages: a run or a sweep.
        name: of a new folder in runs/, before the time.

    Raises:
        UsageError: if there is nothing to go on with, or something where a new folder should be.
    """
    workdir = flags.FLAGS.workdir
    if flags.FLAGS.resume:
        if workdir is None:
            raise UsageError(f"--resume needs the --workdir of the {what} to go on with")
        if what == "run":
            check_no_sweep(Path(workdir))
        adopt_flags(Path(workdir), longer=what == "run")
    path = Path(workdir) if workdir else _new_path(name)
    goes_on = flags.FLAGS.resume or flags.FLAGS.plan
    if not goes_on and is_begun(path):
        if (who := holder(path)) is not None:
            raise UsageError(f"--workdir={path} is written to by {who}; give a new folder")
        raise UsageError(
            f"--workdir={path} already exists; give a new folder, or --resume to go on with the "
            "run in it"
        )
    return RunDirectory(path)


def _new_path(name: str) -> Path:
    """runs/<name>-<time>, a folder that is not there yet."""
    first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{again}") for again in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())
