"""Are the verdicts of a sweep right, and how many of the true differences do they find?

`python -m benchmarks.statistics` prints docs/statistics.md: simulated sweeps of which the truth is
known, with equal, unequal and trending spreads, and real ones, drawn from twelve seeds of five
activations (`twelve_seeds.csv`). Beside the model stands the test that came before it: paired
t-tests, each of its own variance, corrected by Holm.
"""

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from absl import app, flags

from benchmarks.simulated_sweeps import (
    EFFECTS,
    by_model,
    by_paired_tests,
    draw,
    error,
    harsher,
    holm,
    power,
    spreads,
    student_p,
    until_decided,
)
from cnn_jax.analysis.statistics import (
    BETTER,
    LEVEL,
    UNDECIDED,
    WORSE,
    compare_sequentially,
    compare_to_baseline,
    look_level,
    looks,
    mean_over_seeds,
)
from cnn_jax.display import listed
from cnn_jax.studies.rounds import REPLICATED, UNTIL

T = TypeVar("T")
FLAGS = flags.FLAGS
flags.DEFINE_integer("tables", 5_000, "Simulated sweeps for each number.", lower_bound=1)
flags.DEFINE_integer("random_seed", 0, "Of the draws.")
# The sweep that the file is of, README's own at its learning rate.
TWELVE_SEEDS = Path(__file__).with_name("twelve_seeds.csv")
COMMAND = (
    "python -m experiments.ablation --dataset=mnist --train_examples=6000 "
    "--validation_fraction=0.05 --model=lenet5 --vary=activation=relu,selu,gelu,silu,mish "
    "--learning_rate=0.01 --optimizer=adam --schedule=one_cycle --epochs=4 --seeds=12"
)
_TEST_EXAMPLES = 10_000
LOOKS = (3, 30)
LOOKS_ANEW = (6, 60)


