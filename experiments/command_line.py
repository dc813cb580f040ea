"""What stands on a command line: presets by name, the nearest right word, and --help in groups."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from absl import app, flags

from cnn_jax.errors import UsageError, did_you_mean
from cnn_jax.extend import forget, kept_files, load_file, loaded_files
from cnn_jax.ops import LOSSES
from cnn_jax.ops.hyperparameters import declared
from cnn_jax.training import OPTIMIZERS, known_hyperparameters
from cnn_jax.training.config import readers
from cnn_jax.training.optimizers import lookahead

from . import COMMANDS, command

FLAGS = flags.FLAGS
PRESETS = Path(__file__).parent / "presets"

flags.DEFINE_string(
    "preset",
    None,
    "Flags that go together, by the name of a file in experiments/presets; those given after it "
    "hold instead. --preset=help lists all.",
)

# Under which heading --help shows a flag. Other hyperparameters are the optimizer's, or the loss's
# that reads them; other flags are of the run.
GROUPS: dict[str, tuple[str, ...]] = {
    "sweep": (
        *("vary", "tune", "seeds", "baseline", "compare", "equivalent_within"),
        *("search", "tune_seeds", "until", "max_seeds", "detect"),
        *("prune", "trials_per_program", "vectorization", "keep", "sources"),
    ),
    "scan": ("lowest_rate", "highest_rate", "rates"),
    "data": (
        "dataset",
        "data_dir",
        "download",
        "image_size",
        "resize",
        "on_error",
        "labels",
        "class_pattern",
        "train_examples",
        "validation_fraction",
        "split_seed",
        "list_files",
    ),
    "augmentation": ("augment", "tta"),
    "network": (
        "model",
        "filters",
        "width",
        "kernel_size",
        "convolutions_per_block",
        "hidden",
        "pooling",
        "normalization",
        "activation",
        "init",
        "dropout_rate",
        "convolution",
        "precision",
    ),
    "loss": ("loss", "class_weights"),
    "optimizer": (
        "optimizer",
        "learning_rate",
        "schedule",
        "batch_size",
        "sample",
        "micro_batches",
    ),
    "run": (
        "preset",
        "epochs",
        "resolutions",
        "keep_epoch",
        "patience",
        "seed",
        "init_seed",
        "init_from",
        "freeze",
        "extend",
        "workdir",
        "resume",
        "checkpoint_every",
        "track",
        "page_weights",
        "serve",
        "plan",
    ),
    "devices": ("devices", "mesh", "shard_data", "unsafe"),
    "hosts": (
        "distributed",
        "coordinator_address",
        "coordinator_bind_address",
        "num_processes",
        "process_id",
        "coordinator_timeout",
        "heartbeat_timeout",
    ),
}
# What absl adds to the help of a flag that may be repeated, which ours say themselves.
_MAY_BE_REPEATED = ";\n    repeat this option"
_HELP = {"--help", "-help", "-h", "--helpshort", "-helpshort"}


def parse(module: str, arguments: list[str]) -> list[str]:
    """Sets the flags of a program.

    Args:
        module: of the program, as absl knows it: the file, where it is `__main__`.
        arguments: the program's name, and what the user wrote.

    Returns:
        What is no flag, after the program's name.

    Raises:
        UsageError: if a flag or its value cannot be.
        SystemExit: after help that was asked for.
    """
    FLAGS.set_gnu_getopt(True)
    own = {flag.name for flag in FLAGS.get_key_flags_for_module(module)}
    arguments = [arguments[0], *_with_files(arguments[1:], own)]
    _extend(arguments[1:], own)
    if _HELP & set(arguments[1:]):
        print(help_text(module))
        sys.exit()
    if any(argument.lstrip("-").startswith("help") for argument in arguments[1:]):
        return app.parse_flags_with_usage(arguments)
    own = {flag.name for flag in FLAGS.get_key_flags_for_module(module)}
    try:
        return FLAGS(arguments)
    except flags.UnrecognizedFlagError as error:
        hint = did_you_mean(f"--{error.flagname}", [f"--{name}" for name in own])
        raise UsageError(f"--{error.flagname} is not a flag of {_program(module)}{hint}") from error
    except flags.IllegalFlagValueError as error:
        _refuse_choice(error)
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error)) from error


def _extend(words: list[str], own: set[str]) -> None:
    """Reads the files of functions from outside, before the flags that they add are looked at.

    They are those of --extend, after those kept in the folder that --run names, or that --workdir
    does with --resume.
    """
    forget(loaded_files())
    folders = _texts(words, "run")
    if any(word.lstrip("-") in ("resume", "resume=true") for word in words):
        folders += _texts(words, "workdir")[-1:]
    for folder in folders:
        for file in kept_files(Path(folder)):
            load_file(file)
    for path in dict.fromkeys(_texts(words, "extend")) if "extend" in own else ():
        load_file(path)
    # The benchmarks have flags of their own, and none of a run.
    if "model" in FLAGS:
        from .flags import options

        options.refresh()


def _texts(words: list[str], flag: str) -> list[str]:
    """What a flag is given on a command line, before it is parsed."""
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        name, equals, text = word.partition("=")
        if name in (f"-{flag}", f"--{flag}"):
            found.append(text if equals else after)
    return found


def help_text(module: str) -> str:
    """The text of --help: the program's own, and its flags in groups with their defaults."""
    own = FLAGS.get_key_flags_for_module(module)
    program = sys.modules["__main__" if module == sys.argv[0] else module]
    start = command(_program(module))
    lines = [f"usage: {start} [--flag=value ...]", "", _as_started(program.__doc__ or "")]
    for group, first in GROUPS.items():
        order = {name: place for place, name in enumerate(first)}
        members = sorted(
            (flag for flag in own if _group(flag.name) == group),
            key=lambda flag: (order.get(flag.name, len(order)), flag.name),
        )
        if members:
            lines += ["", f"{group}:"]
        for flag in members:
            lines += _describe_flag(flag)
    lines += ["", "Flags may stand in a file, one a line: --flagfile=FILE. absl's own: --helpfull."]
    return "\n".join(lines)


