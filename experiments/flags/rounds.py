"""How a sweep goes on after its first trials: --search, --tune_seeds, --until, --detect."""

from typing import Any

from absl import flags

from cnn_jax.errors import UsageError
from cnn_jax.studies.rounds import REFINE, UNTIL

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "search",
    REFINE,
    "How values of --tune are found that --vary does not give: refine tries multiples of the "
    "default, goes on beyond the best until it lies inside, and between its neighbors until they "
    "are within a factor of two; random:64 and tpe:64 (Optuna) try so many values. Every row gets "
    "equally many.",
)
flags.DEFINE_integer(
    "tune_seeds",
    0,
    "Choose tuned values on so many seeds of their own, of which nothing is reported; with 0 on "
    "those of --seeds, which are reported too.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "until",
    None,
    list(UNTIL),
    "Add seeds to rows, and to the baseline, until they are decided, or until four of five random "
    "halves of a row's seeds have its verdict too (replicated), or they have --max_seeds; by a "
    "test that allows for looking.",
)
flags.DEFINE_integer("max_seeds", 50, "The most seeds of --until.", lower_bound=2)
flags.DEFINE_float(
    "detect",
    None,
    "Say after the sweep, as a pilot, with how many seeds a difference of so many percentage "
    "points would be shown in four cases of five, and how long they take.",
    lower_bound=1e-6,
)


def read(compare: str, within: float) -> dict[str, Any]:
    """What `make_study` is told.

    Args:
        compare: what rows are compared with.
        within: differences smaller than this do not matter, as a fraction.

    Raises:
        UsageError: if a flag has no effect.
    """
    if FLAGS.until is None and FLAGS["max_seeds"].present:
        raise UsageError(
            "--max_seeds is of --until=decided or replicated; give one, or say --seeds"
        )
    if FLAGS.until and compare != "baseline":
        raise UsageError(
            f"--until={FLAGS.until} compares rows with the baseline; leave --compare={compare} out"
        )
    return {
        "search": FLAGS.search,
        "tune_seeds": FLAGS.tune_seeds,
        "until": FLAGS.until,
        "max_seeds": FLAGS.max_seeds,
        "within": within,
    }
