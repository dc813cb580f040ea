"""What --vary, --tune, --seeds and --baseline say."""

from collections.abc import Sequence
from typing import Any

from absl import flags

from cnn_jax.errors import UsageError
from cnn_jax.studies.axes import Multiple, Study, check_axis, make_study
from cnn_jax.studies.choices import Choices
from cnn_jax.training import known_hyperparameters
from cnn_jax.training.grid import Axis, Value, split_axis


def read_study(
    vary: Sequence[str],
    tune: Sequence[str],
    seeds: int,
    fixed: Choices,
    baseline: str | None = None,
    sources: Sequence[str] | None = None,
    **rounds: Any,
) -> Study:
    """The grid that the flags describe.

    Args:
        vary: texts `name=value,value,...`.
        tune: names of hyperparameters to tune.
        seeds: how many, counted from the fixed `seed`.
        fixed: options given once for all trials.
        baseline: the variant to compare with, as `name=value,name=value`; the first if None.
        sources: what differs from seed to seed.
        **rounds: how values are found and seeds are added, as `make_study` takes it.

    Raises:
        UsageError: for an unknown or doubled axis, an impossible value, or one that has no effect.
    """
    axes = [read_axis(text) for text in vary]
    wanted = read_baseline(baseline) if baseline else None
    return make_study(axes, tune, seeds, fixed, wanted, sources, **rounds)


def read_axis(text: str) -> Axis:
    """An axis over an option of a training run.

    Values are those that the option's flag takes. In an option that is a list itself, + stands
    between its items and `none` for no item. A number may be a multiple of its default: x0.1.

    Raises:
        UsageError: if there is no such option or it does not take such a value.
    """
    name, texts = split_axis(text)
    check_axis(name)
    values = []
    for item in texts:
        try:
            values.append(Value(item, _parse(name, item)))
        except (ValueError, TypeError, flags.Error) as error:
            raise UsageError(f"--vary={text}: {item}: {error}") from error
    return Axis(name, tuple(values))


def read_baseline(text: str) -> dict[str, str]:
    """The values of `name=value,name=value`.

    Raises:
        UsageError: if it is not that.
    """
    wanted: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--baseline={text} must be name=value,name=value")
        wanted[name.strip()] = value.strip()
    return wanted


def _parse(name: str, text: str) -> Any:
    flag = flags.FLAGS[name]
    if name in known_hyperparameters() and text.startswith("x"):
        return Multiple(float(text[1:]))
    if isinstance(flag.parser, flags.ListParser):
        return flag.parser.parse("" if text == "none" else text.replace("+", ","))
    return flag.parser.parse(text)