def _program(module: str) -> str:
    return Path(module).stem if module.endswith(".py") else module.rpartition(".")[2]


def _with_files(
    arguments: Iterable[str], own: set[str], inside: tuple[Path, ...] = ()
) -> list[str]:
    """The arguments, with what is in a file in the place of a flagfile or a preset.

    Args:
        arguments: of a command line, or those in a flagfile.
        own: names of the flags of the program.
        inside: the flagfiles that they stand in, the outermost first.

    Raises:
        UsageError: a file cannot be read, or one of the arguments can be none.
    """
    words, found = iter(arguments), []
    for word in words:
        if "\0" in word:
            raise UsageError(f"{word!r} holds a null byte, which no path and no number has")
        if "workdir" in own and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UsageError(f"{word} is no text of UTF-8, as which flags are kept; rename it")
        name, equals, value = word.partition("=")
        flag = name.lstrip("-") if name.startswith("-") else ""
        place: Path | None
        if flag == "preset" and flag in own:
            place = _preset(value if equals else next(words, ""), own)
        elif flag == "flagfile":
            text = (value if equals else next(words, "")).strip()
            place = Path(os.path.expanduser(text)) if text else None
            if place and inside and not place.exists():
                place = inside[-1].parent / place
        else:
            found.append(word)
            if word == "--":
                return [*found, *words]
            continue
        if place in inside:
            raise UsageError(
                f"the flagfile {place} is read by itself; leave it out of {inside[-1]}"
            )
        if place is not None:
            found += _with_files(_lines(place), own, (*inside, place))
    return found