def sequential(name: str, rng: np.random.Generator, tables: int) -> list[str]:
    """The row of the table of simulated sweeps whose seeds are added until rows are decided."""
    counts, rows = looks(*LOOKS), 5
    level, kind = look_level(counts, rows - 1), spreads(rows)[name]
    nothing, _ = draw(kind, rng, tables, counts[-1])
    even = kind._replace(accuracies=kind.accuracies[:1].repeat(rows))
    nothing -= (kind.accuracies - even.accuracies)[:, None]
    something, _ = draw(even, rng, tables // 2, counts[-1], EFFECTS[10])
    found = until_decided(something, counts, level)
    return [
        *(str(rows), name),
        _percent(until_decided(nothing, counts, level).decided.any(-1).mean()),
        _percent(until_decided(nothing, counts, LEVEL).decided.any(-1).mean()),
        _percent(found.decided.mean()),
        f"{found.seeds.mean():.1f}",
    ]


def anew(until: str, rng: np.random.Generator, tables: int) -> list[str]:
    """The row of what a new study says of rows to which seeds were added until then."""
    counts, rows = looks(*LOOKS_ANEW), 5
    drawn, _ = draw(spreads(rows)["equal"], rng, tables, 2 * counts[-1], EFFECTS[10])
    same, used, settled = [], [], 0
    for table in drawn:
        study, other = (
            [dict(enumerate(row)) for row in half] for half in np.split(table, 2, axis=-1)
        )
        found = compare_sequentially(study, 0, counts, replicated=until == REPLICATED)
        settled += rows - 1 - len(found.open)
        for row, pair in enumerate(found.pairs):
            if pair is None or row in found.open:
                continue
            again = [{seed: values[seed] for seed in range(pair.n)} for values in other]
            new = compare_to_baseline(again, 0, sign_flips=False)[row]
            same.append(new is not None and new.verdict == pair.verdict)
            used.append(pair.n)
    share = settled / (len(drawn) * (rows - 1))
    return [until, _percent(share), f"{np.mean(used):.1f}", _percent(float(np.mean(same)))]


class Simulated(NamedTuple):
    """What is found in simulated sweeps of one kind; shares, of the model and of what came before.

    Attributes:
        rows: of each sweep.
        seeds: of each row.
        name: of the kind.
        of_means: intervals of rows' means that hold the true one.
        of_differences: sweeps in which the intervals of all differences do.
        errors: sweeps with a difference that there is none of.
        powers: differences that are found, of those that there are.
    """

    rows: int
    seeds: int
    name: str
    of_means: float
    of_differences: float
    errors: tuple[float, float]
    powers: tuple[float, float]

    @property
    def cells(self) -> list[str]:
        """As a row of the table."""
        shares = map(_percent, (self.of_means, self.of_differences, *self.errors, *self.powers))
        ratio = self.powers[0] / self.powers[1]
        return [str(self.rows), str(self.seeds), self.name, *shares, f"{ratio:.2f}"]


def simulated(rows: int, seeds: int, name: str, rng: np.random.Generator, tables: int) -> Simulated:
    """Sweeps of one kind."""
    kind = spreads(rows)[name]
    nothing = draw(kind, rng, tables, seeds)
    model, before = by_model(*nothing), by_paired_tests(*nothing)
    assert model.covered is not None
    level = kind._replace(accuracies=kind.accuracies[:1].repeat(rows))
    something = draw(level, rng, tables // 2, seeds, EFFECTS[seeds])
    return Simulated(
        *(rows, seeds, name, _mean_coverage(*nothing)),
        float(model.covered.all(-1).mean()),
        (error(model), error(before)),
        (power(by_model(*something)), power(by_paired_tests(*something))),
    )


def above(found: Iterable[Simulated]) -> list[Simulated]:
    """Those whose error comes out above the level, to the digit that is printed."""
    return [each for each in found if round(each.errors[0], 3) > LEVEL]


def again(found: Simulated, rng: np.random.Generator, tables: int) -> list[str]:
    """The row of sweeps of that kind, in other and more tables."""
    nothing = draw(spreads(found.rows)[found.name], rng, tables, found.seeds)
    errors = (error(test(*nothing)) for test in (by_model, by_paired_tests))
    return [*found.cells[:3], *map(_percent, errors)]


def harsher_row(
    rows: int, seeds: int, name: str, rng: np.random.Generator, tables: int
) -> list[str]:
    """The row of sweeps of one of the harsher kinds."""
    kind, tests = harsher(rows)[name], (by_model, by_paired_tests)
    nothing = draw(kind, rng, tables, seeds)
    something = draw(kind, rng, tables // 2, seeds, EFFECTS[seeds])
    errors = [error(test(*nothing)) for test in tests]
    powers = [power(test(*something)) for test in tests]
    return [str(rows), str(seeds), name, *map(_percent, (*errors, *powers))]


def _mean_coverage(accuracies: np.ndarray, truth: np.ndarray) -> float:
    """How many of the rows' own intervals hold the true mean."""
    held = []
    for table, means in zip(accuracies[:2000], truth, strict=False):
        for row, mean in zip(table, means, strict=True):
            found = mean_over_seeds(np.clip(row, 0.0, 1.0).tolist())
            assert found.low is not None and found.high is not None
            held.append(found.low <= mean <= found.high)
    return float(np.mean(held))


def twelve_seeds() -> dict[str, dict[int, float]]:
    """Accuracies by activation and seed, the baseline relu first."""
    with TWELVE_SEEDS.open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["activation"]: {
            seed: int(row[f"seed_{seed}"]) / _TEST_EXAMPLES for seed in range(len(row) - 1)
        }
        for row in rows
    }


def model_verdicts(groups: Sequence[Mapping[int, float]]) -> list[str]:
    """The verdict of the model on every row but the first, which is the baseline."""
    return [pair.verdict for pair in compare_to_baseline(groups, 0) if pair]


def paired_verdicts(groups: Sequence[Mapping[int, float]]) -> list[str]:
    """The verdict of paired t-tests on every row but the first."""
    baseline, *rows = (np.array([row[seed] for seed in sorted(row)]) for row in groups)
    differences = np.array(rows) - baseline
    seeds = np.full(len(rows), differences.shape[1])
    means = differences.mean(-1)
    p = holm(student_p(differences.var(-1, ddof=1), means, seeds))
    signs = np.where(means > 0, BETTER, WORSE)
    return np.where(p < LEVEL, signs, UNDECIDED).tolist()


def subsets(seeds: int) -> Iterator[list[dict[int, float]]]:
    """The twelve seeds' rows at every choice of so many of them."""
    groups = list(twelve_seeds().values())
    for chosen in itertools.combinations(sorted(groups[0]), seeds):
        yield [{seed: row[seed] for seed in chosen} for row in groups]


def replicated(seeds: int) -> list[list[str]]:
    """What so many seeds say of each row, against what twelve say."""
    names, truth = list(twelve_seeds())[1:], model_verdicts(list(twelve_seeds().values()))
    of_both = [
        np.array([say(g) for g in subsets(seeds)]) for say in (model_verdicts, paired_verdicts)
    ]
    table = []
    for row, (name, verdict) in enumerate(zip(names, truth, strict=True)):
        said = [verdicts[:, row] for verdicts in of_both]
        contradicted = [(verdicts != verdict) & (verdicts != UNDECIDED) for verdicts in said]
        shares = [(verdicts == verdict).mean() for verdicts in said]
        shares += [found.mean() for found in contradicted]
        table.append([str(seeds), name, verdict, *map(_percent, shares)])
    differ = np.isin(truth, (BETTER, WORSE))
    means = [(said == np.array(truth))[:, differ].mean() for said in of_both]
    table.append([
        *(str(seeds), "those that differ", f"{means[0] / means[1]:.2f} times as often"),
        *map(_percent, means),
        *("", ""),
    ])  # fmt: skip
    return table


def of_chance(seeds: int, rng: np.random.Generator, tables: int) -> list[str]:
    """The row of so many seeds less their rows' means, whole rows of errors exchanged."""
    accuracies = np.array([list(row.values()) for row in twelve_seeds().values()])
    errors = accuracies - accuracies.mean(-1, keepdims=True)
    drawn = np.stack([
        rng.permuted(errors[:, rng.choice(12, seeds, replace=False)], axis=0)
        for _ in range(tables)
    ])  # fmt: skip
    nothing = 0.97 + drawn, np.full(drawn.shape[:2], 0.97)
    return [str(seeds), *(_percent(error(test(*nothing))) for test in (by_model, by_paired_tests))]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


_TEXT = (
    """# Do the verdicts of a sweep replicate?

`python -m benchmarks.statistics` prints this page.

A sweep's rows are compared in one model with the seed as block (`cnn_jax/analysis/statistics/`).
What it takes from where:

* **How much a row varies from seed to seed** is learned from all rows together: its accuracy at a
  seed is its mean, what the seed does to all rows, and an error of its own. So a difference of two
  rows has up to twice the degrees of freedom that its own values have (Grubbs 1948). Two kinds of
  hypotheses say what the rows' variances have to do with each other, and all are averaged over by
  how well they explain the table. By one a variance is a draw from a scaled inverse chi-squared
  distribution (Smyth 2004), with or without a trend with the accuracy. By the other rows are quiet
  or noisy, the noisy twice as likely: a row that looks quiet beside a noisy one may be noisy too,
  and the ratio of the two says how likely that is. Estimating parameters instead decides too much
  from few rows. A share of the weight always goes to the hypothesis that rows are not alike, and
  the more seeds there are, the more the spread is that of the differences themselves, which do not
  need rows to be independent. What the seeds do and the variances are found by turns, which knows
  both too well: p is taken up to 6% larger for that, the less the more it rests on the differences.
* **The family** is corrected for by Dunnett's test against a baseline, step down, and by Tukey's
  for all pairs. Rows that are identical to another leave it.
* **Two seeds decide nothing**: that they agree says little, and one that differs much.
* **Verdicts are read off the intervals.** A row is equivalent where its interval lies within the
  margin.
""",
    """## Simulated sweeps

{tables:,} tables for each row. Coverage: how many of the 95% intervals of the rows' means hold the
true mean, and in how many tables the intervals of all differences do. Family-wise error: in how
many tables a difference is found where there is none. Power: how many of the differences are found
where all rows differ from the baseline by {effects} standard deviations of the paired
differences (at 3, 5 and 10 seeds). Before: paired t-tests, each of its own variance, corrected by
Holm; where their assumptions hold, as in all but the scattered and the alike, their error is 5% or
less, and what is above is the chance of so many tables: ±{chance:.1f} points.
""",
    """Of so many kinds some come out above 5% by chance. These again, in {tables:,} other tables
(±{chance:.1f} points):
""",
    """## Three rows

Of two rows only their difference is known, and their test is the paired t-test.
Three say little more, and gain less.
""",
    """## Harsher spreads

What is gained above is paid for where one row varies several times as much as all others, or no two
rows alike: by chance three seeds of such a row agree as well as another's, and then too much is
made of them. More seeds mend that; where no two rows are alike less is found than before.
{tables:,} tables for each row, and differences as above.
""",
    """## Seeds until decided

`--until=decided` looks after {counts} seeds, and adds seeds to rows that are undecided. Error: in
how many of {tables:,} tables a difference is found at any look where there is none; beside it what
comes of looking as if the number of seeds had been set before. Power and mean number of seeds where
all rows differ by {effect:g} standard deviations of the paired differences.
""",
    """`--until=replicated` adds them also to rows whose verdict fewer than four of five random
halves of their seeds share. It finds no difference that the other would not have found. What is it
good for? {tables} sweeps of five rows that vary equally and differ by {effect:g} standard
deviations, looked at after {counts} seeds; of the rows that were settled, the mean number of seeds,
and how many have the same verdict in a new study with as many other seeds.
""",
    """## Twelve real seeds

What all twelve seeds say of

    {command}

and how often the same is said by every choice of 3, 5 and 8 of them. A contradiction is another
verdict than that of the twelve, undecided apart.
""",
    """The errors of the same trials, in tables where no row differs: whole rows of errors change
places. In how many tables is a difference found?
""",
)


def _chance(tables: int) -> float:
    """Half of the 95% interval of an error of 5% in so many tables, in points."""
    return float(100 * 1.96 * (LEVEL * (1 - LEVEL) / tables) ** 0.5)


def document(seed: int, tables: int) -> Iterator[str]:
    """docs/statistics.md, line by line; the cores share the rows of its tables."""
    effects = " / ".join(f"{effect:g}" for effect in EFFECTS.values())
    model, before = "model", "before"
    kinds = ("rows", "seeds", "spread")
    errors, powers = (
        [f"{what}, {test}" for test in (model, before)] for what in ("error", "power")
    )
    all_shares = (*kinds, "coverage of means", "of all differences", *errors, *powers, "ratio")
    more, few = 8 * tables, max(1, tables // 50)
    with ProcessPoolExecutor() as pool:

        def rows_of(
            part: int, row: Callable[..., T], cases: Iterable[Iterable], tables: int
        ) -> Iterator[T]:
            """What `row` gives for each case, which draws from a stream of its own."""
            futures = [
                pool.submit(row, *case, np.random.default_rng([seed, part, index]), tables)
                for index, case in enumerate(cases)
            ]
            return (future.result() for future in futures)

        def of_sweeps(part: int, rows: Sequence[int]) -> Iterator[str]:
            """The tables of simulated sweeps of so many rows, and of those above the level."""
            cases = itertools.product(rows, EFFECTS, spreads(rows[0]))
            found = list(rows_of(part, simulated, cases, tables))
            yield from _table(all_shares, (each.cells for each in found))
            yield ""
            if high := above(found):
                yield _TEXT[2].format(tables=more, chance=_chance(more))
                yield from _table((*kinds, *errors), rows_of(part + 1, again, zip(high), more))
                yield ""

        # It takes longest.
        replicating = rows_of(4, anew, zip(UNTIL), few)
        yield _TEXT[0]
        yield _TEXT[1].format(tables=tables, effects=effects, chance=_chance(tables))
        yield from of_sweeps(0, (5, 14))
        yield _TEXT[3]
        yield from of_sweeps(6, (3,))
        yield _TEXT[4].format(tables=tables)
        cases = itertools.product((3, 5), EFFECTS, harsher(3))
        yield from _table((*kinds, *errors, *powers), rows_of(2, harsher_row, cases, tables))
        yield ""
        counts = listed(map(str, looks(*LOOKS)))
        yield _TEXT[5].format(counts=counts, tables=tables, effect=EFFECTS[10])
        yield from _table(
            ("rows", "spread", "error", "error, naive", "power", "seeds of a row"),
            rows_of(3, sequential, zip(spreads(5)), tables),
        )
        yield ""
        counts = listed(map(str, looks(*LOOKS_ANEW)))
        yield _TEXT[6].format(counts=counts, tables=few, effect=EFFECTS[10])
        yield from _table(("until", "settled", "seeds of a row", "the same anew"), replicating)
        yield ""
        yield _TEXT[7].format(command=COMMAND)
        yield from _table(
            (
                *("seeds", "row", "verdict of twelve"),
                *(f"the same, {test}" for test in (model, before)),
                *(f"contradictions, {test}" for test in (model, before)),
            ),
            itertools.chain.from_iterable(pool.map(replicated, (3, 5, 8))),
        )
        yield ""
        yield _TEXT[8]
        yield from _table(("seeds", model, before), rows_of(5, of_chance, zip(EFFECTS), tables))


def main(arguments: list[str]) -> None:
    """Prints the document."""
    for line in document(FLAGS.random_seed, FLAGS.tables):
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
