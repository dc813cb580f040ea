"""What says how a study goes on after its first round."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn_jax.analysis.statistics import FEWEST_SEEDS, looks
from cnn_jax.errors import FIELD, FieldError

REFINE, RANDOM, TPE = "refine", "random", "tpe"
# When a row gets no more seeds: once it has a verdict, or once halves of its seeds have it too.
REPLICATED = "replicated"
UNTIL = ("decided", REPLICATED)
# Seeds that values are chosen on, and nothing is reported of, are counted from here.
_APART = 10_000


class Rules(NamedTuple):
    """How the trials after the first round are found.

    Attributes:
        search: how values of the numbers in `searched` are found.
        tries: of every row by a random search or TPE; 0 where values are tried until they enclose
            the best.
        searched: the tuned numbers whose values are not given.
        tune_seeds: that values are chosen on; those of the study if empty.
        looks: after how many seeds rows are looked at, and get more if they are undecided; none if
            all have the seeds of the study.
        replicated: whether they get more until halves of their seeds say the same, too.
        within: differences of accuracy smaller than this do not matter, as a fraction.
    """

    search: str = REFINE
    tries: int = 0
    searched: tuple[str, ...] = ()
    tune_seeds: tuple[int, ...] = ()
    looks: tuple[int, ...] = ()
    replicated: bool = False
    within: float = 0.0

    @property
    def apart(self) -> bool:
        """Whether values are chosen in trials that nothing is reported of."""
        return bool(self.searched or self.tune_seeds)


def read_rules(
    search: str = REFINE,
    tune_seeds: int = 0,
    until: str | None = None,
    max_seeds: int = 50,
    *,
    seeds: Sequence[int],
    tuned: Sequence[str],
    given: Sequence[str],
    within: float = 0.0,
) -> Rules:
    """The rules that a user's words mean.

    Args:
        search: "refine", "random:64" or "tpe:64".
        tune_seeds: on how many seeds of their own values are chosen; 0 for those of the study.
        until: one of `UNTIL`: when a row gets no more seeds; None for those of the study.
        max_seeds: the most that it gets then.
        seeds: of the study.
        tuned: names of the numbers that are tuned.
        given: names of the axes whose values are given.
        within: differences smaller than this do not matter.

    Raises:
        FieldError: if they cannot be, or not together.
    """
    kind, tries = _kind(search)
    searched = tuple(name for name in tuned if name not in given)
    if kind != REFINE and not searched:
        raise FieldError(
            f"{FIELD.search}={search} finds the values of tuned numbers, but "
            + ("their values are given" if tuned else "nothing is tuned")
            + f"; give {FIELD.tune}=learning_rate without {FIELD.vary}=learning_rate=..."
        )
    if tune_seeds and not tuned:
        raise FieldError(
            f"{FIELD.tune_seeds}={tune_seeds}: nothing is tuned; give {FIELD.tune}=learning_rate"
        )
    found: tuple[int, ...] = ()
    if until is not None:
        if len(seeds) < FEWEST_SEEDS or max_seeds <= len(seeds):
            raise FieldError(
                f"{FIELD.until}={until} looks first after {FIELD.seeds}={len(seeds)}, which must "
                f"be {FEWEST_SEEDS} or more, and last after {FIELD.max_seeds}={max_seeds}, which "
                "must be more"
            )
        found = looks(len(seeds), max_seeds)
    apart = tuple(seeds[0] + _APART + place for place in range(tune_seeds))
    return Rules(kind, tries, searched, apart, found, until == REPLICATED, within)


def _kind(search: str) -> tuple[str, int]:
    kind, colon, number = search.partition(":")
    if search == REFINE:
        return kind, 0
    if kind in (RANDOM, TPE) and colon and number.isdecimal() and int(number) > 1:
        return kind, int(number)
    raise FieldError(
        f"{FIELD.search}={search} must be {REFINE}, {RANDOM}:64 or {TPE}:64, with the number of "
        "tries of every row, 2 or more"
    )