def _lines(path: Path) -> Iterator[str]:
    """The flags in a file, one a line.

    Raises:
        UsageError: it cannot be read, or a line is none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read --flagfile={path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--flagfile={path} is no text of UTF-8: {error.reason}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith(("#", "//")):
            yield _line(f"line {number} of {path}", line)


def _line(place: str, line: str) -> str:
    """A flag as a command line has it, from a line of a flagfile as people write them."""
    if not line.startswith("-"):
        raise UsageError(f"{place} is {line[:80]!r}, which is no flag; a flag is --name=value")
    # Also "--name value" and "--name = value".
    name, gap, value = re.split(r"(\s*=\s*|\s+|$)", line, maxsplit=1)
    if not gap:
        return name
    if value[-1:] == "\\":
        raise UsageError(f"{place} ends in a backslash, but no line goes on in the next one")
    others = [word for word in re.findall(r"\s--?(\w+)=", value) if word in FLAGS]
    if others:
        raise UsageError(f"{place} gives --{others[0]} after {name}; give every flag its own line")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return f"{name}={value}"


def _preset(name: str, own: set[str]) -> Path:
    """The file of a preset, all of whose flags are among the program's own."""
    files = PRESETS.glob("*.flags")
    flag = re.compile(r"^--(\w+)", re.MULTILINE)
    names = sorted(file.stem for file in files if own.issuperset(flag.findall(file.read_text())))
    if name == "help":
        width = max(map(len, names)) + 2
        for known in names:
            print(f"{known:{width}}{_meaning(PRESETS / f'{known}.flags')}")
        sys.exit()
    if name not in names:
        all_names = ", ".join(names)
        raise UsageError(f"--preset={name} is not one of {all_names}{did_you_mean(name, names)}")
    return PRESETS / f"{name}.flags"


def _meaning(path: Path) -> str:
    comment = re.match(r"(#.*\n)+", path.read_text())
    text = " ".join(comment[0].replace("#", " ").split()) if comment else ""
    return re.split(r"(?<=\.) (?=[A-Z])", text)[0]


def _refuse_choice(error: flags.IllegalFlagValueError) -> NoReturn:
    """Raises what absl says of a value, or for a choice which are there and which is nearest."""
    found = re.match(r"flag --(\w+)=(.*?): value should be one of", str(error), re.DOTALL)
    if found is None:
        text = str(error).replace(
            "('Non-boolean argument to boolean flag', ", "not true or false ("
        )
        raise UsageError(text) from error
    name, value = found.groups()
    choices = _choices(FLAGS[name])
    raise UsageError(
        f"--{name}={value} is not one of {', '.join(choices)}{did_you_mean(value, choices)}"
    ) from error


def _choices(flag: flags.Flag) -> list[str]:
    return list(getattr(flag.parser, "enum_values", ()))


def _group(name: str) -> str:
    for group, names in GROUPS.items():
        if name in names:
            return group
    if any(name in declared(loss) for loss in LOSSES.values()):
        return "loss"
    return "optimizer" if name in known_hyperparameters() else "run"


def _describe_flag(flag: flags.Flag) -> list[str]:
    choices = _choices(flag)
    text = flag.help.partition(_MAY_BE_REPEATED)[0]
    if choices:
        text = f"{text.partition('>: ')[2]} One of {', '.join(choices)}."
    text = f"{text} Default: {_default(flag)}."
    width = min(shutil.get_terminal_size().columns, 100)
    indent = " " * 6
    return [
        f"  --{'[no]' if flag.boolean else ''}{flag.name}",
        *textwrap.wrap(
            text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        ),
    ]


def _default(flag: flags.Flag) -> str:
    if flag.name in known_hyperparameters():
        return _hparam_default(flag.name)
    if flag.default is None or flag.default == []:
        return "not given"
    return (flag.default_as_str or "").strip("'") or "empty"


def _hparam_default(name: str) -> str:
    """The defaults of a hyperparameter with those that read it, in the order of the values."""
    if name == "learning_rate":
        found = {key: optimizer.learning_rate for key, optimizer in OPTIMIZERS.items()}
    else:
        functions = [*readers(), ("lookahead", lookahead)]
        declarations = ((key, declared(function)) for key, function in functions)
        found = {key: items[name].default for key, items in declarations if name in items}
    by_value = {
        value: [key for key in found if found[key] == value]
        for value in sorted(set(found.values()))
    }
    texts = [f"{value:g} ({', '.join(keys)})" for value, keys in by_value.items()]
    return ", ".join(texts) or "not given"


def _as_started(text: str) -> str:
    """A program's docstring, with commands as they are typed here."""
    programs = "|".join(module for module, _ in COMMANDS.values())
    return re.sub(
        rf"python -m experiments\.({programs})\b", lambda found: command(found[1]), text
    ).strip()
